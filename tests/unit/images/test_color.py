"""The promises of ccsr.images.color, against closed forms."""

from collections.abc import Callable
from typing import get_args

import pytest
import torch

from ccsr.config import ColorAlignment
from ccsr.images.color import WAVELET_LEVELS, Align, adain, aligner, luma, wavelet

REACH = 2**WAVELET_LEVELS - 1
"""How far the blurs of all levels see together, in pixels."""


def picture(seed: int, *, batch: int = 1, side: int = 32, std: float = 0.2) -> torch.Tensor:
    """Noise whose channels differ in mean, [batch,3,side,side]."""
    noise = torch.randn(batch, 3, side, side, generator=torch.Generator().manual_seed(seed))
    return noise * std + torch.tensor([0.2, 0.5, 0.7]).reshape(1, 3, 1, 1)


def checkerboard(side: int) -> torch.Tensor:
    """The highest frequency there is, +1 and -1, [1,3,side,side]."""
    index = torch.arange(side)
    return (1.0 - 2.0 * ((index[:, None] + index) % 2)).expand(1, 3, side, side)


def interior(x: torch.Tensor) -> torch.Tensor:
    """The part that no blur at the border reaches."""
    return x[..., REACH:-REACH, REACH:-REACH]


def test_adain_gives_each_channel_the_mean_and_deviation_of_the_reference() -> None:
    sr, reference = picture(0, std=0.3) - 0.4, picture(1, std=0.1)
    out = adain(reference)(sr)
    torch.testing.assert_close(out.mean((2, 3)), reference.mean((2, 3)), atol=1e-5, rtol=0)
    torch.testing.assert_close(out.std((2, 3)), reference.std((2, 3)), atol=0, rtol=2e-3)


def test_adain_shifts_and_scales_and_nothing_else() -> None:
    sr, reference = picture(0), picture(1)
    centred = adain(reference)(sr) - reference.mean((2, 3), keepdim=True)
    ratio = reference.std((2, 3), keepdim=True) / sr.std((2, 3), keepdim=True)
    expected = (sr - sr.mean((2, 3), keepdim=True)) * ratio
    torch.testing.assert_close(centred, expected, atol=1e-4, rtol=1e-3)


def test_adain_undoes_a_change_of_contrast_and_brightness() -> None:
    reference = picture(0)
    shift = torch.tensor([0.3, -0.2, 0.1]).reshape(1, 3, 1, 1)
    torch.testing.assert_close(
        adain(reference)(reference * 0.5 + shift), reference, atol=2e-3, rtol=0
    )


def test_adain_of_a_flat_channel_is_the_mean_of_the_reference() -> None:
    reference = picture(0)
    out = adain(reference)(torch.full_like(reference, 0.5))
    expected = reference.mean((2, 3), keepdim=True).expand_as(out)
    torch.testing.assert_close(out, expected, atol=1e-4, rtol=0)


def test_adain_does_not_blow_up_the_noise_of_a_nearly_flat_channel() -> None:
    reference = picture(0)
    out = adain(reference)(0.5 + 1e-6 * torch.randn_like(reference))
    assert (out - reference.mean((2, 3), keepdim=True)).abs().max() < 1e-3


def test_adain_to_a_flat_reference_is_nearly_flat() -> None:
    out = adain(torch.full((1, 3, 32, 32), 0.25))(picture(0))
    torch.testing.assert_close(out, torch.full_like(out, 0.25), atol=0.02, rtol=0)


@pytest.mark.parametrize("method", [adain, wavelet])
def test_a_picture_aligned_to_itself_is_unchanged(
    method: Callable[[torch.Tensor], Align],
) -> None:
    sr = picture(0)
    torch.testing.assert_close(method(sr)(sr), sr, atol=1e-6, rtol=0)


def test_wavelet_moves_a_constant_to_the_constant_of_the_reference() -> None:
    out = wavelet(torch.full((1, 3, 20, 30), 0.25))(torch.full((1, 3, 20, 30), 0.9))
    torch.testing.assert_close(out, torch.full_like(out, 0.25), atol=1e-6, rtol=0)


def test_wavelet_removes_a_shift_of_colour() -> None:
    reference = picture(0)
    shift = torch.tensor([0.3, -0.2, 0.1]).reshape(1, 3, 1, 1)
    torch.testing.assert_close(wavelet(reference)(reference + shift), reference, atol=1e-5, rtol=0)


def test_wavelet_takes_high_frequencies_of_the_result_and_low_ones_of_the_reference() -> None:
    side = 4 * REACH
    ramp = torch.linspace(0, 1, side).expand(1, 3, side, side)
    sr, reference = 0.9 + 0.05 * checkerboard(side), ramp + 0.1 * checkerboard(side)
    out = wavelet(reference)(sr)
    # Binomial blurs take a checkerboard away whole and leave a ramp as it is.
    expected = ramp + 0.05 * checkerboard(side)
    torch.testing.assert_close(interior(out), interior(expected), atol=1e-5, rtol=0)


@pytest.mark.parametrize("period", [2**level for level in range(1, WAVELET_LEVELS + 1)])
def test_wavelet_keeps_waves_up_to_32_pixels_and_drops_trends(period: int) -> None:
    side = 4 * REACH
    index = torch.arange(side, dtype=torch.float32)
    detail = torch.cos(2 * torch.pi * index / period).expand(1, 3, side, side)
    trend = (index / side).expand(1, 3, side, side)
    out = wavelet(torch.zeros(1, 3, side, side))(detail + trend)
    torch.testing.assert_close(interior(out), interior(detail), atol=1e-5, rtol=0)


