"""The trade-off between fidelity and perception: one picture over a grid of (t_max, t_min).

All settings of one t_max are prefixes of the same chain of estimates, so a sweep costs the longest
chain of each t_max and seed, and one decoding for each setting and seed.
"""

import csv
import dataclasses
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ccsr.config import SamplingConfig
from ccsr.diffusion.timesteps import LoopStart, timestep_plan
from ccsr.errors import InputError
from ccsr.evaluation.metrics import Scorer
from ccsr.evaluation.stability import StabilityReport
from ccsr.images.picture import Picture, Size
from ccsr.inference.cost import Cost, passes
from ccsr.inference.events import Decoded, Progress, Session
from ccsr.inference.memory import spill_to_disk
from ccsr.option import option
from ccsr.whole_file import write_whole

TRADEOFF_FILES = ("tradeoff.csv", "tradeoff.json")

MAX_SETTINGS = 36
"""Of one sweep. The statistics of all settings of one t_max are in memory, or in temporary files,
at the same time: 62 MB each at 1024x1024 pixels."""


@dataclass(frozen=True)
class Point:
    """The scores of one setting."""

    config: SamplingConfig
    network_evaluations: int
    """Of one run alone (NFE): nothing is reused from other settings."""
    seeds: tuple[int, ...]
    scores: dict[str, float]
    """Means over the seeds."""
    l_std: float | None
    """L-STD, CCSR Eq. (5); None for a single seed."""
    g_std: dict[str, float] = field(default_factory=dict[str, float])
    """G-STD of each score, CCSR Eq. (4); empty for a single seed."""

    def row(self) -> dict[str, float | None]:
        """The numbers of the point by column, for tables and files; None where there is none."""
        return {
            "t_max": self.config.t_max,
            "t_min": self.config.t_min,
            "num_steps": self.config.num_steps,
            "network_evaluations": self.network_evaluations,
            **self.scores,
            **{f"{name}_g_std": value for name, value in self.g_std.items()},
            "l_std": self.l_std,
        }


@dataclass(frozen=True)
class PointResult:
    """A finished setting."""

    point: Point
    picture: Picture
    """The result of the first seed."""


def grid(
    config: SamplingConfig, t_maxs: Sequence[float], t_mins: Sequence[float]
) -> list[SamplingConfig]:
    """All settings of these fractions with t_min <= t_max, in the order of the fractions.

    Raises:
        InputError: If no pair is in that order, there are more than MAX_SETTINGS or so many
            fractions, a fraction is out of its range, or the variant has no such fractions.
    """
    if config.variant == "v1":
        raise InputError("v1 is uniform diffusion, which has no t_max and t_min; take ccsr or v2")
    for name, fractions in (("t_max", t_maxs), ("t_min", t_mins)):
        # Before anything is built: there may be thousands.
        if len(fractions) > MAX_SETTINGS:
            raise InputError(
                f"at most {MAX_SETTINGS} values of {name} are compared, got {len(fractions):,}; "
                "give fewer"
            )
        for fraction in fractions:
            option(SamplingConfig, name).validate(fraction)
    pairs = [(high, low) for high in dict.fromkeys(t_maxs) for low in dict.fromkeys(t_mins)]
    configs = [config.replace(t_max=high, t_min=low) for high, low in pairs if low <= high]
    if not configs:
        raise InputError(
            f"no t_min of {list(t_mins)} is at or below a t_max of {list(t_maxs)}; "
            "lower t_min or raise t_max"
        )
    if len(configs) > MAX_SETTINGS:
        raise InputError(
            f"at most {MAX_SETTINGS} settings are compared at once, got {len(configs)}; "
            "give fewer values of t_max or t_min"
        )
    return configs


def num_evaluations(
    configs: Sequence[SamplingConfig], num_seeds: int, loop_start: LoopStart
) -> int:
    """Network evaluations (NFE) of a sweep over these settings, if no estimate exists yet.

    Args:
        configs: Settings of the sweep.
        num_seeds: Number of seeds.
        loop_start: Where refinement starts, `ModelInfo.loop_start` of the model.
    """
    longest = [longest_of(group) for group in _groups(configs)]
    counts = [timestep_plan(config, loop_start).num_evaluations for config in longest]
    # The estimate at T is made once per seed, for all groups.
    return num_seeds * (sum(counts) - (len(counts) - 1))


