"""The operations of a degradation, each a frozen model of its parameters.

Pictures are [1,3,H,W] in [0,1]. An operation is a pure function of the picture and its parameters,
among which noise has a seed. Models are written to JSON and read back without loss, so a line of a
manifest is enough to degrade a picture again.
"""

import io
import math
from abc import abstractmethod
from typing import Annotated, Literal

import numpy as np
import torch
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field
from torch.nn import functional

from ccsr.config import DegradationModel
from ccsr.images.color import LUMA
from ccsr.images.picture import Size
from ccsr.images.tensors import mirrored, resize, to_array, to_uint8

KernelShape = Literal["gaussian", "generalised", "plateau"]
Mode = Literal["area", "bilinear", "bicubic", "antialiased"]
ALIASED_MODES: tuple[Mode, ...] = ("area", "bilinear", "bicubic")


class Operation(BaseModel):
    """One operation of a degradation."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @abstractmethod
    def __call__(self, x: torch.Tensor, hr_size: Size) -> torch.Tensor:
        """Degrade x [1,3,h,w], made of an HR picture of size `hr_size`."""

    @abstractmethod
    def __str__(self) -> str:
        """The parameters in one line."""


class Blur(Operation):
    """Convolution with a Gaussian, generalised Gaussian or plateau kernel.

    With d^2 the squared Mahalanobis distance from the centre, the kernels are exp(-d^2 / 2),
    exp(-d^(2 beta) / 2) and 1 / (1 + d^(2 beta)), divided by their sum
    (https://arxiv.org/abs/2107.10833, Sec. 3.1).
    """

    kind: Literal["blur"] = "blur"
    shape: KernelShape
    size: int = Field(ge=1, description="side of the kernel, odd")
    sigma_x: float = Field(gt=0, description="pixels, along `angle`")
    sigma_y: float = Field(gt=0, description="pixels, across")
    angle: float = Field(default=0.0, description="radians from the x axis")
    beta: float = Field(default=1.0, gt=0)
    shift: float = Field(default=0.0, description="of the centre, pixels to the right and down")

    def __call__(self, x: torch.Tensor, hr_size: Size) -> torch.Tensor:
        """X convolved with the kernel, mirrored at its borders."""
        return filtered(x, self.kernel())

    def kernel(self) -> torch.Tensor:
        """The kernel [size,size], float64, of sum 1."""
        y, x = _offsets(self.size)
        y, x = y - self.shift, x - self.shift
        along = x * math.cos(self.angle) + y * math.sin(self.angle)
        across = y * math.cos(self.angle) - x * math.sin(self.angle)
        squared = (along / self.sigma_x) ** 2 + (across / self.sigma_y) ** 2
        if self.shape == "plateau":
            kernel = 1 / (1 + squared**self.beta)
        else:
            kernel = torch.exp(-0.5 * squared**self.beta)
        return kernel / kernel.sum()

    def __str__(self) -> str:
        beta = "" if self.shape == "gaussian" else f" beta {self.beta:.2f}"
        sigma = f"{self.sigma_x:.2f}"
        if self.sigma_x != self.sigma_y:
            sigma += f"/{self.sigma_y:.2f} {math.degrees(self.angle):.0f}deg"
        return f"blur {self.shape} {self.size} sigma {sigma}{beta}"


class SincFilter(Operation):
    """Circular ideal low-pass filter, cut off at the border of its kernel: blur and ringing."""

    kind: Literal["sinc"] = "sinc"
    size: int = Field(ge=1, description="side of the kernel, odd")
    cutoff: float = Field(gt=0, le=math.pi, description="radians a pixel")

    def __call__(self, x: torch.Tensor, hr_size: Size) -> torch.Tensor:
        """X convolved with the kernel, mirrored at its borders."""
        return filtered(x, self.kernel())

    def kernel(self) -> torch.Tensor:
        """Inverse Fourier transform of a disc of radius `cutoff` [size,size], of sum 1."""
        y, x = _offsets(self.size)
        radius = (x**2 + y**2).sqrt()
        kernel = (
            self.cutoff * torch.special.bessel_j1(self.cutoff * radius) / (2 * math.pi * radius)
        )
        # The limit at radius 0.
        kernel[self.size // 2, self.size // 2] = self.cutoff**2 / (4 * math.pi)
        return kernel / kernel.sum()

    def __str__(self) -> str:
        return f"sinc {self.size} cutoff {self.cutoff / math.pi:.2f}pi"


class Resize(Operation):
    """Resampling to a fraction of the HR size, rounded down, at least 1x1."""

    kind: Literal["resize"] = "resize"
    factor: float = Field(gt=0, description="of the HR size")
    mode: Mode = Field(
        description="bilinear and bicubic alias when reducing, as in OpenCV; "
        "antialiased is bicubic as in Pillow and MATLAB"
    )

    def __call__(self, x: torch.Tensor, hr_size: Size) -> torch.Tensor:
        """X [1,3,h,w] resampled to `factor` times `hr_size`."""
        height, width = (max(int(side * self.factor), 1) for side in hr_size)
        if self.mode == "antialiased":
            return resize(x, Size(height, width))
        if self.mode == "area":
            return functional.interpolate(x, (height, width), mode="area")
        return functional.interpolate(x, (height, width), mode=self.mode, align_corners=False)

    def __str__(self) -> str:
        return f"resize {self.factor:.3f} {self.mode}"


class Decimate(Operation):
    """Every `step`-th pixel of every `step`-th row, from the first."""

    kind: Literal["decimate"] = "decimate"
    step: int = Field(ge=1)

    def __call__(self, x: torch.Tensor, hr_size: Size) -> torch.Tensor:
        """X [1,3,ceil(h/step),ceil(w/step)]."""
        return x[:, :, :: self.step, :: self.step]

    def __str__(self) -> str:
        return f"decimate {self.step}"


class GaussianNoise(Operation):
    """Gaussian noise, independent in each pixel and, unless grey, each channel."""

    kind: Literal["gaussian_noise"] = "gaussian_noise"
    sigma: float = Field(ge=0, description="levels of 0-255")
    gray: bool
    seed: int

    def __call__(self, x: torch.Tensor, hr_size: Size) -> torch.Tensor:
        """X with noise, clamped."""
        shape = (1, 1 if self.gray else 3, *x.shape[2:])
        noise = torch.randn(shape, generator=torch.Generator().manual_seed(self.seed))
        return (x + self.sigma / 255 * noise).clamp(0, 1)

    def __str__(self) -> str:
        return f"noise Gaussian {'grey' if self.gray else 'colour'} {self.sigma:.1f}"


class CorrelatedNoise(Operation):
    """Gaussian noise, independent in each pixel, correlated over its channels."""

    kind: Literal["correlated_noise"] = "correlated_noise"
    covariance: tuple[tuple[float, float, float], ...] = Field(
        min_length=3, max_length=3, description="of R, G and B, squared levels of 0-255"
    )
    seed: int

    def __call__(self, x: torch.Tensor, hr_size: Size) -> torch.Tensor:
        """X with noise, clamped."""
        variances, axes = torch.linalg.eigh(torch.tensor(self.covariance, dtype=torch.float64))
        # The symmetric root exists for singular matrices too.
        root = axes @ torch.diag(variances.clamp(min=0).sqrt()) @ axes.T / 255
        white = torch.randn(x.shape, generator=torch.Generator().manual_seed(self.seed))
        noise = torch.einsum("ij,bjhw->bihw", root.float(), white)
        return (x + noise).clamp(0, 1)

    def __str__(self) -> str:
        sigmas = "/".join(f"{math.sqrt(self.covariance[i][i]):.0f}" for i in range(3))
        return f"noise correlated {sigmas}"


class PoissonNoise(Operation):
    """Shot noise: `scale` times the deviation of a Poisson count from its mean.

    The mean count of a value v in [0,1] is N v, with N = 2^ceil(log2 n) and n the number of
    different values of the picture in 8 bit, so the variance of the noise is scale^2 v / N. Grey
    noise is that of the luma in 8 bit, equal in all channels.
    """

    kind: Literal["poisson_noise"] = "poisson_noise"
    scale: float = Field(ge=0)
    gray: bool
    seed: int

    def __call__(self, x: torch.Tensor, hr_size: Size) -> torch.Tensor:
        """X with noise, clamped."""
        signal = x
        if self.gray:
            signal = (x * torch.tensor(LUMA).view(1, 3, 1, 1)).sum(1, keepdim=True)
        # Rounded after the conversion to luma: unrounded, nearly every pixel counts as a value.
        signal = rounded_to_8_bits(signal)
        count = 2 ** math.ceil(math.log2(len(torch.unique(signal))))
        generator = torch.Generator().manual_seed(self.seed)
        noise = torch.poisson(signal * count, generator=generator) / count - signal
        return (x + self.scale * noise).clamp(0, 1)

    def __str__(self) -> str:
        return f"noise Poisson {'grey' if self.gray else 'colour'} {self.scale:.2f}"


class Jpeg(Operation):
    """JPEG compression, chroma at half the resolution."""

    kind: Literal["jpeg"] = "jpeg"
    quality: int = Field(ge=1, le=100)

    def __call__(self, x: torch.Tensor, hr_size: Size) -> torch.Tensor:
        """X decoded from a JPEG file."""
        file = io.BytesIO()
        Image.fromarray(to_uint8(to_array(x))).save(file, "JPEG", quality=self.quality)
        levels = np.asarray(Image.open(file))
        return torch.from_numpy(levels.copy()).permute(2, 0, 1)[None].float() / 255

    def __str__(self) -> str:
        return f"JPEG {self.quality}"


AnyOperation = Annotated[
    Blur | SincFilter | Resize | Decimate | GaussianNoise | CorrelatedNoise | PoissonNoise | Jpeg,
    Field(discriminator="kind"),
]


class Degradation(BaseModel):
    """The operations that reduce one HR picture to its LR, with all parameters."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: DegradationModel
    scale: int = Field(ge=1, le=8)
    operations: tuple[AnyOperation, ...]

    def apply(self, hr: torch.Tensor) -> torch.Tensor:
        """HR [1,3,H,W] in [0,1] -> LR [1,3,H//scale,W//scale], rounded to 8 bit."""
        size, x = Size(*hr.shape[2:]), hr
        for operation in self.operations:
            x = operation(x, size)
        return rounded_to_8_bits(x)


def rounded_to_8_bits(x: torch.Tensor) -> torch.Tensor:
    """X in [0,1], clamped and rounded to multiples of 1/255."""
    return (x.clamp(0, 1) * 255).round() / 255


def filtered(x: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
    """Correlation of each channel of x [1,3,H,W] with kernel [k,k], mirrored at the borders."""
    pad, channels = kernel.shape[-1] // 2, x.shape[1]
    rows, columns = (mirrored(torch.arange(-pad, n + pad), n) for n in x.shape[2:])
    padded = x[:, :, rows][:, :, :, columns]
    weight = kernel.to(x).expand(channels, 1, -1, -1)
    return functional.conv2d(padded, weight, groups=channels)


def _offsets(size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Y and x [size,size] of each pixel from the centre, float64."""
    offset = torch.arange(size, dtype=torch.float64) - size // 2
    y, x = torch.meshgrid(offset, offset, indexing="ij")
    return y, x
