"""The trade-off between fidelity and detail: one picture over a grid of (t_max, t_min).

All settings of one t_max are cuts of the same chains, so a sweep costs its longest chains and one
decode a setting and seed.
"""

import csv
import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ccsr.config import SamplingConfig, option
from ccsr.diffusion.timesteps import timestep_plan
from ccsr.evaluation.stability import StabilityReport
from ccsr.images.picture import Picture
from ccsr.inference.events import Decoded, Progress, Session
from ccsr.inference.memory import spill_to_disk

TRADEOFF_FILES = ("tradeoff.csv", "tradeoff.json")

Scorer = Callable[[np.ndarray], Mapping[str, float]]
"""Scores of a result [H,W,3] in [0,1], by name."""


@dataclass(frozen=True)
class Point:
    """What one setting gives, in numbers."""

    config: SamplingConfig
    seeds: tuple[int, ...]
    scores: dict[str, float]
    """Means over the seeds."""
    l_std: float | None
    """None for a single seed."""

    def row(self) -> dict[str, float | None]:
        """The numbers of the point, for tables and files; None where there is none."""
        return {
            "t_max": self.config.t_max,
            "t_min": self.config.t_min,
            "num_steps": self.config.num_steps,
            "evaluations": timestep_plan(self.config).num_evaluations,
            **self.scores,
            "l_std": self.l_std,
        }


MAX_SETTINGS = 36
"""Of one sweep. All of one t_max take memory, or room for temporary files, at the same time: 62 MB
each at 1024x1024 pixels."""


@dataclass(frozen=True)
class PointResult:
    """A setting that is done."""

    point: Point
    picture: Picture
    """The result of the first seed."""


def grid(
    config: SamplingConfig, t_maxs: Sequence[float], t_mins: Sequence[float]
) -> list[SamplingConfig]:
    """All settings of these fractions with t_min <= t_max, in the order of the fractions.

    Raises:
        ValueError: If no pair is in that order, there are more than MAX_SETTINGS, a fraction is out
            of its range, or the variant has no such fractions.
    """
    if config.variant == "v1":
        raise ValueError("v1 is uniform diffusion, which has no t_max and t_min; take ccsr or v2")
    for name, fractions in (("t_max", t_maxs), ("t_min", t_mins)):
        for fraction in fractions:
            option(SamplingConfig, name).check(name, fraction)
    pairs = [(high, low) for high in dict.fromkeys(t_maxs) for low in dict.fromkeys(t_mins)]
    configs = [
        dataclasses.replace(config, t_max=high, t_min=low) for high, low in pairs if low <= high
    ]
    if not configs:
        raise ValueError(
            f"no t_min of {list(t_mins)} is at or below a t_max of {list(t_maxs)}; "
            "lower t_min or raise t_max"
        )
    if len(configs) > MAX_SETTINGS:
        raise ValueError(
            f"at most {MAX_SETTINGS} settings are compared at once, got {len(configs)}; "
            "give fewer values of t_max or t_min"
        )
    return configs


def num_evaluations(configs: Sequence[SamplingConfig], num_seeds: int) -> int:
    """Network evaluations that a sweep over these settings takes, if nothing is there yet."""
    longest = [max(timestep_plan(c).num_evaluations for c in group) for group in _groups(configs)]
    # The estimate at T is made once a seed, for all groups.
    return num_seeds * (sum(longest) - (len(longest) - 1))


def sweep(
    explorer: Session, configs: Sequence[SamplingConfig], seeds: Sequence[int], scorer: Scorer
) -> Iterator[Progress | Decoded | PointResult]:
    """Walk through all settings, those of one t_max together; a point each, in that order.

    Args:
        explorer: The picture, with what is known of it.
        configs: Settings of one variant, scale and number of steps.
        seeds: At least one.
        scorer: Scores every result.
    """
    groups = _groups(configs)
    total = sum(_missing(explorer, groups, seed) for seed in seeds)
    done = decoded = 0
    for group in groups:
        reports = [StabilityReport(config) for config in group]
        firsts: list[Picture] = []
        for seed in seeds:
            for event in explorer.refine(longest_of(group), seed):
                done += 1
                yield dataclasses.replace(event, evaluation=done, total=max(total, done))
            for config, report in zip(group, reports, strict=True):
                step = explorer.steps(config, seed)[-1]
                picture = explorer.restore(config, seed, step).picture
                report.add(seed, picture.rgb, scorer(picture.rgb))
                if seed == seeds[0]:
                    firsts.append(dataclasses.replace(picture, rgb=spill_to_disk(picture.rgb)))
                decoded += 1
                yield Decoded(decoded, len(configs) * len(seeds))
        for report, picture in zip(reports, firsts, strict=True):
            yield PointResult(_point(report), picture)


def longest_of(group: Sequence[SamplingConfig]) -> SamplingConfig:
    """The setting whose chain holds those of the others, which have the same t_max."""
    return max(group, key=lambda config: timestep_plan(config).num_evaluations)


def write_points(folder: Path, points: Sequence[Point]) -> list[Path]:
    """Write the numbers as TRADEOFF_FILES; the files written."""
    table, tree = (folder / name for name in TRADEOFF_FILES)
    rows = [point.row() for point in points]
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    record = {
        "seeds": points[0].seeds,
        "config": dataclasses.asdict(points[0].config),
        "points": rows,
    }
    tree.write_text(json.dumps(record, indent=2) + "\n")
    return [table, tree]


def _groups(configs: Sequence[SamplingConfig]) -> list[list[SamplingConfig]]:
    """The settings by their t_max."""
    groups: dict[float, list[SamplingConfig]] = {}
    for config in configs:
        groups.setdefault(config.t_max, []).append(config)
    return list(groups.values())


def _missing(explorer: Session, groups: Sequence[Sequence[SamplingConfig]], seed: int) -> int:
    """Network evaluations that one seed still needs."""
    longest = [longest_of(group) for group in groups]
    counts = [explorer.num_evaluations(config, seed) for config in longest]
    whole = [timestep_plan(config).num_evaluations for config in longest]
    # Chains that do not begin yet all count the estimate at T, which the first makes for all.
    unbegun = sum(count == full for count, full in zip(counts, whole, strict=True))
    return sum(counts) - max(unbegun - 1, 0)


def _point(report: StabilityReport) -> Point:
    return Point(
        report.config,
        tuple(report.seeds),
        {name: spread.mean for name, spread in report.spreads().items()},
        report.pixels.l_std if len(report.seeds) > 1 else None,
    )
