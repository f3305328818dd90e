"""Scores of a model on true pictures: python -m training.score FOLDER...

Every picture is cropped to its centre, reduced bicubically and upscaled again, once a seed. Rows
are averages over all pictures; L-STD and G-STD as the paper has them, Eq. (4)-(5).
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ccsr.config import SamplingConfig, parse_seeds
from ccsr.events import Engine, Restored
from ccsr.images import (
    Picture,
    Size,
    load_picture,
    picture_from_array,
    resize,
    to_array,
    to_tensor,
    to_uint8,
)
from ccsr.metrics import METRICS, measure
from ccsr.stability import StabilityReport
from ccsr.weights import COMPACT, load_engine
from training.data import MAX_TRAINING_PIXELS, SUFFIXES

Row = dict[str, float]


def main(arguments: Sequence[str] | None = None) -> int:
    """Print one table; the exit code is 0, or 2 after a bad input."""
    parser = argparse.ArgumentParser(prog="python -m training.score", description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER", help="true pictures")
    parser.add_argument("--model", default=COMPACT, help="default: %(default)s")
    parser.add_argument("--seeds", default="0-4", help="default: %(default)s")
    parser.add_argument(
        "--crop", type=int, default=384, help="side in pixels; default: %(default)s"
    )
    parser.add_argument("--limit", type=int, help="only the first pictures of each folder")
    options = parser.parse_args(arguments)
    try:
        engine = load_engine(options.model)
        truths = [
            truth
            for folder in options.folders
            for truth in true_pictures(folder, options.crop)[: options.limit]
        ]
        seeds = parse_seeds(options.seeds)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(table(dict(score(engine, truths, seeds))))
    return 0


def true_pictures(folder: Path, crop: int) -> list[np.ndarray]:
    """Centre crops [H,W,3] of all pictures of a folder, sides a multiple of the scale.

    Raises:
        ValueError: If there are none.
    """
    paths = sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES)
    if not paths:
        raise ValueError(f"no pictures in {folder}")
    scale = int(SamplingConfig().scale)
    return [_centre(load_picture(p, max_pixels=MAX_TRAINING_PIXELS), crop, scale) for p in paths]


def _centre(picture: Picture, crop: int, multiple: int) -> np.ndarray:
    height, width = (min(side, crop) // multiple * multiple for side in picture.size)
    top, left = (picture.size.height - height) // 2, (picture.size.width - width) // 2
    return picture.rgb[top : top + height, left : left + width]


def score(
    engine: Engine, truths: Sequence[np.ndarray], seeds: Sequence[int]
) -> Iterator[tuple[str, Row]]:
    """Average scores of bicubic enlargement and of every variant, the weakest first."""
    inputs = [_reduced(truth) for truth in truths]
    rows = [measure(_enlarged(lr, truth), truth) for lr, truth in zip(inputs, truths, strict=True)]
    yield "bicubic", _average(rows)
    for variant in reversed(engine.info.variants):
        config = SamplingConfig(variant=variant)
        pairs = tqdm(list(zip(inputs, truths, strict=True)), desc=variant, leave=False)
        yield variant, _average([_row(engine, config, lr, hr, seeds) for lr, hr in pairs])


def _row(
    engine: Engine, config: SamplingConfig, lr: Picture, hr: np.ndarray, seeds: Sequence[int]
) -> Row:
    report = StabilityReport(config)
    for event in engine.run(lr, config, seeds):
        if isinstance(event, Restored):
            report.add(event.seed, event.picture.rgb, measure(event.picture.rgb, hr))
    spreads = report.spreads()
    return {
        **{name: spread.mean for name, spread in spreads.items()},
        "l_std": report.pixels.l_std,
        **{f"g_std_{name}": spread.g_std for name, spread in spreads.items()},
    }


def _reduced(hr: np.ndarray) -> Picture:
    scale = int(SamplingConfig().scale)
    size = Size(hr.shape[0] // scale, hr.shape[1] // scale)
    return picture_from_array(to_uint8(to_array(resize(to_tensor(hr), size))))


def _enlarged(lr: Picture, like: np.ndarray) -> np.ndarray:
    return to_array(resize(to_tensor(lr.rgb), Size(*like.shape[:2])))


def _average(rows: Sequence[Row]) -> Row:
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


def table(rows: dict[str, Row]) -> str:
    """The rows as a Markdown table."""
    columns = [*METRICS, "l_std", *(f"g_std_{name}" for name in METRICS)]
    lines = ["| | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for name, row in rows.items():
        cells = [f"{row[c]:.2f}" if c == "psnr" else f"{row[c]:.4f}" if c in row else "-"
                 for c in columns]  # fmt: skip
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
