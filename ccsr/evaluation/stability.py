"""Stability over seeds, CCSR Eq. (4-5): L-STD of the pixels and G-STD of the scores.

For one picture and N seeds, with x_n the result and m_n a score of seed n:
    L-STD = mean over pixels and channels of std_n(x_n), in [0, 0.5]      Eq. (5)
    G-STD = std_n(m_n), in the unit of the score                          Eq. (4)
Both are population standard deviations (divided by N); over a data set they are averaged. The
statistics are updated seed by seed, so memory does not grow with N.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter

from ccsr.config import SamplingConfig
from ccsr.errors import InputError
from ccsr.evaluation.metrics import BAND, BORDER
from ccsr.inference.memory import spill_to_disk
from ccsr.models.tiling import spans


class PixelStatistics:
    """Mean and standard deviation of every pixel over the pictures added so far.

    Welford's update, as accurate as two passes over all pictures:
    https://doi.org/10.1080/00401706.1962.10490022
    """

    def __init__(self) -> None:
        self.count = 0
        self._mean: np.ndarray | None = None
        self._squares: np.ndarray | None = None

    def add(self, rgb: np.ndarray) -> None:
        """Add one picture [H,W,3] in [0,1].

        Raises:
            InputError: If its size differs from the earlier ones.
        """
        if self._mean is None or self._squares is None:
            # A sweep holds one of these for each setting.
            self._mean, self._squares = (spill_to_disk(np.zeros(rgb.shape)) for _ in range(2))
        if rgb.shape != self._mean.shape:
            raise InputError(f"pictures must be of shape {self._mean.shape}, got {rgb.shape}")
        self.count += 1
        for rows in _bands(len(rgb)):
            delta = rgb[rows] - self._mean[rows]
            self._mean[rows] += delta / self.count
            self._squares[rows] += delta * (rgb[rows] - self._mean[rows])

    @property
    def mean(self) -> np.ndarray:
        """Mean picture [H,W,3] in [0,1]."""
        if self._mean is None:
            raise InputError("no picture has been added yet")
        return self._mean

    @property
    def l_std_map(self) -> np.ndarray:
        """Standard deviation over the seeds at each pixel, averaged over R, G and B.

        [H,W] in [0, 0.5]: the terms that CCSR Eq. (5) averages over the pixels.
        """
        if self._squares is None:
            raise InputError("no picture has been added yet")
        squares = (self._squares[rows] for rows in _bands(len(self._squares)))
        return np.concatenate([np.sqrt(band / self.count).mean(2) for band in squares])

    @property
    def l_std(self) -> float:
        """L-STD of one picture, CCSR Eq. (5): mean of `l_std_map` inside the border."""
        return inner_mean(self.l_std_map)


def _bands(height: int) -> list[slice]:
    return [slice(band.start, band.stop) for band in spans(height, BAND, 0)]


@dataclass(frozen=True)
class Blended:
    """A result blended with the mean of the seeds."""

    rgb: np.ndarray
    """[H,W,3] float32 in [0,1]."""
    share: float
    """Mean weight of the mean picture over the pixels, in [0,1]."""


BLEND_RAMP = 2.0
"""The weight of the mean rises from 0 at the threshold to 1 at this multiple of it."""
BLEND_BLUR_PX = 1.0
"""Standard deviation in pixels of the Gaussian that smooths the weights: the map of a few seeds is
noisy."""


def blend_with_mean(
    rgb: np.ndarray, mean: np.ndarray, l_std_map: np.ndarray, threshold: float
) -> Blended:
    """Blend the result of one seed with the mean of the seeds where their deviation is high.

    Args:
        rgb: Result of one seed, [H,W,3] in [0,1].
        mean: Mean of the results of all seeds, [H,W,3] in [0,1].
        l_std_map: Their standard deviation at each pixel, [H,W] in [0, 0.5].
        threshold: Standard deviation up to which pixels keep the result; 0 gives the mean.

    Raises:
        InputError: If the threshold is below 0.
    """
    if not threshold >= 0:
        raise InputError(f"the agreement threshold must be at least 0, got {threshold}")
    if threshold == 0:
        return Blended(mean.astype(np.float32), 1.0)
    ramp = (l_std_map / threshold - 1) / (BLEND_RAMP - 1)
    weight = gaussian_filter(np.clip(ramp, 0, 1), BLEND_BLUR_PX)[..., None]
    blended = (1 - weight) * rgb + weight * mean
    return Blended(blended.astype(np.float32), float(weight.mean()))


def inner_mean(values: np.ndarray) -> float:
    """Mean of a map [H,W] inside a border of `BORDER` pixels, as in the authors' evaluation."""
    return float(values[BORDER:-BORDER, BORDER:-BORDER].mean())


@dataclass(frozen=True)
class ScoreStatistics:
    """Statistics of one score over the seeds."""

    mean: float
    g_std: float
    """Population standard deviation over the seeds, CCSR Eq. (4) for one picture."""
    per_seed: tuple[float, ...]
    """In the order of the seeds."""


def score_statistics(scores: list[float]) -> ScoreStatistics:
    """Mean and G-STD of the scores of one picture, in the order of the seeds."""
    return ScoreStatistics(float(np.mean(scores)), float(np.std(scores)), tuple(scores))


@dataclass
class StabilityReport:
    """Measurements over the seeds of one picture, updated seed by seed."""

    config: SamplingConfig
    pixels: PixelStatistics = field(default_factory=PixelStatistics)
    seeds: list[int] = field(default_factory=list)
    l_std_by_count: list[float] = field(default_factory=list)
    """L-STD over the first 1, 2, ... seeds."""
    scores: dict[str, list[float]] = field(default_factory=dict)
    """By metric, in the order of the seeds; empty if `add` gets none."""
    alpha: np.ndarray | None = None
    """Of all results, [H,W] in [0,1], for the mean picture and the map; None: they are opaque."""

    def add(
        self,
        seed: int,
        rgb: np.ndarray,
        scores: Mapping[str, float] | None = None,
        alpha: np.ndarray | None = None,
    ) -> None:
        """Add the result of one seed, [H,W,3] in [0,1], its scores, and its alpha [H,W]."""
        self.pixels.add(rgb)
        self.alpha = alpha
        self.seeds.append(seed)
        self.l_std_by_count.append(self.pixels.l_std)
        for name, value in (scores or {}).items():
            self.scores.setdefault(name, []).append(value)

    def score_statistics(self) -> dict[str, ScoreStatistics]:
        """Statistics of every score, by metric."""
        return {name: score_statistics(values) for name, values in self.scores.items()}

    def as_dict(self) -> dict[str, Any]:
        """Content of report.json."""
        report: dict[str, Any] = {
            "l_std": self.pixels.l_std,
            "l_std_by_count": self.l_std_by_count,
            "seeds": self.seeds,
            "config": self.config.model_dump(),
        }
        if self.scores:
            report["metrics"] = {
                n: dataclasses.asdict(s) for n, s in self.score_statistics().items()
            }
        return report
