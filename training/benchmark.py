"""Where the time of training goes: python -m training.benchmark --data PICTURES.

Tries out every step of a recipe for a moment, as `--dry-run` does, and prints a table in Markdown:
samples a second, and the share of the time that each part takes.
"""

import argparse
import contextlib
import sys
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from ccsr.cli import config_of
from ccsr.evaluation.comparison.timing import machine
from ccsr.program import exit_code, positive_int, program
from training.cli import add_data, add_recipe
from training.config import MachineConfig, Recipe, load_recipe
from training.origin import find_origin
from training.processes import mixed_precision, own_device
from training.run import Run
from training.sources import source_of
from training.steps import require_steps, steps_of
from training.table import table
from training.trial import Trial, try_out

PARTS = (
    "data", "degradation", "encoding", "sampling", "forward", "loss networks", "backward",
    "optimiser",
)  # fmt: skip
CACHE_OF = {"uniform": "pairs", "stage1": "pairs", "stage2": "rollouts"}
"""Training step -> the step that makes the examples which it reads."""
PROFILED_ROWS = 20


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; exit code 0, or 2 after bad input."""
    parser = program("python -m training.benchmark", __doc__)
    add_recipe(parser)
    add_data(parser, required=True)
    parser.add_argument("--repeats", type=positive_int, default=5,
                        help="optimiser steps to measure; default: %(default)s")  # fmt: skip
    parser.add_argument("--profile", action="store_true",
                        help="also print the operations of torch that take longest")  # fmt: skip
    options = parser.parse_args(arguments)
    return exit_code(parser.prog, lambda: measure(options))


def measure(options: argparse.Namespace) -> None:
    """Print the table of shares, and with --profile that of operations."""
    settings = config_of(MachineConfig, options)
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    recipe = load_recipe(options.recipe)
    steps = steps_of(recipe)
    require_steps(recipe, steps)
    with tempfile.TemporaryDirectory() as name, _profiler(wanted=options.profile) as profiler:
        folder = Path(name)
        origin = find_origin(options.init, folder) if options.init else None
        run = Run(recipe, tuple(map(source_of, options.data)), folder, origin, settings)
        trials = list(try_out(run, steps, options.repeats))
    print(shares_table(trials), machine(own_device(), _formats(recipe)), sep="\n\n")
    if profiler is not None:
        order = "self_device_time_total" if own_device().type == "cuda" else "self_cpu_time_total"
        print("", profiler.key_averages().table(order, PROFILED_ROWS), sep="\n")


def shares_table(trials: Sequence[Trial]) -> str:
    """Samples a second, and the share of each part, of every step alone and with its examples.

    A sample is an example of a batch. The time that examples of a cache take to make is spread over
    the samples that are drawn from it in the whole of the training step.
    """
    by_step = {trial.step: trial for trial in trials}
    rows = [_row(trial.step, _samples(trial), _whole(trial)) for trial in trials]
    for step, cache in CACHE_OF.items():
        if step in by_step and cache in by_step:
            parts = _sum([_whole(by_step[step]), _whole(by_step[cache])])
            rows.append(_row(f"{step} with {cache}", _samples(by_step[step]), parts))
    rows.append(_row("all", None, _sum([_whole(trial) for trial in trials])))
    return table(("step", "samples/s", *PARTS, "data + degradation"), rows)


def _samples(trial: Trial) -> int:
    return trial.units * trial.examples


def _whole(trial: Trial) -> dict[str, float]:
    """Seconds of the parts of a whole step."""
    return {name: seconds * trial.units for name, seconds in trial.parts.items()}


def _sum(parts: Sequence[Mapping[str, float]]) -> dict[str, float]:
    total: dict[str, float] = defaultdict(float)
    for each in parts:
        for name, seconds in each.items():
            total[name] += seconds
    return total


def _row(name: str, samples: int | None, parts: Mapping[str, float]) -> tuple[str, ...]:
    total = sum(parts.values())
    shares = [f"{parts[part] / total:.1%}" if part in parts else "-" for part in PARTS]
    made = sum(parts.get(part, 0.0) for part in ("data", "degradation"))
    speed = "-" if samples is None else f"{samples / total:.2f}"
    return (name, speed, *shares, f"{made / total:.1%}")


def _profiler(*, wanted: bool) -> contextlib.AbstractContextManager[torch.profiler.profile | None]:
    return torch.profiler.profile() if wanted else contextlib.nullcontext()


def _formats(recipe: Recipe) -> str:
    """The number formats of the training steps."""
    stages = (recipe.autoencoder, recipe.uniform, recipe.stage1, recipe.stage2)
    formats = {mixed_precision(stage.loop.mixed_precision) for stage in stages if stage is not None}
    return ", ".join(sorted("float32" if name == "no" else name for name in formats))


if __name__ == "__main__":
    sys.exit(main())
