"""NIQE: distance between the statistics of a picture and those of sharp photographs.

Mittal, Soundararajan and Bovik 2013, https://doi.org/10.1109/LSP.2012.2227726. Needs no reference.
The model of sharp photographs is that of its authors, so that values compare with published ones.
As in their program, a picture is measured as 8-bit grey levels.

The feature vector of a block has 2 x 18 numbers: at each of two scales, the parameters of
generalised Gaussians fitted to its normalised grey levels (2) and, asymmetric, to the products of
neighbouring pixels in four directions (16).
"""

import functools
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import load_file
from scipy.ndimage import gaussian_filter
from scipy.special import gamma

from ccsr.errors import InputError
from ccsr.images.color import LUMA
from ccsr.images.picture import Size
from ccsr.models.tiling import spans

BLOCK = 96
"""Side of a block in pixels; half of it at the second scale."""
SMALLEST_SIDE = 2 * BLOCK
"""Shortest side in pixels: the covariance of the features needs several blocks."""
STRIP = 8 * BLOCK
"""Rows of a large picture whose blocks are worked on at once."""
SIGMA, TRUNCATE = 7 / 6, 18 / 7
"""Gaussian window of local mean and contrast: standard deviation in pixels, and where it is
truncated, to 7 x 7 pixels."""
NEIGHBOURS = ((0, 1), (1, 0), (1, 1), (1, -1))
"""Offsets (down, right) of the pixels that each pixel is multiplied with."""
MODEL_FILE = Path(__file__).resolve().parents[2] / "assets" / "niqe" / "pristine.safetensors"

# Candidates of the shape parameter, and r(shape) = E[|x|]^2 / E[x^2] of a generalised Gaussian.
_SHAPES = np.arange(0.2, 10.001, 0.001)
_RATIOS = gamma(2 / _SHAPES) ** 2 / (gamma(1 / _SHAPES) * gamma(3 / _SHAPES))


@dataclass(frozen=True)
class GaussianModel:
    """Multivariate Gaussian of feature vectors."""

    mean: np.ndarray
    """[36]."""
    covariance: np.ndarray
    """[36,36]."""

    @classmethod
    @functools.cache
    def pristine(cls) -> "GaussianModel":
        """The authors' model of sharp photographs."""
        return cls(**load_file(MODEL_FILE))


def niqe(rgb: np.ndarray, model: GaussianModel | None = None) -> float:
    """NIQE of rgb [H,W,3] in [0,1], Eq. (10) of its paper; at least 0, lower is better.

    Args:
        rgb: The picture.
        model: Of sharp photographs; `GaussianModel.pristine` by default.

    Raises:
        InputError: If a side is shorter than `SMALLEST_SIDE`.
    """
    if min(rgb.shape[:2]) < SMALLEST_SIDE:
        raise InputError(
            f"NIQE needs at least {SMALLEST_SIDE} pixels a side, "
            f"got {Size(*rgb.shape[:2])}; take a larger picture"
        )
    model = model or GaussianModel.pristine()
    own = _gaussian(picture_features(rgb))
    difference = own.mean - model.mean
    pooled = np.linalg.pinv((own.covariance + model.covariance) / 2)
    return float(np.sqrt(difference @ pooled @ difference))


def picture_features(rgb: np.ndarray) -> np.ndarray:
    """Features [N,36] of the N whole blocks of rgb [H,W,3] in [0,1], strip by strip of them."""
    blocks = Fraction(rgb.shape[1] // BLOCK, BLOCK)
    features: list[np.ndarray] = []
    for span in spans(rgb.shape[0] // BLOCK * BLOCK, STRIP, BLOCK):
        found = block_features(grey_levels(rgb[span.start : span.stop]))
        features.append(found[span.inner(blocks, span.start)])
    return np.concatenate(features)


def grey_levels(rgb: np.ndarray) -> np.ndarray:
    """Grey levels [H,W] of rgb [H,W,3] in [0,1]: whole numbers from 0 to 255, halves to even."""
    return np.round(255 * (rgb.astype(np.float64) @ np.array(LUMA)))


def block_features(grey: np.ndarray) -> np.ndarray:
    """Features [N,36] of the N whole blocks of grey levels [H,W] in [0,255]."""
    height, width = (side // BLOCK * BLOCK for side in grey.shape)
    large = grey[:height, :width].astype(np.float64)
    scales = ((large, BLOCK), (_halved(large), BLOCK // 2))
    features = [[_features(b) for b in _blocks(_normalised(x), side)] for x, side in scales]
    return np.concatenate(features, axis=1)


def _halved(grey: np.ndarray) -> np.ndarray:
    """Grey levels [H,W] at half the size, bicubically, not clamped -> [H/2,W/2]."""
    x = torch.from_numpy(grey)[None, None]
    return torch.nn.functional.interpolate(
        x, scale_factor=0.5, mode="bicubic", antialias=True, align_corners=False
    )[0, 0].numpy()


def _normalised(grey: np.ndarray) -> np.ndarray:
    """Grey levels [H,W] normalised by local mean and contrast, Eq. (1) of the NIQE paper."""

    def smooth(x: np.ndarray) -> np.ndarray:
        return gaussian_filter(x, SIGMA, truncate=TRUNCATE, mode="nearest")

    mean = smooth(grey)
    contrast = np.sqrt(np.abs(smooth(grey**2) - mean**2))
    return (grey - mean) / (contrast + 1)


def _blocks(picture: np.ndarray, side: int) -> list[np.ndarray]:
    rows = [picture[top : top + side] for top in range(0, picture.shape[0], side)]
    return [row[:, left : left + side] for row in rows for left in range(0, row.shape[1], side)]


def _features(block: np.ndarray) -> list[float]:
    """The 18 features of one normalised block at one scale."""
    shape, left, right = _asymmetric_gaussian(block)
    features = [shape, (left + right) / 2]
    for shift in NEIGHBOURS:
        shape, left, right = _asymmetric_gaussian(block * np.roll(block, shift, (0, 1)))
        mean = (right - left) * gamma(2 / shape) / gamma(1 / shape)
        features += [shape, mean, left, right]
    return features


def _asymmetric_gaussian(x: np.ndarray) -> tuple[float, float, float]:
    """Shape, left scale and right scale of an asymmetric generalised Gaussian.

    Matched to the moments of x: Lasmar, Stitou and Berthoumieu 2009.
    """
    left, right = (np.sqrt(np.mean(side**2)) if side.size else 0.0 for side in (x[x < 0], x[x > 0]))
    if left == 0 or right == 0:
        # All on one side, as in a block without texture: the narrowest shape.
        return float(_SHAPES[0]), 0.0, 0.0
    skew = left / right
    ratio = np.mean(np.abs(x)) ** 2 / np.mean(x**2)
    wanted = ratio * (skew**3 + 1) * (skew + 1) / (skew**2 + 1) ** 2
    shape = float(_SHAPES[np.argmin((_RATIOS - wanted) ** 2)])
    scale = np.sqrt(gamma(1 / shape) / gamma(3 / shape))
    return shape, float(left * scale), float(right * scale)


def _gaussian(features: np.ndarray) -> GaussianModel:
    return GaussianModel(features.mean(0), np.cov(features, rowvar=False))
