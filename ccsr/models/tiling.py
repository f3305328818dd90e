"""Large pictures and latents in tiles.

A network with a small receptive field gives the same result in tiles with a margin as on the whole:
`in_tiles`. A network with attention sees everything; there overlapping tiles are blended:
`blended`.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction

import torch

from ccsr.config import TilingConfig
from ccsr.diffusion.sampler import Predict

BLEND_VARIANCE = 0.01
"""Of the Gaussian blend weights, in units of the tile's side; the authors' value."""


@dataclass(frozen=True)
class Span:
    """A tile along one axis."""

    start: int
    """First position with the margin."""
    stop: int
    """End with the margin, exclusive."""
    inner_start: int
    """First position without the margin."""
    inner_stop: int
    """End without the margin, exclusive."""

    def inner(self, factor: Fraction, origin: int) -> slice:
        """The part without the margin in a result `factor` times as large, from `origin` on."""
        return slice(
            int((self.inner_start - origin) * factor), int((self.inner_stop - origin) * factor)
        )


def spans(length: int, size: int, margin: int) -> Iterator[Span]:
    """Cut an axis into tiles of `size`, each with `margin` on both sides inside the axis."""
    for start in range(0, length, size):
        stop = min(start + size, length)
        yield Span(max(start - margin, 0), min(stop + margin, length), start, stop)


@dataclass(frozen=True)
class Tile:
    """A tile of a picture or of latents, with its margin."""

    x: torch.Tensor
    """[B,C,h,w]."""
    row: Span
    column: Span

    def without_margin(self, result: torch.Tensor) -> torch.Tensor:
        """The inner part of the function's result for this tile, [B,D,f h,f w]."""
        factor = Fraction(result.shape[2], self.x.shape[2])
        inner = (span.inner(factor, span.start) for span in (self.row, self.column))
        return result[(..., *inner)]

    def beside(self, whole: torch.Tensor, factor: int) -> torch.Tensor:
        """What lies at this tile, with its margin, in a tensor [...,factor H,factor W]."""
        rows, columns = (
            slice(factor * span.start, factor * span.stop) for span in (self.row, self.column)
        )
        return whole[..., rows, columns]

    def part_of(self, whole: torch.Tensor, factor: Fraction) -> torch.Tensor:
        """The view of the whole result [...,factor H,factor W] that this tile fills."""
        return whole[(..., *(span.inner(factor, 0) for span in (self.row, self.column)))]


def tiles(x: torch.Tensor, size: int, margin: int) -> Iterator[Tile]:
    """Cut x [B,C,h,w] into tiles of `size` a side, row by row."""
    for row in spans(x.shape[2], size, margin):
        for column in spans(x.shape[3], size, margin):
            yield Tile(x[:, :, row.start : row.stop, column.start : column.stop], row, column)


def in_tiles(
    function: Callable[[torch.Tensor], torch.Tensor],
    x: torch.Tensor,
    size: int,
    margin: int,
    factor: Fraction,
) -> torch.Tensor:
    """`function` of x [B,C,H,W], computed tile by tile.

    Equal to `function(x)` if the receptive field of `function` reaches no further than `margin`:
    each tile is computed with its margin, and the margin is cut off the result.

    Args:
        function: Maps [B,C,H,W] to [B,D,f H,f W].
        x: The whole input.
        size: Side of a tile of x.
        margin: Added on each side.
        factor: f; sizes and margins times f are whole numbers.
    """
    if max(x.shape[2:]) <= size:
        return function(x)
    results = ((tile, function(tile.x)) for tile in tiles(x, size, margin))
    return assembled(results, x, factor)


def assembled(
    results: Iterable[tuple[Tile, torch.Tensor]], x: torch.Tensor, factor: Fraction
) -> torch.Tensor:
    """The results for the tiles of x [B,C,H,W] as one, [B,D,f H,f W].

    Args:
        results: All tiles with their results, margins included.
        x: What the tiles were cut from.
        factor: f; sizes and margins times f are whole numbers.
    """
    whole: torch.Tensor | None = None
    for tile, result in results:
        if whole is None:
            height, width = (int(length * factor) for length in x.shape[2:])
            # The layout in which convolutions are fastest and in which pictures are stored.
            whole = torch.empty(
                (*result.shape[:2], height, width),
                dtype=result.dtype,
                device=result.device,
                memory_format=torch.channels_last,
            )
        tile.part_of(whole, factor).copy_(tile.without_margin(result))
    assert whole is not None  # there is at least one tile
    return whole


Window = tuple[slice, slice]
"""Rows and columns of an overlapping tile."""


def windows(height: int, width: int, tiling: TilingConfig) -> list[Window]:
    """Overlapping tiles that cover latents of this size, row by row."""
    return [
        (slice(top, top + tiling.tile), slice(left, left + tiling.tile))
        for top in starts(height, tiling)
        for left in starts(width, tiling)
    ]


def starts(length: int, tiling: TilingConfig) -> list[int]:
    """Where tiles begin along an axis, a stride apart; the last tile ends where the axis does."""
    last = max(length - tiling.tile, 0)
    return [*range(0, last, tiling.stride), last]


def blend_weights(height: int, width: int, tiling: TilingConfig) -> torch.Tensor:
    """Weights of the values of a tile, [height,width] float64: a Gaussian about its centre.

    With weights "official" the centre lies half a row too low, as in the authors' code.
    """
    centre = height / 2 if tiling.weights == "official" else (height - 1) / 2
    return torch.outer(_gaussian(height, centre), _gaussian(width, (width - 1) / 2))


def _gaussian(length: int, centre: float) -> torch.Tensor:
    distance = (torch.arange(length, dtype=torch.float64) - centre) / length
    return torch.exp(-(distance**2) / (2 * BLEND_VARIANCE))


def blended(
    predict_in: Callable[[Window], Predict], height: int, width: int, tiling: TilingConfig
) -> Predict:
    """A network whose output is the weighted mean of its outputs for overlapping tiles.

    Args:
        predict_in: Makes the network for one tile; called once for each.
        height: Height of the latents.
        width: Width of the latents.
        tiling: Side and stride of the tiles.
    """
    covering = windows(height, width, tiling)
    networks = [predict_in(window) for window in covering]

    def predict(x_t: torch.Tensor, t: torch.Tensor | int) -> torch.Tensor:
        total, norm = torch.zeros_like(x_t, dtype=torch.float32), x_t.new_zeros(height, width)
        for (rows, columns), network in zip(covering, networks, strict=True):
            x = x_t[..., rows, columns]
            weights = blend_weights(x.shape[2], x.shape[3], tiling).to(norm)
            total[..., rows, columns] += weights * network(x, t)
            norm[rows, columns] += weights
        return total / norm

    return predict
