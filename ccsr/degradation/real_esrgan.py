"""The degradations of Real-ESRGAN: two rounds of blur, resize, noise and JPEG, then a sinc filter.

Wang et al. 2021, https://arxiv.org/abs/2107.10833. Distributions are those of its published code;
ranges are the milder ones that CCSR was trained with.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ccsr.degradation.draws import chance, choose, random_float, random_int, random_odd, random_seed
from ccsr.degradation.operations import (
    ALIASED_MODES,
    AnyOperation,
    Blur,
    GaussianNoise,
    Jpeg,
    KernelShape,
    PoissonNoise,
    Resize,
    SincFilter,
)


@dataclass(frozen=True)
class Order:
    """Ranges of one round of blur, resize, noise and JPEG."""

    blur_share: float
    """Probability of the blur."""
    blur_sigma: tuple[float, float]
    """Pixels."""
    resize_shares: tuple[float, float, float]
    """Probabilities of enlarging, reducing, and keeping the size."""
    resize_range: tuple[float, float]
    gaussian_sigma: tuple[float, float]
    """Levels of 0-255."""
    poisson_scale: tuple[float, float]
    jpeg_quality: tuple[int, int]


FIRST = Order(1.0, (0.2, 1.5), (0.2, 0.7, 0.1), (0.3, 1.5), (1, 15), (0.05, 2.0), (60, 95))
SECOND = Order(0.5, (0.2, 1.0), (0.3, 0.4, 0.3), (0.6, 1.2), (1, 12), (0.05, 1.0), (60, 100))

KERNELS: dict[tuple[KernelShape, bool], float] = {
    ("gaussian", True): 0.45,
    ("gaussian", False): 0.25,
    ("generalised", True): 0.12,
    ("generalised", False): 0.03,
    ("plateau", True): 0.12,
    ("plateau", False): 0.03,
}
"""Shape of the kernel and whether it is isotropic -> probability."""
BETA_RANGES = {"generalised": (0.5, 2.0), "plateau": (1.0, 1.5)}
KERNEL_SIZES = (7, 21)
SINC_SHARE = 0.1
"""Probability of a sinc filter in place of a blur."""
FINAL_SINC_SHARE = 0.8
GAUSSIAN_NOISE_SHARE = 0.5
"""Probability of Gaussian noise, the others being Poisson noise."""
GRAY_NOISE_SHARE = 0.4


def draw_real_esrgan(scale: int, generator: torch.Generator) -> Sequence[AnyOperation]:
    """Draw the operations of Real-ESRGAN to 1/`scale` of the size."""
    operations = _round(FIRST, 1.0, generator)
    operations += [_random_jpeg(FIRST, generator)]
    operations += _round(SECOND, 1 / scale, generator)
    jpeg: list[AnyOperation] = [_random_jpeg(SECOND, generator)]
    final: list[AnyOperation] = [Resize(factor=1 / scale, mode=choose(generator, ALIASED_MODES))]
    if chance(generator, FINAL_SINC_SHARE):
        final.append(_random_final_sinc(generator))
    return operations + (final + jpeg if chance(generator, 0.5) else jpeg + final)


def _round(order: Order, base: float, generator: torch.Generator) -> list[AnyOperation]:
    """Blur, resize to a random factor of `base` times the HR size, and noise."""
    operations: list[AnyOperation] = []
    if chance(generator, order.blur_share):
        operations.append(_random_blur(order, generator))
    factor = base * _random_factor(order, generator)
    operations.append(Resize(factor=factor, mode=choose(generator, ALIASED_MODES)))
    operations.append(_random_noise(order, generator))
    return operations


def _random_blur(order: Order, generator: torch.Generator) -> Blur | SincFilter:
    size = random_odd(generator, *KERNEL_SIZES)
    if chance(generator, SINC_SHARE):
        # A low cut-off needs a large kernel: a small one holds less than its central lobe.
        lowest = math.pi / 3 if size < 13 else math.pi / 5
        return SincFilter(size=size, cutoff=random_float(generator, lowest, math.pi))
    shape, isotropic = choose(generator, tuple(KERNELS), tuple(KERNELS.values()))
    sigma_x = sigma_y = random_float(generator, *order.blur_sigma)
    angle = 0.0
    if not isotropic:
        sigma_y = random_float(generator, *order.blur_sigma)
        angle = random_float(generator, -math.pi, math.pi)
    beta = _random_beta(generator, *BETA_RANGES[shape]) if shape in BETA_RANGES else 1.0
    return Blur(shape=shape, size=size, sigma_x=sigma_x, sigma_y=sigma_y, angle=angle, beta=beta)


def _random_beta(generator: torch.Generator, low: float, high: float) -> float:
    """Uniform in [low, 1) for half of the draws, in [1, high) for the others.

    With `low` 1, as for plateau kernels, half of the draws are exactly 1.
    """
    if chance(generator, 0.5):
        return random_float(generator, low, 1.0)
    return random_float(generator, 1.0, high)


def _random_final_sinc(generator: torch.Generator) -> SincFilter:
    """The sinc filter at the end: its cut-off is uniform in [pi/3, pi) for all kernel sizes."""
    size = random_odd(generator, *KERNEL_SIZES)
    return SincFilter(size=size, cutoff=random_float(generator, math.pi / 3, math.pi))


def _random_factor(order: Order, generator: torch.Generator) -> float:
    low, high = order.resize_range
    ranges = ((1.0, high), (low, 1.0), (1.0, 1.0))
    return random_float(generator, *choose(generator, ranges, order.resize_shares))


def _random_noise(order: Order, generator: torch.Generator) -> GaussianNoise | PoissonNoise:
    gray = chance(generator, GRAY_NOISE_SHARE)
    if chance(generator, GAUSSIAN_NOISE_SHARE):
        sigma = random_float(generator, *order.gaussian_sigma)
        return GaussianNoise(sigma=sigma, gray=gray, seed=random_seed(generator))
    scale = random_float(generator, *order.poisson_scale)
    return PoissonNoise(scale=scale, gray=gray, seed=random_seed(generator))


def _random_jpeg(order: Order, generator: torch.Generator) -> Jpeg:
    return Jpeg(quality=random_int(generator, *order.jpeg_quality))
