"""Whether disagreement of the seeds predicts error, and how large it is.

The disagreement is the standard deviation of the pixels over the seeds, the error the absolute
difference of their mean to the true picture; both are averaged over R, G and B, and compared over
squares of `SQUARE` pixels, since neighbouring pixels err together.
"""

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import ConstantInputWarning, spearmanr

from ccsr.evaluation.heatmap import GREY_LEVELS

SQUARE = 15
"""Side of the squares in pixels."""
FRACTIONS = tuple(number / 20 for number in range(20))
"""Shares of the squares that are left out of a sparsification curve."""
LEVELS = (2, 5, 10)
"""Grey levels above which disagreement is counted."""


@dataclass(frozen=True)
class Uncertainty:
    """How well the disagreement of the seeds predicts the error of their mean, of one picture."""

    spearman: float | None
    """Rank correlation of disagreement and error, in [-1, 1]; None where one is constant."""
    curve: tuple[float, ...]
    """Mean error of the squares that are left when the share `FRACTIONS` of most disagreement is
    left out, as a multiple of the error of all."""
    oracle: tuple[float, ...]
    """The same when those of the largest errors are left out: no curve lies below."""
    ause: float
    """Area between the two (AUSE); 0 for a disagreement in the order of the errors.

    Ilg et al. 2018, https://arxiv.org/abs/1802.07095.
    """


def uncertainty(l_std_map: np.ndarray, mean: np.ndarray, hr: np.ndarray) -> Uncertainty:
    """Compare disagreement and error.

    Args:
        l_std_map: Standard deviation of each pixel over the seeds, [H,W].
        mean: Their mean, [H,W,3] in [0,1].
        hr: The true picture, [H,W,3] in [0,1].
    """
    disagreement = squares(l_std_map).ravel()
    error = squares(np.abs(mean - hr).mean(2)).ravel()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConstantInputWarning)
        ranks: Any = spearmanr(disagreement, error)
        correlation = float(ranks.statistic)
    curve, oracle = (sparsification(error, order) for order in (disagreement, error))
    area = float(np.trapezoid(np.subtract(curve, oracle), FRACTIONS))
    return Uncertainty(None if np.isnan(correlation) else correlation, curve, oracle, area)


def squares(values: np.ndarray) -> np.ndarray:
    """Means of values [H,W] over whole squares from the top left -> [H/15,W/15].

    A side shorter than a square is one square.
    """
    height, width = (min(side, SQUARE) for side in values.shape)
    rows, columns = values.shape[0] // height, values.shape[1] // width
    whole = values[: rows * height, : columns * width]
    return whole.reshape(rows, height, columns, width).mean((1, 3))


def sparsification(error: np.ndarray, order: np.ndarray) -> tuple[float, ...]:
    """Mean of the errors [N] that are left without the share `FRACTIONS` of the highest `order`.

    Returns:
        Multiples of the mean of all errors; 1 where there is no error at all.
    """
    kept = error[np.argsort(order, kind="stable")]
    total = kept.mean()
    if total == 0:
        return (1.0,) * len(FRACTIONS)
    counts = [max(round(len(kept) * (1 - fraction)), 1) for fraction in FRACTIONS]
    return tuple(float(kept[:count].mean() / total) for count in counts)


def shares_above(l_std_map: np.ndarray) -> dict[str, float]:
    """The shares of pixels whose standard deviation is above each of LEVELS, in [0,1]."""
    return {str(level): float((GREY_LEVELS * l_std_map > level).mean()) for level in LEVELS}
