"""A mild degradation model: lens blur, reduction, faint noise and light compression, once each.

Photographs have mostly been taken and saved once. The models of Real-ESRGAN and
BSRGAN damage far more, and a network trained on them and on bicubic reduction alone leaves the blur
of a camera where it is.
"""

import math
from collections.abc import Sequence

import torch

from ccsr.degradation.draws import chance, random_float, random_int, random_seed
from ccsr.degradation.operations import (
    AnyOperation,
    Blur,
    GaussianNoise,
    Jpeg,
    PoissonNoise,
    Resize,
)

LENS_SIGMA = (0.05, 0.75)
"""Of the Gaussian blur, in LR pixels."""
ANISOTROPIC_SHARE = 0.4
NOISE_SHARE = 0.5
GRAY_NOISE_SHARE = 0.4
GAUSSIAN_SIGMA = (0.5, 4.0)
"""Levels of 0-255."""
POISSON_SCALE = (0.05, 0.4)
JPEG_SHARE = 0.5
JPEG_QUALITY = (70, 98)


def draw_camera(scale: int, generator: torch.Generator) -> Sequence[AnyOperation]:
    """Draw the operations of the mild model to 1/`scale` of the size."""
    operations: list[AnyOperation] = [
        _random_lens_blur(scale, generator),
        Resize(factor=1 / scale, mode="antialiased"),
    ]
    if chance(generator, NOISE_SHARE):
        operations.append(_random_faint_noise(generator))
    if chance(generator, JPEG_SHARE):
        operations.append(Jpeg(quality=random_int(generator, *JPEG_QUALITY)))
    return operations


def _random_lens_blur(scale: int, generator: torch.Generator) -> Blur:
    """A Gaussian of random width, for a part of the draws of two widths at a random angle."""
    low, high = (scale * sigma for sigma in LENS_SIGMA)
    sigma_x = sigma_y = random_float(generator, low, high)
    angle = 0.0
    if chance(generator, ANISOTROPIC_SHARE):
        sigma_y = random_float(generator, low, high)
        angle = random_float(generator, 0.0, math.pi)
    # Three standard deviations to each side.
    size = 2 * math.ceil(3 * high) + 1
    return Blur(shape="gaussian", size=size, sigma_x=sigma_x, sigma_y=sigma_y, angle=angle)


def _random_faint_noise(generator: torch.Generator) -> GaussianNoise | PoissonNoise:
    """Gaussian or, as often, Poisson noise."""
    gray = chance(generator, GRAY_NOISE_SHARE)
    if chance(generator, 0.5):
        sigma = random_float(generator, *GAUSSIAN_SIGMA)
        return GaussianNoise(sigma=sigma, gray=gray, seed=random_seed(generator))
    scale = random_float(generator, *POISSON_SCALE)
    return PoissonNoise(scale=scale, gray=gray, seed=random_seed(generator))
