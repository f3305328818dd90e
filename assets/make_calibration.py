"""Write compact/calibration.json anew: which error to expect where the seeds disagree.

    python assets/make_calibration.py --hr PICTURES --source "50 photographs of BSD100"

The pictures must not have been trained on; only numbers of them are written. Each is reduced
bicubically and as Real-ESRGAN does, and restored with several seeds. Pictures of a folder
given as --check do not count, and say how well the table holds for others.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import spearmanr

# Run as a script, Python finds only what lies beside this file.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ccsr.config import DegradationModel
from ccsr.evaluation.calibration import (
    Calibration,
    binned,
    observed,
    pooled,
    write_calibration,
)
from ccsr.evaluation.comparison.test_set import Dataset, Pair
from ccsr.evaluation.stability import StabilityReport
from ccsr.inference.engine import ModelEngine, load_engine
from ccsr.inference.events import Restored
from ccsr.inference.weights import weights_hash

FOLDER = Path(__file__).resolve().parent / "compact"
MODELS: tuple[DegradationModel, ...] = ("bicubic", "real-esrgan")


def main() -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hr", nargs="+", type=Path, required=True, metavar="DIR",
                        help="folders of HR pictures")  # fmt: skip
    parser.add_argument("--source", required=True, help="what the pictures are, in words")
    parser.add_argument("--check", type=Path, help="other HR pictures")
    parser.add_argument("--limit", type=int, help="only so many of each folder")
    parser.add_argument("--seeds", type=int, default=5, help="default: %(default)s")
    options = parser.parse_args()
    engine = load_engine()
    found = [
        observed(report.pixels.l_std_map, report.pixels.mean, pair.hr, options.seeds)
        for folder in options.hr
        for pair, report in runs(engine, folder, options.limit, options.seeds)
    ]
    disagreement, error = pooled(found)
    calibration = Calibration(
        weights=weights_hash(FOLDER),
        config=engine.info.defaults.model_dump(),
        rests_on=f"{options.source}, each reduced bicubically and by the degradations of "
        f"Real-ESRGAN, with {options.seeds} seeds",
        num_pictures=len(found),
        num_squares=len(error),
        spearman=round(rank_correlation(disagreement, error), 4),
        **binned(disagreement, error),
    )
    print(write_calibration(FOLDER, calibration))
    if options.check:
        check(engine, calibration, options)


def runs(
    engine: ModelEngine, folder: Path, limit: int | None, seeds: int
) -> Iterator[tuple[Pair, StabilityReport]]:
    """Every picture with every degradation, and its results over the seeds."""
    config = engine.info.defaults
    for model in MODELS:
        for sample in Dataset(folder.name, folder, model, round(config.scale), limit).samples():
            pair, report = sample.load(), StabilityReport(config)
            for event in engine.run(pair.lr, config, range(seeds)):
                if isinstance(event, Restored):
                    report.add(event.seed, event.picture.rgb)
            print(f"{folder.name} {sample.name}, {model}: L-STD {report.pixels.l_std:.4f}")
            yield pair, report


def rank_correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Spearman's, in [-1, 1]."""
    found: Any = spearmanr(first, second)
    return float(found.statistic)


def check(engine: ModelEngine, calibration: Calibration, options: argparse.Namespace) -> None:
    """Print the error that the table predicts for other pictures, and the true one."""
    for pair, report in runs(engine, options.check, options.limit, options.seeds):
        pixels = report.pixels
        found, error = observed(pixels.l_std_map, pixels.mean, pair.hr, options.seeds)
        expected = np.interp(found, calibration.disagreement, calibration.error)
        rank = rank_correlation(expected, error)
        print(f"expected {expected.mean():.2f}, true {error.mean():.2f}, Spearman {rank:.2f}")


if __name__ == "__main__":
    main()
