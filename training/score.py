"""Scores of a model on HR pictures: python -m training.score FOLDER...

Each picture is cropped to its centre, degraded and upscaled, once a seed. Tables:

- bicubic: all variants after bicubic reduction.
- real-esrgan: the full method and its preset Fast after the Real-ESRGAN chain.
- settings: the full method at the settings of the paper's Table 5, and the presets.
- speed: seconds a picture.

Rows are averages over all pictures; G-STD is CCSR Eq. (4), L-STD Eq. (5). Baselines are included if
they are installed (`training/baselines.py`), DISTS if its weights are (`training/perceptual.py`).
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from ccsr.config import COMPACT, PRESETS, TABLE_5, SamplingConfig, parse_seeds
from ccsr.evaluation.metrics import BORDER, METRICS, measure, sharpness
from ccsr.evaluation.stability import StabilityReport
from ccsr.images.picture import Picture, Size, picture_from_array
from ccsr.images.reading import load_picture
from ccsr.images.tensors import resize, to_array, to_tensor, to_uint8
from ccsr.inference.engine import load_engine
from ccsr.inference.events import Engine, Restored
from ccsr.inference.memory import keep_freed
from training.baselines import Baseline, installed_baselines
from training.config import Chain
from training.data import MAX_TRAINING_PIXELS, SUFFIXES
from training.degradation.chains import draw
from training.draws import generator_for
from training.perceptual import DISTS

Row = dict[str, float]
Restore = Callable[[Picture], Iterable[tuple[int, np.ndarray]]]
"""A picture -> pairs of seed and result [H,W,3] in [0,1]; methods without seeds give one."""

DIGITS = {"psnr": 2, "sharpness": 2}
"""Decimals of a column; the others have 4."""
TABLES = ("bicubic", "real-esrgan", "settings", "speed")
SCALE = int(SamplingConfig().scale)


@dataclass(frozen=True)
class Sample:
    """An HR picture [H,W,3] in [0,1] and its degraded LR."""

    lr: Picture
    hr: np.ndarray


class Scorer:
    """Scores of a result: the metrics of `ccsr.evaluation`, DISTS if installed, and sharpness."""

    def __init__(self) -> None:
        try:
            self.dists: DISTS | None = DISTS.load()
        except FileNotFoundError as error:
            print(f"without DISTS: {error}", file=sys.stderr)
            self.dists = None

    def __call__(self, sr: np.ndarray, hr: np.ndarray) -> Row:
        """Scores of sr against hr, both [H,W,3] in [0,1]."""
        row = measure(sr, hr)
        if self.dists is not None:
            inner = (slice(BORDER, -BORDER), slice(BORDER, -BORDER))
            with torch.no_grad():
                row["dists"] = float(self.dists(*(to_tensor(x[inner]) for x in (sr, hr))))
        row["sharpness"] = sharpness(sr)
        return row


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the tables; exit code 0, or 2 after bad input."""
    parser = argparse.ArgumentParser(prog="python -m training.score", description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER", help="HR pictures")
    parser.add_argument("--model", default=COMPACT, help="default: %(default)s")
    parser.add_argument("--seeds", default="0-4", help="default: %(default)s")
    parser.add_argument(
        "--crop", type=int, default=384, help="side in pixels; default: %(default)s"
    )
    parser.add_argument("--limit", type=int, help="number of pictures of each folder; default: all")
    parser.add_argument("--tables", nargs="+", choices=TABLES, default=TABLES, metavar="TABLE",
                        help=f"some of: {', '.join(TABLES)}; default: all")  # fmt: skip
    options = parser.parse_args(arguments)
    keep_freed()
    try:
        engine = load_engine(options.model)
        hrs = [
            hr
            for folder in options.folders
            for hr in hr_pictures(folder, options.crop, options.limit)
        ]
        seeds = parse_seeds(options.seeds)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    scorer = Scorer()
    for name in options.tables:
        if name == "speed":
            print(f"\n{speed(engine)}")
            continue
        rows = dict(scored(restorers(name, engine, seeds), samples(name, hrs), scorer))
        print(f"\n{name}, {len(hrs)} pictures, seeds {options.seeds}\n\n{markdown(rows)}")
    return 0


def hr_pictures(folder: Path, crop: int, limit: int | None = None) -> list[np.ndarray]:
    """Centre crops [H,W,3] in [0,1] of the pictures of a folder, sides a multiple of the scale.

    Raises:
        ValueError: If the folder holds no picture.
    """
    paths = sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES)[:limit]
    if not paths:
        raise ValueError(f"no pictures in {folder}")
    return [_centre(load_picture(p, max_pixels=MAX_TRAINING_PIXELS), crop) for p in paths]


