"""How large an error to expect where seeds disagree, from pictures whose true picture is known.

Disagreement and error are those of `ccsr.evaluation.comparison.uncertainty`, in grey levels and
over squares of `SQUARE` pixels. Disagreement of few seeds is too low on average: it is multiplied
by sqrt(N / (N - 1)), so that runs of any number of seeds compare.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict
from scipy.ndimage import uniform_filter
from scipy.optimize import isotonic_regression

from ccsr.config import COMPACT, SamplingConfig
from ccsr.errors import InputError
from ccsr.evaluation.comparison.uncertainty import SQUARE, squares
from ccsr.evaluation.heatmap import GREY_LEVELS
from ccsr.inference.hub import COMPACT_FOLDER
from ccsr.whole_file import write_whole

BINS = 16
"""Each has as many squares as the others."""
CALIBRATION = "calibration.json"
"""Name of the file in the folder of a model."""


class Calibration(BaseModel):
    """Errors that squares of some disagreement had, in grey levels."""

    model_config = ConfigDict(frozen=True)

    weights: str
    """Of `weights_hash`."""
    config: dict[str, Any]
    """The settings of the runs."""
    rests_on: str
    """The pictures in words."""
    num_pictures: int
    num_squares: int
    spearman: float
    """Rank correlation of disagreement and error over all squares, in [-1, 1]."""
    disagreement: tuple[float, ...]
    """Mean of each bin, rising."""
    error: tuple[float, ...]
    """Mean of each bin, not falling."""
    low: tuple[float, ...]
    """The error that a tenth of the squares of each bin stay below."""
    high: tuple[float, ...]
    """The error that a tenth of the squares of each bin exceed."""

    def holds_for(self, config: SamplingConfig) -> bool:
        """Whether the runs were of these settings."""
        return self.config == config.model_dump()

    def expected_error(self, l_std_map: np.ndarray, num_seeds: int) -> np.ndarray:
        """The error to expect at each pixel of the mean of the seeds.

        Args:
            l_std_map: Standard deviation over the seeds, [H,W] in [0, 0.5].
            num_seeds: At least 2.

        Returns:
            [H,W] in [0,1], by the disagreement of the square around each pixel.
        """
        around = uniform_filter(unbiased_levels(l_std_map, num_seeds), SQUARE, mode="nearest")
        return np.interp(around, self.disagreement, self.error) / GREY_LEVELS


def unbiased_levels(l_std_map: np.ndarray, num_seeds: int) -> np.ndarray:
    """Disagreement [H,W] in grey levels, comparable over numbers of seeds.

    Raises:
        InputError: For fewer than two seeds.
    """
    if num_seeds < 2:
        raise InputError(f"disagreement needs at least 2 seeds, got {num_seeds}")
    return GREY_LEVELS * math.sqrt(num_seeds / (num_seeds - 1)) * np.asarray(l_std_map, np.float64)


def observed(
    l_std_map: np.ndarray, mean: np.ndarray, hr: np.ndarray, num_seeds: int
) -> tuple[np.ndarray, np.ndarray]:
    """Disagreement and error of the squares of one picture, in grey levels, [n] each.

    Args:
        l_std_map: Standard deviation over the seeds, [H,W] in [0, 0.5].
        mean: Their mean, [H,W,3] in [0,1].
        hr: The true picture, [H,W,3] in [0,1].
        num_seeds: At least 2.
    """
    error = GREY_LEVELS * np.abs(mean - hr).mean(2)
    return squares(unbiased_levels(l_std_map, num_seeds)).ravel(), squares(error).ravel()


def binned(disagreement: np.ndarray, error: np.ndarray) -> dict[str, tuple[float, ...]]:
    """Mean disagreement, mean error and its tenths in bins of equally many squares.

    Args:
        disagreement: Of all squares, [n].
        error: The same.

    Raises:
        InputError: For fewer squares than bins.
    """
    if len(error) < BINS:
        raise InputError(f"a calibration needs at least {BINS} squares, got {len(error)}")
    parts = np.array_split(np.argsort(disagreement, kind="stable"), BINS)
    rows = {
        "disagreement": [disagreement[part].mean() for part in parts],
        "error": [error[part].mean() for part in parts],
        "low": [np.quantile(error[part], 0.1) for part in parts],
        "high": [np.quantile(error[part], 0.9) for part in parts],
    }
    sizes = [len(part) for part in parts]
    # More disagreement never means less error: what looks like it is chance.
    rows["error"] = list(isotonic_regression(rows["error"], weights=sizes).x)
    return {name: tuple(round(float(value), 4) for value in row) for name, row in rows.items()}


def write_calibration(folder: Path, calibration: Calibration) -> Path:
    """Write the file of a model, in the place of an earlier one; its path."""
    path = folder / CALIBRATION
    write_whole(path, calibration.model_dump_json(indent=2) + "\n", overwrite=True)
    return path


def read_calibration(model: str) -> Calibration | None:
    """The calibration of a model by its name or folder; None without one.

    Raises:
        InputError: If its file is damaged.
    """
    path = (COMPACT_FOLDER if model == COMPACT else Path(model)) / CALIBRATION
    if not path.is_file():
        return None
    try:
        return Calibration.model_validate_json(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path} is damaged; get it again, or delete it") from error


def pooled(
    observations: Sequence[tuple[np.ndarray, np.ndarray]],
) -> tuple[np.ndarray, np.ndarray]:
    """Disagreement and error of the squares of all pictures, [n] each."""
    disagreements, errors = zip(*observations, strict=True)
    return np.concatenate(disagreements), np.concatenate(errors)
