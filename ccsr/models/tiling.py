"""Large pictures in pieces.

Where a network sees only so far, pieces with a margin give the same as the whole: `in_tiles`. Where
it sees everything, as attention does, overlapping pieces are blended: `blended`.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction

import torch

from ccsr.config import TilingConfig
from ccsr.diffusion.sampler import Predict

BLEND_VARIANCE = 0.01
"""Of the Gaussian, in units of the piece's side; the authors' value."""


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


@dataclass(frozen=True)
class Piece:
    """A piece of a picture or of latents, with its margin."""

    x: torch.Tensor
    """[B,C,h,w]."""
    row: Span
    column: Span

    def kept_of(self, made: torch.Tensor) -> torch.Tensor:
        """The middle of what was made of it, [B,D,f h,f w]."""
        factor = Fraction(made.shape[2], self.x.shape[2])
        inside = (_scaled(span, factor, span.start) for span in (self.row, self.column))
        return made[(..., *inside)]

    def place_in(self, whole: torch.Tensor, factor: Fraction) -> torch.Tensor:
        """Where that goes in what is made of the whole."""
        return whole[(..., *(_scaled(span, factor, 0) for span in (self.row, self.column)))]


def pieces(x: torch.Tensor, size: int, margin: int) -> Iterator[Piece]:
    """Cut x [B,C,h,w] into pieces of `size` a side, row by row."""
    for row in spans(x.shape[2], size, margin):
        for column in spans(x.shape[3], size, margin):
            yield Piece(x[:, :, row.start : row.stop, column.start : column.stop], row, column)


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
    if max(x.shape[2:]) <= size:
        return function(x)
    whole: torch.Tensor | None = None
    for piece in pieces(x, size, margin):
        made = function(piece.x)
        if whole is None:
            height, width = (int(length * factor) for length in x.shape[2:])
            # Pixel by pixel, as networks are fastest and as pictures are kept.
            whole = torch.empty(
                (*made.shape[:2], height, width),
                dtype=made.dtype,
                device=made.device,
                memory_format=torch.channels_last,
            )
        piece.place_in(whole, factor).copy_(piece.kept_of(made))
    assert whole is not None  # there is at least one piece
    return whole


def _scaled(span: Span, factor: Fraction, origin: int) -> slice:
    """The kept part in the result, counted from `origin` of x."""
    return slice(int((span.first - origin) * factor), int((span.last - origin) * factor))


Window = tuple[slice, slice]
"""Rows and columns of a piece."""


def windows(height: int, width: int, tiling: TilingConfig) -> list[Window]:
    """Overlapping pieces that cover latents of this size, row by row."""
    return [
        (slice(top, top + tiling.tile), slice(left, left + tiling.tile))
        for top in starts(height, tiling)
        for left in starts(width, tiling)
    ]


def starts(length: int, tiling: TilingConfig) -> list[int]:
    """Where pieces begin along an axis; the last one ends where the axis does."""
    last = max(length - tiling.tile, 0)
    return [*range(0, last, tiling.stride), last]


def blend_weights(height: int, width: int, tiling: TilingConfig) -> torch.Tensor:
    """How much each value of a piece counts, [height,width] float64: a Gaussian about its middle.

    With weights "official" the middle lies half a row too low, as in the authors' code.
    """
    middle_row = height / 2 if tiling.weights == "official" else (height - 1) / 2
    rows = _gaussian(height, middle_row)
    return torch.outer(rows, _gaussian(width, (width - 1) / 2))


def _gaussian(length: int, middle: float) -> torch.Tensor:
    distance = (torch.arange(length, dtype=torch.float64) - middle) / length
    return torch.exp(-(distance**2) / (2 * BLEND_VARIANCE))


def blended(
    predict_in: Callable[[Window], Predict], height: int, width: int, tiling: TilingConfig
) -> Predict:
    """A network whose output is blended of those for overlapping pieces.

    Args:
        predict_in: Makes the network for one piece; called once for each.
        height: Of the latents.
        width: Of the latents.
        tiling: How to cut them.
    """
    pieces = windows(height, width, tiling)
    networks = [predict_in(piece) for piece in pieces]

    def predict(x_t: torch.Tensor, t: int) -> torch.Tensor:
        total, norm = torch.zeros_like(x_t, dtype=torch.float32), x_t.new_zeros(height, width)
        for (rows, columns), network in zip(pieces, networks, strict=True):
            x = x_t[..., rows, columns]
            weights = blend_weights(x.shape[2], x.shape[3], tiling).to(norm)
            total[..., rows, columns] += weights * network(x, t)
            norm[rows, columns] += weights
        return total / norm

    return predict
