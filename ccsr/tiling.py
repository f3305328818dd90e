"""Large pictures in pieces, where a network sees only so far."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction

import torch


@dataclass(frozen=True)
class Span:
    """A piece of one axis: what is computed, and what of it is kept."""

    start: int
    stop: int
    first: int
    """Where the kept part begins, counted like `start`."""
    last: int
    """Where it ends."""


def spans(length: int, size: int, margin: int) -> Iterator[Span]:
    """Cut an axis into pieces of `size`, each computed with `margin` on both sides of it."""
    for first in range(0, length, size):
        last = min(first + size, length)
        yield Span(max(first - margin, 0), min(last + margin, length), first, last)


def in_tiles(
    function: Callable[[torch.Tensor], torch.Tensor],
    x: torch.Tensor,
    size: int,
    margin: int,
    factor: Fraction,
) -> torch.Tensor:
    """`function` of x [B,C,H,W], computed piece by piece.

    Equal to computing it at once if no value of the result depends on more than `margin` around it:
    each piece is computed with its margin, and only the middle is kept.

    Args:
        function: Makes [B,D,f H,f W] of [B,C,H,W].
        x: The whole.
        size: Side of a piece of x.
        margin: What is added on each side.
        factor: f; pieces and margins times f must be whole.
    """
    rows, columns = (list(spans(length, size, margin)) for length in x.shape[2:])
    if len(rows) == len(columns) == 1:
        return function(x)
    whole: torch.Tensor | None = None
    for row in rows:
        for column in columns:
            piece = function(x[:, :, row.start : row.stop, column.start : column.stop])
            if whole is None:
                height, width = (int(length * factor) for length in x.shape[2:])
                whole = piece.new_empty(*piece.shape[:2], height, width)
            inside = (_scaled(span, factor, span.start) for span in (row, column))
            outside = (_scaled(span, factor, 0) for span in (row, column))
            whole[(..., *outside)] = piece[(..., *inside)]
    assert whole is not None  # there is at least one piece
    return whole


def _scaled(span: Span, factor: Fraction, origin: int) -> slice:
    """The kept part in the result, counted from `origin` of x."""
    return slice(int((span.first - origin) * factor), int((span.last - origin) * factor))
