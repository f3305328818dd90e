"""A short run of a recipe: what its steps take of time, memory and disk."""

from collections import defaultdict
from collections.abc import Collection, Generator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from ccsr.inference.memory import peak_memory
from training.checkpoints import checkpoints
from training.config import Recipe
from training.latent_cache import BATCH
from training.loop import TrainStep
from training.processes import own_device
from training.run import Run
from training.steps import OBJECTIVES, compute_of, pairs_of, run_step
from training.stopwatch import Stopwatch

WARM_UP = 1
"""Optimiser steps, and examples of a cache, before those that are measured."""


@dataclass(frozen=True)
class Trial:
    """What one step of a recipe takes."""

    step: str
    units: int
    """Optimiser steps, or cached examples, of the whole step."""
    examples: int
    """Of a unit."""
    parts: Mapping[str, float] = field(default_factory=dict)
    """Seconds a unit, by what they are spent on."""
    bytes_on_disk: int = 0
    """Of the whole step."""
    peak_bytes: int = 0
    """Most memory of the process so far: that of the GPU, if there is one."""

    @property
    def seconds(self) -> float:
        """Of a unit."""
        return sum(self.parts.values())


def try_out(run: Run, steps: Collection[str], count: int = 2) -> Generator[Trial]:
    """Run the steps of a recipe for a moment, each from the networks that the one before has made.

    Losses that join later in a run take part from the beginning.

    Args:
        run: Its folder is written to; give one of its own. What it holds of other steps is used.
        steps: Some of `STEPS`; "export" takes next to nothing and is left out.
        count: Optimiser steps, or batches of cached examples, to measure.
    """
    short = replace(run, recipe=shortened(run.recipe, steps, count + WARM_UP))
    for step in steps:
        if step in OBJECTIVES:
            yield _trained(short, step, run.recipe)
        elif step != "export":
            yield _cached(short, step, run.recipe)


def shortened(recipe: Recipe, steps: Collection[str], count: int) -> Recipe:
    """A recipe with so many optimiser steps, and a batch of examples in the caches of `steps`."""
    changes: dict[str, Any] = {}
    for name in OBJECTIVES:
        table = getattr(recipe, name)
        if table is None:
            continue
        loop = table.loop.replace(max_steps=count, warmup_steps=0, checkpoint_every=count)
        own: dict[str, Any] = {"loop": loop}
        for key in ("perceptual_from", "adversarial_from"):
            if hasattr(table, key):
                own[key] = 0.0
        for key in ("pairs", "rollouts"):
            if key in steps and hasattr(table, key):
                own[key] = getattr(table, key).replace(count=BATCH)
        changes[name] = table.replace(**own)
    return recipe.replace(**changes)


def _trained(run: Run, step: str, recipe: Recipe) -> Trial:
    """Try out the training of networks."""
    table = getattr(recipe, step)
    measured: dict[str, float] = defaultdict(float)
    count = getattr(run.recipe, step).loop.max_steps - WARM_UP
    for event in run_step(run, step, run.folder / "model"):
        if isinstance(event, TrainStep) and event.step > WARM_UP:
            for name, seconds in event.parts.items():
                measured[name] += seconds
    folder = run.folder / step
    checkpoint = _bytes_of(list(checkpoints(folder).values())[-1])
    return Trial(
        step,
        table.loop.max_steps,
        table.loop.batch_size,
        {name: seconds / count for name, seconds in measured.items()},
        # While one more is written.
        checkpoint * (table.loop.keep_checkpoints + 1) + _bytes_of(folder) - checkpoint,
        own_peak_memory(),
    )


def _cached(run: Run, step: str, recipe: Recipe) -> Trial:
    """Try out the making of a cache."""
    for _ in run_step(run, step, run.folder / "model"):
        pass
    table = run.recipe.stage2 if step == "rollouts" else run.recipe.stage1 or run.recipe.uniform
    whole = recipe.stage2 if step == "rollouts" else recipe.stage1 or recipe.uniform
    assert table is not None
    assert whole is not None
    config, total = (getattr(t, step) for t in (table, whole))
    pairs, compute = pairs_of(run, config), compute_of(run, step)
    watch, indices = Stopwatch(), list(range(BATCH))
    for _ in range(1 + WARM_UP):
        # The last round counts.
        watch.seconds.clear()
        with watch.timed("data"):
            crops = [pairs.crops.pair(i) for i in indices]
        with watch.timed("degradation"):
            examples = [pairs.degraded(i, *crop) for i, crop in zip(indices, crops, strict=True)]
        with watch.timed("encoding" if step == "pairs" else "sampling"), torch.no_grad():
            compute([{k: x.to(own_device()) for k, x in e.items()} for e in examples], indices)
    return Trial(
        step,
        total.count,
        1,
        {name: value / BATCH for name, value in watch.seconds.items()},
        _bytes_of(run.cache(step, config)) * total.count // BATCH,
        own_peak_memory(),
    )


def own_peak_memory() -> int:
    """Most bytes that the process has had so far: of the GPU, if there is one; 0 if unknown."""
    on_gpu = own_device().type == "cuda"
    return torch.cuda.max_memory_allocated() if on_gpu else peak_memory()


def _bytes_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
