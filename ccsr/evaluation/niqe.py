"""NIQE: distance between the statistics of a picture and those of sharp photographs.

Mittal, Soundararajan and Bovik 2013, https://doi.org/10.1109/LSP.2012.2227726. Needs no reference.
The model of sharp photographs is fitted to the training pictures of the compact model, so scores
compare with each other, not with those of other implementations.

The feature vector of a block has 2 x 18 numbers: at each of two scales, the parameters of
generalised Gaussians fitted to its normalised luma (2) and, asymmetric, to the products of
neighbouring pixels in four directions (16).
"""

import functools
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import load_file, save
from scipy.ndimage import gaussian_filter
from scipy.special import gamma

from ccsr.images.picture import Size
from ccsr.images.tensors import resize
from ccsr.whole_file import write_whole

BLOCK = 96
"""Side of a block in pixels; half of it at the second scale."""
SMALLEST_SIDE = 2 * BLOCK
"""Shortest side in pixels: the covariance of the features needs several blocks."""
SHARP_SHARE = 0.75
"""The model is fitted to blocks whose mean local contrast is above this fraction of the greatest in
their picture."""
SIGMA, TRUNCATE = 7 / 6, 18 / 7
"""Gaussian window of local mean and contrast: standard deviation in pixels, and where it is
truncated, to 7 x 7 pixels."""
NEIGHBOURS = ((0, 1), (1, 0), (1, 1), (1, -1))
"""Offsets (down, right) of the pixels that each pixel is multiplied with."""
MODEL_FILE = Path(__file__).resolve().parents[2] / "assets" / "niqe" / "photographs.safetensors"

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

    def save(self, path: Path) -> None:
        """Write as a safetensors file."""
        write_whole(path, save({"mean": self.mean, "covariance": self.covariance}), overwrite=True)

    @classmethod
    @functools.cache
    def shipped(cls) -> "GaussianModel":
        """The model of sharp photographs that ships with the product."""
        return cls(**load_file(MODEL_FILE))


def fit(lumas: Iterable[np.ndarray]) -> GaussianModel:
    """Fit the model of sharp photographs.

    Args:
        lumas: Lumas of photographs, [H,W] in [0,1], each side at least `BLOCK` pixels.
    """
    features = [block_features(luma)[_are_sharp(luma)] for luma in lumas]
    return _gaussian(np.concatenate(features))


def niqe(luma: np.ndarray, model: GaussianModel | None = None) -> float:
    """NIQE of a luma [H,W] in [0,1], Eq. (10) of its paper; at least 0, lower is better.

    Args:
        luma: The picture.
        model: Of sharp photographs; `GaussianModel.shipped` by default.

    Raises:
        ValueError: If a side is shorter than `SMALLEST_SIDE`.
    """
    if min(luma.shape) < SMALLEST_SIDE:
        raise ValueError(
            f"NIQE needs at least {SMALLEST_SIDE} pixels a side, "
            f"got {Size(*luma.shape)}; take a larger picture"
        )
    model = model or GaussianModel.shipped()
    own = _gaussian(block_features(luma))
    difference = own.mean - model.mean
    pooled = np.linalg.pinv((own.covariance + model.covariance) / 2)
    return float(np.sqrt(difference @ pooled @ difference))


def block_features(luma: np.ndarray) -> np.ndarray:
    """Features [N,36] of the N whole blocks of a luma [H,W] in [0,1]."""
    height, width = (side // BLOCK * BLOCK for side in luma.shape)
    large = torch.from_numpy(luma[:height, :width].astype(np.float64))[None, None]
    small = resize(large, Size(height // 2, width // 2))
    scales = ((large, BLOCK), (small, BLOCK // 2))
    normalised = [(_normalised(x[0, 0].numpy())[0], side) for x, side in scales]
    features = [[_features(b) for b in _blocks(x, side)] for x, side in normalised]
    return np.concatenate(features, axis=1)


def _are_sharp(luma: np.ndarray) -> np.ndarray:
    """Which of the N whole blocks have high local contrast, [N] bool."""
    height, width = (side // BLOCK * BLOCK for side in luma.shape)
    _, contrast = _normalised(luma[:height, :width])
    means = np.array([block.mean() for block in _blocks(contrast, BLOCK)])
    return means > SHARP_SHARE * means.max()


def _normalised(picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Normalise a luma [H,W] in [0,1] locally, Eq. (1) of the NIQE paper.

    Returns:
        Normalised luma [H,W], without unit, and local contrast [H,W] in grey levels.
    """
    picture = 255 * picture.astype(np.float64)

    def smooth(x: np.ndarray) -> np.ndarray:
        return gaussian_filter(x, SIGMA, truncate=TRUNCATE, mode="nearest")

    mean = smooth(picture)
    contrast = np.sqrt(np.abs(smooth(picture**2) - mean**2))
    return (picture - mean) / (contrast + 1), contrast


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
