from fractions import Fraction

import pytest
import torch
from torch.nn import functional

from ccsr.config import TilingConfig
from ccsr.diffusion.sampler import Predict
from ccsr.models.tiling import (
    Window,
    blend_weights,
    blended,
    in_tiles,
    spans,
    starts,
    windows,
)


@pytest.mark.parametrize(("length", "size"), [(10, 4), (8, 4), (3, 4), (9, 4)])
def test_tiles_cover_an_axis_once(length: int, size: int) -> None:
    tiles = list(spans(length, size, margin=2))
    covered = [i for tile in tiles for i in range(tile.inner_start, tile.inner_stop)]
    assert covered == list(range(length))
    assert all(tile.start == max(tile.inner_start - 2, 0) for tile in tiles)
    assert all(tile.stop == min(tile.inner_stop + 2, length) for tile in tiles)


@pytest.mark.parametrize("size", [(13, 21), (8, 8), (5, 40)])
def test_blur_in_tiles_is_the_blur_of_the_whole(size: tuple[int, int]) -> None:
    x = torch.rand(2, 1, *size, generator=torch.Generator().manual_seed(0))
    seen: list[int] = []

    def blur(x: torch.Tensor) -> torch.Tensor:
        seen.append(x[0, 0].numel())
        return functional.conv2d(x, torch.ones(1, 1, 5, 5), padding=2)

    found = in_tiles(blur, x, 8, 2, Fraction(1))
    assert max(seen) <= 12 * 12
    torch.testing.assert_close(found, blur(x))


def test_narrow_margins_would_be_noticed() -> None:
    x = torch.rand(1, 1, 20, 20, generator=torch.Generator().manual_seed(0))

    def blur(x: torch.Tensor) -> torch.Tensor:
        return functional.conv2d(x, torch.ones(1, 1, 5, 5), padding=2)

    assert not torch.allclose(in_tiles(blur, x, 8, 1, Fraction(1)), blur(x), atol=0.1)


@pytest.mark.parametrize(
    ("length", "expected"), [(8, [0]), (5, [0]), (12, [0, 4]), (14, [0, 4, 6])]
)
def test_overlapping_tiles_reach_the_end(length: int, expected: list[int]) -> None:
    assert starts(length, TilingConfig(tile=8, stride=4)) == expected


def test_tiles_cannot_leave_gaps() -> None:
    with pytest.raises(ValueError, match="stride must not be above the size of a tile"):
        TilingConfig(tile=8, stride=9)


def test_blend_weights_are_symmetric_except_the_official_ones() -> None:
    weights = blend_weights(8, 8, TilingConfig())
    torch.testing.assert_close(weights, weights.flip(0))
    torch.testing.assert_close(weights, weights.T)
    theirs = blend_weights(8, 8, TilingConfig(weights="official"))
    torch.testing.assert_close(theirs, theirs.flip(1))
    assert not torch.allclose(theirs, theirs.flip(0))


def test_blend_of_equal_outputs_is_this_output() -> None:
    """Of a network of single positions; each window has its own part of the condition."""
    tiling, condition = TilingConfig(tile=8, stride=4), torch.rand(1, 2, 14, 20)
    made: list[Window] = []

    def network(window: Window) -> Predict:
        made.append(window)
        return lambda x, t: x * condition[(..., *window)] + t

    x_t = torch.rand(3, 2, 14, 20)
    predict = blended(network, 14, 20, tiling)
    torch.testing.assert_close(predict(x_t, 7), x_t * condition + 7)
    predict(x_t, 3)
    assert made == windows(14, 20, tiling)