def test_wavelet_handles_pictures_smaller_than_its_blurs() -> None:
    sr, reference = picture(0, side=8), picture(1, side=8)
    out = wavelet(reference)(sr)
    assert out.shape == sr.shape
    assert out.isfinite().all()


@pytest.mark.parametrize("method", get_args(ColorAlignment))
def test_in_place_alignment_is_the_same(method: ColorAlignment) -> None:
    sr, align = picture(0), aligner(picture(1), method)
    before, expected = sr.clone(), align(sr)
    assert torch.equal(sr, before)
    assert align(sr, out=sr) is sr
    torch.testing.assert_close(sr, expected)


def test_channels_do_not_mix() -> None:
    sr, reference = picture(0), picture(1)
    other = reference.clone()
    other[:, 2] = 1 - other[:, 2]
    for method in (adain, wavelet):
        before, after = method(reference)(sr), method(other)(sr)
        assert torch.equal(before[:, :2], after[:, :2])
        assert not torch.allclose(before[:, 2], after[:, 2])


def test_method_none_gives_the_result_back() -> None:
    sr = picture(0)
    assert torch.equal(aligner(picture(1), "none")(sr), sr)


def test_method_names_lead_to_their_functions() -> None:
    sr, lr_up = picture(0), picture(1)
    assert torch.equal(aligner(lr_up, "adain")(sr), adain(lr_up)(sr))
    assert torch.equal(aligner(lr_up, "wavelet")(sr), wavelet(lr_up)(sr))
    expected = wavelet(lr_up)(adain(lr_up)(sr))
    assert torch.equal(aligner(lr_up, "adain-wavelet")(sr), expected)


def test_flat_areas_beside_contrast_get_the_colour_of_the_reference() -> None:
    side = 4 * REACH
    reference = torch.full((1, 3, side, side), 0.8)
    reference[..., side // 2 :] = 0.1
    sr = reference.clone()
    sr[..., side // 2 :] += 0.2 * checkerboard(side)[..., side // 2 :]
    flat = (..., slice(REACH, -REACH), slice(0, side // 2 - REACH))
    off = (adain(reference)(sr) - reference)[flat].abs().max()
    assert off > 0.02
    out = aligner(reference, "adain-wavelet")(sr)
    torch.testing.assert_close(out[flat], reference[flat], atol=1e-4, rtol=0)


@pytest.mark.parametrize("method", get_args(ColorAlignment))
def test_each_result_of_a_batch_is_aligned_by_itself(method: ColorAlignment) -> None:
    sr, lr_up = picture(0, batch=3) * torch.tensor([0.5, 1, 2]).reshape(3, 1, 1, 1), picture(1)
    together = aligner(lr_up, method)(sr)
    assert together.shape == sr.shape
    for index in range(3):
        alone = aligner(lr_up, method)(sr[index : index + 1])
        torch.testing.assert_close(together[index : index + 1], alone, atol=1e-6, rtol=0)
    torch.testing.assert_close(aligner(lr_up.expand(3, -1, -1, -1), method)(sr), together)


@pytest.mark.parametrize("method", get_args(ColorAlignment))
def test_values_outside_the_range_are_not_clamped(method: ColorAlignment) -> None:
    out = aligner(picture(1, std=2.0), method)(picture(0, std=2.0))
    assert out.min() < 0
    assert out.max() > 1


@pytest.mark.parametrize("method", get_args(ColorAlignment))
@pytest.mark.parametrize("shape", [(1, 3, 32, 31), (1, 3, 16, 16), (1, 1, 32, 32), (2, 3, 32, 32)])
def test_other_sizes_are_refused(method: ColorAlignment, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="enlarge the input"):
        aligner(torch.zeros(shape), method)(picture(0, batch=3))


def test_an_unknown_method_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="'wavelets'"):
        aligner(picture(1), "wavelets")(picture(0))  # type: ignore[arg-type]


def test_hidden_pixels_do_not_count_in_the_statistics() -> None:
    """The statistics of the visible half are those of that half alone."""
    sr, reference = picture(0, std=0.3), picture(1, std=0.1)
    alpha = torch.zeros(1, 1, 32, 32)
    alpha[..., :16] = 1
    reference[..., 16:], hidden = 0.0, sr[..., 16:].clone()
    found = adain(reference, alpha)(sr)[..., :16]
    expected = adain(reference[..., :16])(sr[..., :16])
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=0)
    sr[..., 16:] = 5 - hidden
    torch.testing.assert_close(adain(reference, alpha)(sr)[..., :16], found, atol=1e-5, rtol=0)


def test_statistics_of_a_wholly_hidden_picture_are_those_of_its_pixels() -> None:
    sr, reference = picture(0), picture(1)
    found = adain(reference, torch.zeros(1, 1, 32, 32))(sr)
    torch.testing.assert_close(found, adain(reference)(sr))


@pytest.mark.parametrize("method", get_args(ColorAlignment))
def test_one_channel_is_aligned_as_three(method: ColorAlignment) -> None:
    sr, reference = picture(0)[:, :1], picture(1)[:, :1]
    expected = aligner(reference.repeat(1, 3, 1, 1), method)(sr.repeat(1, 3, 1, 1))
    torch.testing.assert_close(
        aligner(reference, method)(sr), expected[:, :1], atol=1e-5, rtol=1e-5
    )


def test_luma_of_grey_is_the_grey() -> None:
    grey = picture(0)[:, :1]
    torch.testing.assert_close(luma(grey.repeat(1, 3, 1, 1)), grey)
    assert float(luma(torch.tensor([0.0, 1.0, 0.0]).reshape(1, 3, 1, 1))) == pytest.approx(0.587)