def _centre(picture: Picture, crop: int) -> np.ndarray:
    height, width = (min(side, crop) // SCALE * SCALE for side in picture.size)
    top, left = (picture.size.height - height) // 2, (picture.size.width - width) // 2
    # A copy; a view would keep the whole picture in memory.
    return picture.rgb[top : top + height, left : left + width].copy()


def samples(table: str, hrs: Sequence[np.ndarray]) -> list[Sample]:
    """HR pictures with their LR; the degradation of picture i depends on i alone."""
    chain: Chain = "real-esrgan" if table == "real-esrgan" else "bicubic"
    degradations = [draw(chain, SCALE, generator_for(i)) for i in range(len(hrs))]
    reduced = [d.apply(to_tensor(hr)) for d, hr in zip(degradations, hrs, strict=True)]
    return [
        Sample(picture_from_array(to_uint8(to_array(lr))), hr)
        for lr, hr in zip(reduced, hrs, strict=True)
    ]


def restorers(table: str, engine: Engine, seeds: Sequence[int]) -> dict[str, Restore]:
    """The methods of a table's rows, by name."""
    if table == "settings":
        return _presets(engine, ("extraction", "fast", *TABLE_5), seeds)
    if table == "real-esrgan":
        ours = _presets(engine, ("fast", "ccsr"), seeds)
    else:
        variants = reversed(engine.info.variants)
        ours = {v: _ours(engine, SamplingConfig(variant=v), seeds) for v in variants}
    return {
        "bicubic": lambda picture: [(0, enlarged(picture))],
        **_baselines(),
        **ours,
    }


def _presets(engine: Engine, names: Sequence[str], seeds: Sequence[int]) -> dict[str, Restore]:
    presets = [PRESETS[name] for name in names]
    return {p.label: _ours(engine, p.apply(SamplingConfig()), seeds) for p in presets}


def enlarged(picture: Picture) -> np.ndarray:
    """The bicubic enlargement [H,W,3] in [0,1]."""
    size = Size(SCALE * picture.size.height, SCALE * picture.size.width)
    return to_array(resize(to_tensor(picture.rgb), size))


def _baselines() -> dict[str, Restore]:
    """The installed baselines, by name."""
    return {name: _baseline(network) for name, network in installed_baselines().items()}


def _baseline(network: Baseline) -> Restore:
    return lambda picture: [(0, network(picture.rgb))]


def _ours(engine: Engine, config: SamplingConfig, seeds: Sequence[int]) -> Restore:
    def restore(picture: Picture) -> Iterator[tuple[int, np.ndarray]]:
        for event in engine.run(picture, config, seeds):
            if isinstance(event, Restored):
                yield event.seed, event.picture.rgb

    return restore


def scored(
    methods: dict[str, Restore], pairs: Sequence[Sample], scorer: Scorer
) -> Iterator[tuple[str, Row]]:
    """Name and average scores of every method."""
    for name, restore in methods.items():
        bar = tqdm(pairs, desc=name, leave=False)
        yield name, _average([_row(restore, sample, scorer) for sample in bar])


def _row(restore: Restore, sample: Sample, scorer: Scorer) -> Row:
    report = StabilityReport(SamplingConfig())
    for seed, rgb in restore(sample.lr):
        report.add(seed, rgb, scorer(rgb, sample.hr))
    statistics = report.score_statistics()
    row = {name: score.mean for name, score in statistics.items()}
    if len(report.seeds) > 1:
        row["l_std"] = report.pixels.l_std
        row |= {f"g_std_{name}": statistics[name].g_std for name in METRICS}
    return row


def speed(engine: Engine, side: int = 128, repeats: int = 5) -> str:
    """Median seconds a picture of `side` px, of the baselines and of ours, as a Markdown table."""
    rng = np.random.default_rng(0)
    picture = picture_from_array(rng.integers(0, 256, (side, side, 3), np.uint8))
    ours = {
        f"ccsr, {count} seed{'s' if count > 1 else ''}": _ours(
            engine, SamplingConfig(), range(count)
        )
        for count in (1, 10)
    }
    methods = _baselines() | ours
    seconds: dict[str, list[float]] = {name: [] for name in methods}
    for _ in range(repeats + 1):
        for name, restore in methods.items():
            started = time.perf_counter()
            list(restore(picture))
            seconds[name].append(time.perf_counter() - started)
    # The first round includes one-time set-up and is left out.
    lines = [
        f"{side} -> {SCALE * side} pixels, median of {repeats}",
        "",
        "| | seconds |",
        "|---|---|",
    ]
    lines += [f"| {name} | {statistics.median(s[1:]):.2f} |" for name, s in seconds.items()]
    return "\n".join(lines)


def _average(rows: Sequence[Row]) -> Row:
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


def markdown(rows: dict[str, Row]) -> str:
    """The rows as a Markdown table."""
    columns = list(dict.fromkeys(column for row in rows.values() for column in row))
    lines = ["| | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for name, row in rows.items():
        cells = [f"{row[c]:.{DIGITS.get(c, 4)}f}" if c in row else "-" for c in columns]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
