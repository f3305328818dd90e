"""Distances between the features of two pictures, tile by tile: large ones take no more memory.

A tile is computed with a margin as wide as the receptive field of its features, so that the
distance is that of the whole pictures but for rounding.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import torch

from ccsr.models.tiling import Span, Tile, tiles

TILE = 1024
"""Side of a tile in pixels: smaller pictures are one."""
STRIDE = 16
"""Largest stride of the features: sides of tiles are multiples, so that features of a tile lie
where those of the whole do."""
MARGIN = 7 * STRIDE
"""Pixels on each side of a tile: features reach 96 pixels far in AlexNet, 105 in DISTS."""

Features = Sequence[torch.Tensor]
"""Of one picture or tile, [B,C,h,w] each."""


class FeatureDistance(Protocol):
    """A distance that is a function of means over the positions of features.

    What `part` gives is for `distance_of_parts` alone.
    """

    strides: tuple[int, ...]
    """Pixels from one position to the next, of each of the features."""

    def features(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Features of x [B,3,H,W] in [0,1]."""
        ...

    def part(self, a: Features, b: Features) -> Any:  # noqa: ANN401 - each distance has its own
        """Means of one tile of two pictures."""
        ...

    def distance_of_parts(self, parts: Sequence[Any]) -> torch.Tensor:
        """Distances [B] of two pictures by all their tiles."""
        ...


def feature_tiles(
    network: FeatureDistance, x: torch.Tensor, size: int = TILE
) -> Iterator[list[torch.Tensor]]:
    """Features of x [B,3,H,W] in [0,1] tile by tile, each position in one of them.

    Args:
        network: Whose features.
        x: The picture.
        size: Side of a tile in pixels without its margin, a multiple of `STRIDE`.
    """
    for tile in tiles(x, size, MARGIN):
        yield _features_of(network, tile)


def tiled_distance(
    network: FeatureDistance, a: torch.Tensor, b: torch.Tensor, size: int = TILE
) -> torch.Tensor:
    """Distances [B] of a and b [B,3,H,W] in [0,1], one tile at a time; see `feature_tiles`."""
    pairs = zip(tiles(a, size, MARGIN), tiles(b, size, MARGIN), strict=True)
    # No name here holds the features of a tile while those of the next are made.
    return network.distance_of_parts(
        [network.part(*(_features_of(network, tile) for tile in pair)) for pair in pairs]
    )


def _features_of(network: FeatureDistance, tile: Tile) -> list[torch.Tensor]:
    """Features of a tile without what its neighbours have."""
    features = network.features(tile.x.contiguous(memory_format=torch.channels_last))
    return [
        stage[..., _inner(tile.row, stride), _inner(tile.column, stride)]
        for stage, stride in zip(features, network.strides, strict=True)
    ]


def _inner(span: Span, stride: int) -> slice:
    """Positions without the margin; at the end of the picture, as many as there are."""
    stop = None if span.stop == span.inner_stop else (span.inner_stop - span.start) // stride
    return slice((span.inner_start - span.start) // stride, stop)
