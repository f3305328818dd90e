"""HR -> LR: bicubic reduction, or the two-order chain of Real-ESRGAN.

Pictures are [1,3,H,W] in [0,1]. Every draw comes from the generator that is passed, so a pair
is made again from its number alone. Chain: https://arxiv.org/abs/2107.10833; ranges: those CCSR
was trained with.
"""

import io
import math
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from PIL import Image
from torch.nn import functional

from ccsr.images.picture import Size
from ccsr.images.tensors import resize, to_array, to_uint8
from training.data import Degrade, random_float, random_int

T = TypeVar("T")

KERNEL_SIZES = (7, 21)
SINC_SHARE = 0.1
SECOND_BLUR_SHARE = 0.5
FINAL_SINC_SHARE = 0.8
GAUSSIAN_NOISE_SHARE = 0.5
GRAY_NOISE_SHARE = 0.4
SHAPE_RANGE = (0.5, 2.0)
"""Exponent of a generalised Gaussian kernel."""
PLATEAU_RANGE = (1.0, 1.5)
"""Exponent of a plateau kernel."""
KERNELS = ("gaussian", "generalised", "plateau")
KERNEL_SHARES = (0.7, 0.15, 0.15)
ISOTROPIC_SHARE = 0.65
MODES = ("area", "bilinear", "bicubic")


@dataclass(frozen=True)
class Order:
    """Ranges of one round of blur, resize, noise and JPEG."""

    blur_sigma: tuple[float, float]
    resize_shares: tuple[float, float, float]
    """Of enlarging, reducing, and keeping the size."""
    resize_range: tuple[float, float]
    gaussian_sigma: tuple[float, float]
    """In grey levels of 0-255."""
    poisson_scale: tuple[float, float]
    jpeg_quality: tuple[int, int]


FIRST = Order((0.2, 1.5), (0.2, 0.7, 0.1), (0.3, 1.5), (1, 15), (0.05, 2.0), (60, 95))
SECOND = Order((0.2, 1.0), (0.3, 0.4, 0.3), (0.6, 1.2), (1, 12), (0.05, 1.0), (60, 100))


