import math

import pytest

from ccsr.degradation.camera import GAUSSIAN_SIGMA, JPEG_QUALITY, LENS_SIGMA, POISSON_SCALE
from ccsr.degradation.operations import (
    Blur,
    Degradation,
    GaussianNoise,
    Jpeg,
    PoissonNoise,
    Resize,
)
from tests.unit.degradation.counting import assert_share, assert_uniform, drawn

SCALE = 4


@pytest.fixture(scope="module")
def draws() -> list[Degradation]:
    return drawn("camera")


def test_operations_are_blur_reduction_and_at_times_noise_and_jpeg(
    draws: list[Degradation],
) -> None:
    for d in draws:
        kinds = [type(op) for op in d.operations]
        assert kinds[:2] == [Blur, Resize]
        assert d.operations[1] == Resize(factor=1 / SCALE, mode="antialiased")
        unordered = kinds[2:]
        assert unordered == sorted(unordered, key=lambda kind: kind is Jpeg)
        assert len(unordered) == len(set(unordered)) <= 2
    assert_share((isinstance(d.operations[-1], Jpeg) for d in draws), 0.5)
    noisy = [
        any(isinstance(op, GaussianNoise | PoissonNoise) for op in d.operations) for d in draws
    ]
    assert_share(noisy, 0.5)


def test_lens_blur_is_a_gaussian_of_up_to_three_quarters_of_an_lr_pixel(
    draws: list[Degradation],
) -> None:
    blurs = [d.operations[0] for d in draws]
    assert all(isinstance(blur, Blur) and blur.shape == "gaussian" for blur in blurs)
    assert_uniform([blur.sigma_x / SCALE for blur in blurs], *LENS_SIGMA)
    anisotropic = [blur.sigma_x != blur.sigma_y for blur in blurs]
    assert_share(anisotropic, 0.4)
    wide = [blur for blur, two in zip(blurs, anisotropic, strict=True) if two]
    assert_uniform([blur.sigma_y / SCALE for blur in wide], *LENS_SIGMA)
    assert_uniform([blur.angle for blur in wide], 0, math.pi)


def test_kernel_holds_the_widest_gaussian(draws: list[Degradation]) -> None:
    widest = max((d.operations[0] for d in draws), key=lambda blur: blur.sigma_x)
    kernel = widest.kernel().sum(0)
    offsets = range(-(len(kernel) // 2), len(kernel) // 2 + 1)
    variance = sum(float(k) * x * x for k, x in zip(kernel, offsets, strict=True))
    assert len(kernel) // 2 >= 2.9 * widest.sigma_x
    assert variance < (SCALE * LENS_SIGMA[1]) ** 2


def test_noise_is_faint_and_compression_light(draws: list[Degradation]) -> None:
    operations = [op for d in draws for op in d.operations]
    gaussian = [op for op in operations if isinstance(op, GaussianNoise)]
    poisson = [op for op in operations if isinstance(op, PoissonNoise)]
    assert_share([True] * len(gaussian) + [False] * len(poisson), 0.5)
    assert_share((op.gray for op in [*gaussian, *poisson]), 0.4)
    assert_uniform([op.sigma for op in gaussian], *GAUSSIAN_SIGMA)
    assert_uniform([op.scale for op in poisson], *POISSON_SCALE)
    jpegs = [op.quality for op in operations if isinstance(op, Jpeg)]
    assert {min(jpegs), max(jpegs)} == set(JPEG_QUALITY)