def cost_of_sweep(
    configs: Sequence[SamplingConfig], num_seeds: int, size: Size, loop_start: LoopStart
) -> Cost:
    """What a sweep over these settings costs if no estimate exists yet; see `num_evaluations`."""
    evaluations = num_evaluations(configs, num_seeds, loop_start) * passes(configs[0])
    return Cost(evaluations, len(configs) * num_seeds, size)


def sweep(
    session: Session,
    configs: Sequence[SamplingConfig],
    seeds: Sequence[int],
    scorer: Scorer,
    loop_start: LoopStart,
) -> Iterator[Progress | Decoded | PointResult]:
    """Run all settings, those of one t_max together, and yield a point for each, in that order.

    Args:
        session: The picture and its estimates so far.
        configs: Settings of one variant, scale and number of steps.
        seeds: At least one.
        scorer: Scores every result.
        loop_start: Where refinement starts, `ModelInfo.loop_start` of the model.
    """
    groups = _groups(configs)
    total = sum(_missing(session, groups, seed, loop_start) for seed in seeds)
    done = decoded = 0
    for group in groups:
        reports = [StabilityReport(config) for config in group]
        firsts: list[Picture] = []
        for seed in seeds:
            for event in session.refine(longest_of(group), seed):
                done += 1
                yield dataclasses.replace(event, evaluation=done, total=max(total, done))
            for config, report in zip(group, reports, strict=True):
                step = session.steps(config, seed)[-1]
                picture = session.restore(config, seed, step).picture
                report.add(seed, picture.rgb, scorer(picture.rgb))
                if seed == seeds[0]:
                    firsts.append(dataclasses.replace(picture, rgb=spill_to_disk(picture.rgb)))
                decoded += 1
                yield Decoded(decoded, len(configs) * len(seeds))
                if seed == seeds[-1]:
                    first = firsts[group.index(config)]
                    yield PointResult(_point(report, loop_start), first)


def longest_of(group: Sequence[SamplingConfig]) -> SamplingConfig:
    """The setting with the longest chain; it contains those of all others of its t_max."""
    return max(group, key=lambda config: config.t_max - config.t_min)


def write_points(folder: Path, points: Sequence[Point], *, overwrite: bool = False) -> list[Path]:
    """Write the numbers of the points as TRADEOFF_FILES.

    Returns:
        The files written.
    """
    table, tree = (folder / name for name in TRADEOFF_FILES)
    rows = [point.row() for point in points]
    lines = io.StringIO()
    writer = csv.DictWriter(lines, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    record = {
        "seeds": points[0].seeds,
        "config": points[0].config.model_dump(),
        "points": rows,
    }
    write_whole(table, lines.getvalue(), overwrite=overwrite)
    write_whole(tree, json.dumps(record, indent=2) + "\n", overwrite=overwrite)
    return [table, tree]


def _groups(configs: Sequence[SamplingConfig]) -> list[list[SamplingConfig]]:
    """The settings by their t_max."""
    groups: dict[float, list[SamplingConfig]] = {}
    for config in configs:
        groups.setdefault(config.t_max, []).append(config)
    return list(groups.values())


def _missing(
    session: Session,
    groups: Sequence[Sequence[SamplingConfig]],
    seed: int,
    loop_start: LoopStart,
) -> int:
    """Network evaluations that one seed still needs."""
    longest = [longest_of(group) for group in groups]
    counts = [session.num_evaluations(config, seed) for config in longest]
    whole = [timestep_plan(config, loop_start).num_evaluations for config in longest]
    # Chains without any estimate all count the one at T, which is made once for all of them.
    unbegun = sum(count == full for count, full in zip(counts, whole, strict=True))
    return sum(counts) - max(unbegun - 1, 0)


def _point(report: StabilityReport, loop_start: LoopStart) -> Point:
    statistics, several = report.score_statistics(), len(report.seeds) > 1
    return Point(
        report.config,
        timestep_plan(report.config, loop_start).num_evaluations,
        tuple(report.seeds),
        {name: score.mean for name, score in statistics.items()},
        report.pixels.l_std if several else None,
        {name: score.g_std for name, score in statistics.items()} if several else {},
    )
