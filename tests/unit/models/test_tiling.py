from fractions import Fraction

import pytest
import torch
from torch.nn import functional

from ccsr.config import TilingConfig
from ccsr.diffusion.sampler import Predict
from ccsr.models.autoencoder import decode, encode, reach
from ccsr.models.group_norm import in_normalised_tiles
from ccsr.models.tiling import (
    Window,
    blend_weights,
    blended,
    in_tiles,
    spans,
    starts,
    windows,
)
from tests.tiny import tiny_vae


@pytest.mark.parametrize(("length", "size"), [(10, 4), (8, 4), (3, 4), (9, 4)])
def test_pieces_cover_an_axis_once(length: int, size: int) -> None:
    pieces = list(spans(length, size, margin=2))
    kept = [i for piece in pieces for i in range(piece.first, piece.last)]
    assert kept == list(range(length))
    assert all(p.start == max(p.first - 2, 0) and p.stop == min(p.last + 2, length) for p in pieces)


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


@torch.no_grad()
def test_autoencoder_in_tiles_is_that_of_the_whole() -> None:
    torch.manual_seed(0)
    vae = tiny_vae("dc")
    pixels = torch.rand(1, 3, 8 * 40, 8 * 48)
    whole = encode(vae, pixels, tile=1000)
    torch.testing.assert_close(encode(vae, pixels, tile=16), whole, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(
        decode(vae, whole, tile=16), decode(vae, whole, tile=1000), rtol=1e-4, atol=1e-4
    )


@torch.no_grad()
@pytest.mark.parametrize("tile", [16, 18])
def test_autoencoder_with_norms_and_attention_in_tiles_is_that_of_the_whole(tile: int) -> None:
    torch.manual_seed(0)
    vae = tiny_vae("kl")
    # A picture that is darker on one side, so that the statistics of pieces would differ.
    pixels = torch.rand(2, 3, 8 * 40, 8 * 48) * torch.linspace(0, 1, 8 * 48)
    whole = encode(vae, pixels, tile=None)
    torch.testing.assert_close(encode(vae, pixels, tile=tile), whole, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(
        decode(vae, whole, tile=tile), decode(vae, whole, tile=None), rtol=1e-4, atol=3e-4
    )


@torch.no_grad()
def test_norms_of_pieces_see_the_whole_and_are_themselves_again_after() -> None:
    norm, conv = torch.nn.GroupNorm(2, 4), torch.nn.Conv2d(4, 4, 3, padding=1)
    function = torch.nn.Sequential(conv, norm, torch.nn.SiLU(), conv)
    x = torch.rand(1, 4, 20, 24) * torch.linspace(0, 1, 24)
    whole = function(x)
    found = in_normalised_tiles(function, [norm], x, 8, 2, Fraction(1))
    torch.testing.assert_close(found, whole, rtol=1e-5, atol=1e-5)
    apart = in_tiles(function, x, 8, 2, Fraction(1))
    assert (apart - whole).abs().max() > 0.1
    torch.testing.assert_close(function(x), whole)


@torch.no_grad()
def test_norm_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match="does not contain"):
        in_normalised_tiles(
            torch.nn.Identity(),
            [torch.nn.GroupNorm(1, 1)],
            torch.rand(1, 1, 9, 9),
            4,
            0,
            Fraction(1),
        )


def test_reach_is_measured_by_the_gradient() -> None:
    """What a value in the middle of the result depends on lies within it."""
    torch.manual_seed(0)
    vae = tiny_vae("dc")
    latents = torch.randn(1, 4, 41, 41, requires_grad=True)
    decode(vae, latents)[0, :, 8 * 20 + 4, 8 * 20 + 4].sum().backward()
    assert latents.grad is not None
    rows = latents.grad.abs().sum((0, 1, 3)).nonzero().flatten()
    furthest = int(max(20 - rows.min(), rows.max() - 20))
    assert furthest <= reach(vae, "decoder") <= furthest + 3


@pytest.mark.parametrize(
    ("length", "expected"), [(8, [0]), (5, [0]), (12, [0, 4]), (14, [0, 4, 6])]
)
def test_overlapping_pieces_reach_the_end(length: int, expected: list[int]) -> None:
    assert starts(length, TilingConfig(tile=8, stride=4)) == expected


def test_pieces_cannot_leave_gaps() -> None:
    with pytest.raises(ValueError, match="stride of tiles must be from 1 to their size"):
        TilingConfig(tile=8, stride=9)


def test_weights_of_a_piece_are_symmetric_unless_the_authors_are_asked_for() -> None:
    weights = blend_weights(8, 8, TilingConfig())
    torch.testing.assert_close(weights, weights.flip(0))
    torch.testing.assert_close(weights, weights.T)
    theirs = blend_weights(8, 8, TilingConfig(weights="official"))
    torch.testing.assert_close(theirs, theirs.flip(1))
    assert not torch.allclose(theirs, theirs.flip(0))


def test_blend_of_networks_that_agree_is_what_they_say() -> None:
    """Of one that works value by value; each sees its own piece of the condition."""
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