def mixture(scale: int, bicubic_share: float) -> Degrade:
    """Degrade by `bicubic` with probability `bicubic_share`, else by `real_esrgan`."""

    def degrade(hr: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        if random_float(generator, 0, 1) < bicubic_share:
            return bicubic(hr, scale)
        return real_esrgan(hr, scale, generator)

    return degrade


def bicubic(hr: torch.Tensor, scale: int) -> torch.Tensor:
    """Reduce bicubically, rounded to 8 bits as a file would be."""
    return _round_to_8_bits(resize(hr, _reduced(hr, scale)))


def real_esrgan(hr: torch.Tensor, scale: int, generator: torch.Generator) -> torch.Tensor:
    """Reduce by two rounds of blur, resize, noise and JPEG."""
    target = _reduced(hr, scale)
    x = _blur(hr, _random_kernel(FIRST, generator))
    x = _random_resize(x, Size(*hr.shape[2:]), FIRST, generator)
    x = _add_noise(x, FIRST, generator)
    x = _random_jpeg(x, FIRST, generator)

    if _chance(generator, SECOND_BLUR_SHARE):
        x = _blur(x, _random_kernel(SECOND, generator))
    x = _random_resize(x, target, SECOND, generator)
    x = _add_noise(x, SECOND, generator)
    # Sharpening by a sinc filter rings as over-sharpened pictures do; before or after JPEG.
    sinc_last = _chance(generator, 0.5)
    if sinc_last:
        x = _random_jpeg(x, SECOND, generator)
    x = _resample(x, target, _choose(generator, MODES))
    if _chance(generator, FINAL_SINC_SHARE):
        x = _blur(x, _random_sinc(generator))
    if not sinc_last:
        x = _random_jpeg(x, SECOND, generator)
    return _round_to_8_bits(x)


def _reduced(hr: torch.Tensor, scale: int) -> Size:
    return Size(hr.shape[2] // scale, hr.shape[3] // scale)


def _round_to_8_bits(x: torch.Tensor) -> torch.Tensor:
    return (x.clamp(0, 1) * 255).round() / 255


def _chance(generator: torch.Generator, share: float) -> bool:
    return random_float(generator, 0, 1) < share


def _choose(
    generator: torch.Generator, options: tuple[T, ...], shares: tuple[float, ...] = ()
) -> T:
    weights = torch.tensor(shares or (1.0,) * len(options))
    return options[int(torch.multinomial(weights, 1, generator=generator))]


def _random_kernel(order: Order, generator: torch.Generator) -> torch.Tensor:
    """A blur kernel [k,k] that sums to 1."""
    if _chance(generator, SINC_SHARE):
        return _random_sinc(generator)
    size = _random_kernel_size(generator)
    kind = _choose(generator, KERNELS, KERNEL_SHARES)
    sigma_x = sigma_y = random_float(generator, *order.blur_sigma)
    angle = 0.0
    if not _chance(generator, ISOTROPIC_SHARE):
        sigma_y = random_float(generator, *order.blur_sigma)
        angle = random_float(generator, -math.pi, math.pi)
    distance = _squared_distance(size, sigma_x, sigma_y, angle)
    if kind == "gaussian":
        kernel = torch.exp(-0.5 * distance)
    elif kind == "generalised":
        kernel = torch.exp(-0.5 * distance ** random_float(generator, *SHAPE_RANGE))
    else:
        kernel = 1 / (1 + distance ** random_float(generator, *PLATEAU_RANGE))
    return kernel / kernel.sum()


def _random_kernel_size(generator: torch.Generator) -> int:
    low, high = KERNEL_SIZES
    return 2 * random_int(generator, low // 2, high // 2) + 1


def _squared_distance(size: int, sigma_x: float, sigma_y: float, angle: float) -> torch.Tensor:
    """Mahalanobis distance of every pixel [size,size] from the centre, squared."""
    offset = torch.arange(size) - size // 2
    y, x = torch.meshgrid(offset, offset, indexing="ij")
    along = x * math.cos(angle) + y * math.sin(angle)
    across = y * math.cos(angle) - x * math.sin(angle)
    return (along / sigma_x) ** 2 + (across / sigma_y) ** 2


def _random_sinc(generator: torch.Generator) -> torch.Tensor:
    """A circular low-pass kernel [k,k] with ringing: the ideal filter, cut off at its edge."""
    size = _random_kernel_size(generator)
    # A small kernel with a low cut-off would hold less than one lobe.
    lowest = math.pi / 3 if size < 13 else math.pi / 5
    return sinc_kernel(size, random_float(generator, lowest, math.pi))


def sinc_kernel(size: int, cutoff: float) -> torch.Tensor:
    """Inverse Fourier transform of a disc of radius `cutoff` (radians a pixel): [size,size]."""
    radius = _squared_distance(size, 1, 1, 0).sqrt()
    kernel = cutoff * torch.special.bessel_j1(cutoff * radius) / (2 * math.pi * radius)
    kernel[size // 2, size // 2] = cutoff**2 / (4 * math.pi)
    return kernel / kernel.sum()


def _blur(x: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
    pad = kernel.shape[-1] // 2
    padded = functional.pad(x, (pad, pad, pad, pad), mode="reflect")
    weight = kernel.to(x).expand(x.shape[1], 1, -1, -1)
    return functional.conv2d(padded, weight, groups=x.shape[1])


def _random_resize(
    x: torch.Tensor, base: Size, order: Order, generator: torch.Generator
) -> torch.Tensor:
    """Resize to a random factor of `base`."""
    low, high = order.resize_range
    ranges = ((1.0, high), (low, 1.0), (1.0, 1.0))
    factor = random_float(generator, *_choose(generator, ranges, order.resize_shares))
    size = Size(max(round(base.height * factor), 1), max(round(base.width * factor), 1))
    return _resample(x, size, _choose(generator, MODES))


def _resample(x: torch.Tensor, size: Size, mode: str) -> torch.Tensor:
    if mode == "area":
        return functional.interpolate(x, tuple(size), mode="area")
    # Without antialiasing, as the chain was published: aliasing is one of its defects.
    return functional.interpolate(x, tuple(size), mode=mode, align_corners=False)


def _add_noise(x: torch.Tensor, order: Order, generator: torch.Generator) -> torch.Tensor:
    """Add Gaussian or Poisson noise, of one value a pixel or of one a channel."""
    gray = _chance(generator, GRAY_NOISE_SHARE)
    if _chance(generator, GAUSSIAN_NOISE_SHARE):
        sigma = random_float(generator, *order.gaussian_sigma) / 255
        shape = (1, 1 if gray else 3, *x.shape[2:])
        noise = sigma * torch.randn(shape, generator=generator)
    else:
        noise = _poisson_noise(x, gray, generator) * random_float(generator, *order.poisson_scale)
    return (x + noise).clamp(0, 1)


def _poisson_noise(x: torch.Tensor, gray: bool, generator: torch.Generator) -> torch.Tensor:
    x = _round_to_8_bits(x)
    if gray:
        x = (x * torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(1, keepdim=True)
    # The fewer grey levels a picture has, the fewer photons it stands for.
    photons = 2 ** math.ceil(math.log2(max(len(torch.unique(x)), 2)))
    return torch.poisson(x * photons, generator=generator) / photons - x


def _random_jpeg(x: torch.Tensor, order: Order, generator: torch.Generator) -> torch.Tensor:
    return jpeg(x, random_int(generator, *order.jpeg_quality))


def jpeg(x: torch.Tensor, quality: int) -> torch.Tensor:
    """Pass x [1,3,H,W] through a JPEG file."""
    file = io.BytesIO()
    Image.fromarray(to_uint8(to_array(x))).save(file, "JPEG", quality=quality)
    levels = np.asarray(Image.open(file))
    return torch.from_numpy(levels.copy()).permute(2, 0, 1)[None].float() / 255
