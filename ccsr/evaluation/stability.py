"""How much results differ between seeds: L-STD per pixel, G-STD per score.

Statistics are streamed, so memory does not grow with the number of seeds.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter

from ccsr.config import SamplingConfig
from ccsr.evaluation.metrics import BORDER
from ccsr.inference.memory import spill_to_disk


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
        """Take in one picture [H,W,3] in [0,1].

        Raises:
            ValueError: If its size differs from the earlier ones.
        """
        if self._mean is None or self._squares is None:
            # Many of these grow together where settings are compared.
            self._mean, self._squares = (spill_to_disk(np.zeros(rgb.shape)) for _ in range(2))
        if rgb.shape != self._mean.shape:
            raise ValueError(f"pictures must be of shape {self._mean.shape}, got {rgb.shape}")
        self.count += 1
        delta = rgb - self._mean
        self._mean += delta / self.count
        self._squares += delta * (rgb - self._mean)

    @property
    def mean(self) -> np.ndarray:
        """Mean picture [H,W,3] in [0,1]."""
        if self._mean is None:
            raise ValueError("no picture has been added yet")
        return self._mean

    @property
    def l_std_map(self) -> np.ndarray:
        """Standard deviation of each pixel [H,W] in [0, 0.5], averaged over R, G and B.

        CCSR Eq. (5) before the averages: population standard deviation (divided by N).
        """
        if self._squares is None:
            raise ValueError("no picture has been added yet")
        return np.sqrt(self._squares / self.count).mean(2)

    @property
    def l_std(self) -> float:
        """L-STD of one picture, CCSR Eq. (5): the mean of the map inside the border."""
        return inner_mean(self.l_std_map)


@dataclass(frozen=True)
class Agreed:
    """A result without what other seeds do not confirm."""

    rgb: np.ndarray
    """[H,W,3] in [0,1]."""
    share: float
    """How much was faded: mean of the weights of the pixels, 1 for the mean of the seeds."""


AGREEMENT_RAMP = 2.0
"""Fading begins at the threshold and is complete at this many times it."""
AGREEMENT_BLUR_PX = 1.0
"""The weights are smoothed by a Gaussian of this width: the deviation over a few seeds is noisy."""


def agreed(rgb: np.ndarray, mean: np.ndarray, l_std_map: np.ndarray, threshold: float) -> Agreed:
    """Fade rgb [H,W,3] towards the mean of the seeds where these disagree.

    Args:
        rgb: Result of one seed.
        mean: Mean of the results of all seeds, [H,W,3].
        l_std_map: Their standard deviation at each pixel, [H,W].
        threshold: Pixels whose deviation is at or below it stay; in the unit of the map.

    Raises:
        ValueError: If the threshold is below 0.
    """
    if not threshold >= 0:
        raise ValueError(f"the agreement threshold must be at least 0, got {threshold}")
    if threshold == 0:
        return Agreed(mean.astype(np.float32), 1.0)
    ramp = (l_std_map / threshold - 1) / (AGREEMENT_RAMP - 1)
    weight = gaussian_filter(np.clip(ramp, 0, 1), AGREEMENT_BLUR_PX)[..., None]
    faded = (1 - weight) * rgb + weight * mean
    return Agreed(faded.astype(np.float32), float(weight.mean()))


def inner_mean(values: np.ndarray) -> float:
    """Mean of a map [H,W] without its border of `BORDER` pixels, as the authors evaluate."""
    return float(values[BORDER:-BORDER, BORDER:-BORDER].mean())


@dataclass(frozen=True)
class ScoreSpread:
    """One score over the seeds."""

    mean: float
    g_std: float
    """Population standard deviation over the seeds, the inner term of CCSR Eq. (4)."""
    per_seed: tuple[float, ...]


def score_spread(scores: list[float]) -> ScoreSpread:
    """Mean and G-STD of the scores of one picture, in the order of the seeds."""
    return ScoreSpread(float(np.mean(scores)), float(np.std(scores)), tuple(scores))


@dataclass
class StabilityReport:
    """Everything measured over the seeds of one picture, growing seed by seed."""

    config: SamplingConfig
    pixels: PixelStatistics = field(default_factory=PixelStatistics)
    seeds: list[int] = field(default_factory=list)
    l_std_by_count: list[float] = field(default_factory=list)
    """L-STD over the first 1, 2, ... seeds."""
    scores: dict[str, list[float]] = field(default_factory=dict)
    """Scores against the reference in the order of the seeds; empty without one."""

    def add(self, seed: int, rgb: np.ndarray, scores: Mapping[str, float] | None = None) -> None:
        """Take in the result of one seed, [H,W,3] in [0,1]."""
        self.pixels.add(rgb)
        self.seeds.append(seed)
        self.l_std_by_count.append(self.pixels.l_std)
        for name, value in (scores or {}).items():
            self.scores.setdefault(name, []).append(value)

    def spreads(self) -> dict[str, ScoreSpread]:
        """Mean, G-STD and single values of every score."""
        return {name: score_spread(values) for name, values in self.scores.items()}

    def as_dict(self) -> dict[str, Any]:
        """What report.json holds."""
        report: dict[str, Any] = {
            "l_std": self.pixels.l_std,
            "l_std_by_count": self.l_std_by_count,
            "seeds": self.seeds,
            "config": dataclasses.asdict(self.config),
        }
        if self.scores:
            report["metrics"] = {n: dataclasses.asdict(s) for n, s in self.spreads().items()}
        return report
