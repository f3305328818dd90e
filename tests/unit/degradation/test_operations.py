import math

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError
from skimage import data
from torch.nn import functional

from ccsr.degradation.operations import (
    Blur,
    CorrelatedNoise,
    Decimate,
    Degradation,
    GaussianNoise,
    Jpeg,
    Operation,
    PoissonNoise,
    Resize,
    SincFilter,
    filtered,
)
from ccsr.images.picture import Size

LEVEL = 1 / 255


@pytest.fixture(scope="module")
def hr() -> torch.Tensor:
    return torch.from_numpy(data.coffee()[:128, :160].copy()).permute(2, 0, 1)[None].float() / 255


def applied(operation: Operation, x: torch.Tensor) -> torch.Tensor:
    return operation(x, Size(*x.shape[2:]))


def levels_of(count: int, side: int = 256) -> torch.Tensor:
    """A grey picture of `count` equally frequent values in [0.25, 0.75], multiples of 1/255."""
    values = torch.linspace(64, 64 + count - 1, count) / 255
    return values.repeat(side * side // count).view(1, 1, side, side).expand(1, 3, -1, -1)


@pytest.mark.parametrize("gray", [True, False])
@pytest.mark.parametrize(("levels", "photons"), [(128, 128), (32, 32), (2, 2)])
def test_poisson_noise_has_the_variance_of_counts(gray: bool, levels: int, photons: int) -> None:
    picture = levels_of(levels)
    scale = 0.1
    noise = applied(PoissonNoise(scale=scale, gray=gray, seed=1), picture) - picture
    assert float(noise.mean()) == pytest.approx(0, abs=1e-3)
    expected = scale * math.sqrt(float(picture.mean()) / photons)
    assert float(noise.std()) == pytest.approx(expected, rel=0.03)
    assert torch.allclose(noise[:, 0], noise[:, 1]) == gray


def test_grey_poisson_noise_counts_the_values_of_the_luma_in_8_bit() -> None:
    """The luma of a colour picture has nearly as many values as pixels before it is rounded."""
    generator = torch.Generator().manual_seed(0)
    picture = (255 * (0.4 + 0.2 * torch.rand(1, 3, 128, 128, generator=generator))).round() / 255
    noise = applied(PoissonNoise(scale=1.0, gray=True, seed=1), picture) - picture
    # Of values around 102 to 153, whose luma has at most 52 values: between 33 and 64.
    assert float(noise.std()) == pytest.approx(math.sqrt(0.5 / 64), rel=0.05)


def test_colour_poisson_noise_counts_the_values_of_all_channels_together() -> None:
    channels = torch.stack([levels_of(16)[0, 0] + shift * 16 * LEVEL for shift in range(3)])[None]
    picture = channels - 64 * LEVEL + 0.3
    picture = (picture * 255).round() / 255
    noise = applied(PoissonNoise(scale=0.2, gray=False, seed=1), picture) - picture
    expected = 0.2 * math.sqrt(float(picture.mean()) / 64)
    assert float(noise.std()) == pytest.approx(expected, rel=0.03)


@pytest.mark.parametrize("gray", [True, False])
def test_gaussian_noise_has_its_sigma_in_levels(gray: bool) -> None:
    picture = torch.full((1, 3, 200, 200), 0.5)
    noise = applied(GaussianNoise(sigma=12, gray=gray, seed=3), picture) - picture
    assert 255 * float(noise.std()) == pytest.approx(12, rel=0.01)
    correlation = float(torch.corrcoef(noise[0].flatten(1))[0, 1])
    assert correlation == pytest.approx(1 if gray else 0, abs=0.03)


def test_correlated_noise_has_its_covariance() -> None:
    covariance = ((100.0, 60.0, 10.0), (60.0, 80.0, 0.0), (10.0, 0.0, 40.0))
    picture = torch.full((1, 3, 300, 300), 0.5)
    noise = applied(CorrelatedNoise(covariance=covariance, seed=0), picture) - picture
    found = torch.cov(255 * noise[0].flatten(1))
    torch.testing.assert_close(found, torch.tensor(covariance), atol=1.5, rtol=0)


def test_gaussian_kernel_has_its_covariance() -> None:
    kernel = Blur(shape="gaussian", size=31, sigma_x=3, sigma_y=1.5, angle=math.pi / 6).kernel()
    y, x = np.mgrid[-15:16, -15:16]
    moments = [float((kernel * torch.from_numpy(m)).sum()) for m in (x * x, y * y, x * y)]
    cos, sin = math.cos(math.pi / 6), math.sin(math.pi / 6)
    expected = [9 * cos**2 + 2.25 * sin**2, 9 * sin**2 + 2.25 * cos**2, (9 - 2.25) * sin * cos]
    assert moments == pytest.approx(expected, rel=1e-3)


def test_generalised_and_plateau_kernels_are_those_of_the_paper() -> None:
    squared = 2.0**2 / 1.5**2
    for shape, value in (
        ("generalised", math.exp(-0.5 * squared**0.7)),
        ("plateau", 1 / (1 + squared**0.7)),
    ):
        kernel = Blur(shape=shape, size=9, sigma_x=1.5, sigma_y=1.5, beta=0.7).kernel()  # type: ignore[arg-type]
        assert float(kernel[4, 6] / kernel[4, 4]) == pytest.approx(value)
        assert float(kernel.sum()) == pytest.approx(1)


@pytest.mark.parametrize("cutoff", [0.7, 1.5, 3.0])
def test_sinc_kernel_passes_slow_waves_and_stops_fast_ones(cutoff: float) -> None:
    kernel = SincFilter(size=21, cutoff=cutoff).kernel()
    assert float(kernel.sum()) == pytest.approx(1, abs=1e-5)
    response = torch.fft.fft2(kernel).abs()[0]
    frequencies = 2 * np.pi * np.fft.fftfreq(21)
    passed = response[torch.from_numpy(np.abs(frequencies) < 0.5 * cutoff)]
    assert passed.min() > 0.8
    stopped = response[torch.from_numpy(np.abs(frequencies) > 1.5 * cutoff)]
    assert stopped.numel() == 0 or stopped.max() < 0.2


@pytest.mark.parametrize("shape", [(1, 1), (2, 9), (10, 10), (11, 4)])
def test_picture_smaller_than_the_kernel_is_mirrored_again(shape: tuple[int, int]) -> None:
    kernel = Blur(shape="gaussian", size=21, sigma_x=2, sigma_y=2).kernel()
    x = torch.rand(1, 3, *shape)
    expected = np.stack([np.pad(channel, 10, mode="reflect") for channel in x[0].numpy()])
    weight = kernel.float()[None, None]
    blurred = functional.conv2d(torch.from_numpy(expected)[:, None], weight)[:, 0]
    torch.testing.assert_close(filtered(x, kernel)[0], blurred)


def test_filter_mirrors_as_pytorch_where_that_can(hr: torch.Tensor) -> None:
    kernel = torch.rand(5, 5, generator=torch.Generator().manual_seed(0))
    padded = functional.pad(hr, (2, 2, 2, 2), mode="reflect")
    expected = functional.conv2d(padded, kernel.expand(3, 1, -1, -1), groups=3)
    torch.testing.assert_close(filtered(hr, kernel), expected)


def test_shifted_blur_and_decimation_stay_on_the_grid_of_the_lr() -> None:
    """The kept pixels are the means of the pixels that an LR pixel covers, not its first ones."""
    ramp = torch.arange(64.0).view(1, 1, 1, 64).expand(1, 3, 64, 64) / 64
    blur = Blur(shape="gaussian", size=25, sigma_x=1, sigma_y=1, shift=1.5)
    reduced = Decimate(step=4)(applied(blur, ramp), Size(64, 64))
    area = Resize(factor=0.25, mode="area")(ramp, Size(64, 64))
    assert reduced.shape == area.shape
    inner = (..., slice(2, -3))
    torch.testing.assert_close(reduced[inner], area[inner], atol=1e-4, rtol=0)


def test_antialiased_reduction_is_pillows_bicubic(hr: torch.Tensor) -> None:
    levels = (hr[0].permute(1, 2, 0) * 255).round().byte().numpy()
    theirs = Image.fromarray(levels).resize((40, 32), Image.Resampling.BICUBIC)
    ours = applied(Resize(factor=0.25, mode="antialiased"), hr)
    difference = (ours[0].permute(1, 2, 0) * 255).round().numpy() - np.asarray(theirs).astype(float)
    assert np.abs(difference).max() <= 1


@pytest.mark.parametrize("scale", range(1, 9))
def test_reduction_by_a_whole_number_fits_every_size(scale: int) -> None:
    x = torch.zeros(1, 3, 1, 1)
    for side in range(scale, 1000):
        reduced = Resize(factor=1 / scale, mode="area")(x, Size(side, scale))
        assert reduced.shape[2:] == (side // scale, 1)


def test_jpeg_damages_more_at_lower_quality(hr: torch.Tensor) -> None:
    errors = [
        float((applied(Jpeg(quality=quality), hr) - hr).abs().mean()) for quality in (95, 60, 20)
    ]
    assert errors == sorted(errors)
    assert errors[0] > 0


def test_degradation_is_read_back_from_its_json(hr: torch.Tensor) -> None:
    degradation = Degradation(
        model="bsrgan",
        scale=4,
        operations=(
            Blur(shape="plateau", size=7, sigma_x=1 / 3, sigma_y=0.7, angle=0.1, beta=1.2),
            SincFilter(size=9, cutoff=1.1),
            CorrelatedNoise(covariance=((9.0, 1.0, 0.0), (1.0, 4.0, 0.0), (0.0, 0.0, 1.0)), seed=5),
            PoissonNoise(scale=0.3, gray=True, seed=6),
            GaussianNoise(sigma=3.3, gray=False, seed=7),
            Decimate(step=2),
            Jpeg(quality=80),
            Resize(factor=0.25, mode="bicubic"),
        ),
    )
    again = Degradation.model_validate_json(degradation.model_dump_json())
    assert again == degradation
    assert torch.equal(again.apply(hr), degradation.apply(hr))
    with pytest.raises(ValidationError, match="quality"):
        Degradation.model_validate_json(degradation.model_dump_json().replace("80", "800"))
