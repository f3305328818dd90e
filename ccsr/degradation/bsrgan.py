"""The degradation model of BSRGAN: blurs, reductions, noise and JPEG in random order, then JPEG.

Zhang et al. 2021, https://arxiv.org/abs/2103.14006; distributions and ranges are those of its
published code. Its simulation of a camera's processing of raw data is left out, because it needs
the colour profiles of cameras.
"""

import math
from collections.abc import Sequence

import torch

from ccsr.degradation.draws import chance, choose, random_float, random_int, random_odd, random_seed
from ccsr.degradation.operations import (
    ALIASED_MODES,
    AnyOperation,
    Blur,
    CorrelatedNoise,
    Decimate,
    GaussianNoise,
    Jpeg,
    Mode,
    Resize,
)

HALVING_SHARE = 0.25
"""Probability that the picture is halved before all else, at scale 4."""
JPEG_SHARE = 0.9
JPEG_QUALITY = (30, 95)
NOISE_SIGMA = (2, 25)
"""Levels of 0-255, whole numbers."""
BSRGAN_KERNEL_SIZES = (7, 25)
DECIMATION_KERNEL_SIZE = 25
SMALLEST_SIGMA = 1e-3
"""Of a blur, pixels: no blur at all, but not a division by 0."""


def draw_bsrgan(scale: int, generator: torch.Generator) -> Sequence[AnyOperation]:
    """Draw the operations of BSRGAN to 1/`scale` of the size."""
    operations: list[AnyOperation] = []
    base, remaining = 1.0, scale
    if scale == 4 and chance(generator, HALVING_SHARE):
        modes: tuple[Mode, ...] = ALIASED_MODES if chance(generator, 0.5) else ("antialiased",)
        operations.append(Resize(factor=0.5, mode=choose(generator, modes)))
        base, remaining = 0.5, 2
    for step in _random_order(generator):
        if step == "blur":
            operations.append(_random_bsrgan_blur(remaining, generator))
        elif step == "reduce":
            operations += _random_reduction(base, remaining, generator)
        elif step == "to LR":
            operations.append(Resize(factor=1 / scale, mode=choose(generator, ALIASED_MODES)))
        elif step == "noise":
            operations.append(_random_bsrgan_noise(generator))
        elif chance(generator, JPEG_SHARE):
            operations.append(Jpeg(quality=random_int(generator, *JPEG_QUALITY)))
    return [*operations, Jpeg(quality=random_int(generator, *JPEG_QUALITY))]


def _random_order(generator: torch.Generator) -> list[str]:
    """The steps in random order, but for the two reductions, of which "reduce" is the first."""
    steps = ["blur", "blur", "reduce", "to LR", "noise", "jpeg"]
    shuffled = [steps[i] for i in torch.randperm(len(steps), generator=generator).tolist()]
    first, second = sorted((shuffled.index("reduce"), shuffled.index("to LR")))
    shuffled[first], shuffled[second] = "reduce", "to LR"
    return shuffled


def _random_bsrgan_blur(scale: int, generator: torch.Generator) -> Blur:
    """An isotropic or, as often, an anisotropic Gaussian; `scale` is the reduction to come."""
    size = random_odd(generator, *BSRGAN_KERNEL_SIZES)
    if chance(generator, 0.5):
        # The variances along both axes are uniform, up to 4 + scale.
        variances = [random_float(generator, SMALLEST_SIGMA**2, 4.0 + scale) for _ in range(2)]
        angle = random_float(generator, 0.0, math.pi)
        sigma_x, sigma_y = (math.sqrt(v) for v in variances)
        return Blur(shape="gaussian", size=size, sigma_x=sigma_x, sigma_y=sigma_y, angle=angle)
    sigma = random_float(generator, SMALLEST_SIGMA, 2.0 + 0.2 * scale)
    return Blur(shape="gaussian", size=size, sigma_x=sigma, sigma_y=sigma)


def _random_reduction(
    base: float, scale: int, generator: torch.Generator
) -> Sequence[AnyOperation]:
    """A resize by up to 2 `scale`, or decimation by `scale` after a Gaussian blur.

    The blur is shifted by half a step, so that the kept pixels are the centres of LR pixels.
    """
    if chance(generator, 0.75):
        factor = base / random_float(generator, 1.0, 2.0 * scale)
        return [Resize(factor=factor, mode=choose(generator, ALIASED_MODES))]
    sigma = random_float(generator, 0.1, 0.6 * scale)
    blur = Blur(shape="gaussian", size=DECIMATION_KERNEL_SIZE, sigma_x=sigma, sigma_y=sigma,
                shift=(scale - 1) / 2)  # fmt: skip
    return [blur, Decimate(step=scale)]


def _random_bsrgan_noise(generator: torch.Generator) -> GaussianNoise | CorrelatedNoise:
    """Colour (0.4), grey (0.4) or correlated (0.2) Gaussian noise."""
    kind = choose(generator, ("colour", "grey", "correlated"), (0.4, 0.4, 0.2))
    if kind != "correlated":
        sigma = float(random_int(generator, *NOISE_SIGMA))
        return GaussianNoise(sigma=sigma, gray=kind == "grey", seed=random_seed(generator))
    # Variances uniform up to the largest sigma^2, along random axes.
    variances = torch.rand(3, generator=generator, dtype=torch.float64)
    axes = torch.linalg.svd(torch.rand(3, 3, generator=generator, dtype=torch.float64)).U
    covariance = (NOISE_SIGMA[1] ** 2 * axes.T @ torch.diag(variances) @ axes).abs()
    rows = tuple((a, b, c) for a, b, c in covariance.tolist())
    return CorrelatedNoise(covariance=rows, seed=random_seed(generator))
