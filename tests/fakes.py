"""An engine without a model, for tests of what stands on one."""

import asyncio
import dataclasses
import json
import threading
from collections.abc import Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import torch

from ccsr.config import COMPACT, VARIANTS, SamplingConfig
from ccsr.diffusion.sampler import Step
from ccsr.diffusion.timesteps import (
    LoopStart,
    TimestepPlan,
    respaced_timesteps,
    timestep_plan,
)
from ccsr.images.picture import Picture
from ccsr.images.tensors import resize, to_array, to_tensor, to_uint8
from ccsr.inference.estimate_cache import EstimateCache, PictureEstimates
from ccsr.inference.events import ModelInfo, Progress, Restored
from ccsr.inference.hub import COMPACT_FOLDER, MODEL_INDEX
from ccsr.inference.sizes import target_size

T = TypeVar("T")


@dataclass
class FakeEngine:
    """Bicubic enlargement plus seeded noise that grows with t_max - t_min.

    Args:
        delay: Seconds each evaluation takes.
        failure: Raised by every run after its first evaluation.
        variants: What it claims to be able to do.
        reads_text: Whether it claims to take prompts.
        loop_start: Where it claims to start its refinement.
        max_memory: What it claims that a run may take, in GiB.
    """

    delay: float = 0.0
    failure: Exception | None = None
    variants: tuple[str, ...] = VARIANTS
    reads_text: bool = False
    loop_start: LoopStart = "paper"
    max_memory: float | None = None
    evaluations: int = 0
    """Network evaluations done so far, over all runs."""
    previewed: bool = False
    """Whether previews were asked for."""
    threads: set[str] = field(default_factory=set)
    """Names of those they were done in."""
    begun: threading.Event = field(default_factory=threading.Event)
    """Set once an evaluation has begun."""
    closed: threading.Event = field(default_factory=threading.Event)
    """Set once a run was closed before its end."""
    released: threading.Event = field(default_factory=threading.Event)
    """Ends all delays at once."""

    def session(
        self, picture: Picture, cache: EstimateCache | None = None, owner: str = ""
    ) -> "FakeSession":
        estimates = PictureEstimates(picture, cache, owner, self.loop_start)
        return FakeSession(self, picture, estimates)

    @property
    def info(self) -> ModelInfo:
        return ModelInfo(
            "fake",
            self.variants,
            "cpu",
            "float32",
            "none",
            1_000,
            reads_text=self.reads_text,
            loop_start=self.loop_start,
            max_memory=self.max_memory,
        )

    def run(
        self,
        picture: Picture,
        config: SamplingConfig,
        seeds: Sequence[int],
        *,
        preview: bool = False,
    ) -> Iterator[Progress | Restored]:
        each = timestep_plan(config, self.loop_start).num_evaluations
        total = each * len(seeds)
        try:
            for number, seed in enumerate(seeds):
                for step in range(1, each + 1):
                    yield self.evaluate(picture, number * each + step, total, seed, preview)
                yield Restored(seed, noisy(picture, config, seed), config, self.delay * each)
        except GeneratorExit:
            self.closed.set()
            raise

    def evaluate(
        self, picture: Picture, evaluation: int, total: int, seed: int, preview: bool
    ) -> Progress:
        self.begun.set()
        self.threads.add(threading.current_thread().name)
        self.previewed |= preview
        self.released.wait(self.delay)
        self.evaluations += 1
        if self.failure is not None:
            raise self.failure
        look = to_uint8(picture.rgb.repeat(2, 0).repeat(2, 1)) if preview else None
        timestep = round(999 * (1 - (evaluation - 1) / total))
        return Progress(evaluation, total, timestep, (seed,), look)


class FakeCompact(FakeEngine):
    """Claims to be the model that ships, on its grid."""

    @property
    def info(self) -> ModelInfo:
        index = json.loads((COMPACT_FOLDER / MODEL_INDEX).read_text())
        return dataclasses.replace(super().info, name=COMPACT, num_steps=index["num_steps"])


@dataclass
class FakeSession:
    """Evaluates what is not in the cache of estimates yet, as the model's session does."""

    engine: FakeEngine
    picture: Picture
    estimates: PictureEstimates

    def num_evaluations(self, config: SamplingConfig, seed: int) -> int:
        return self.estimates.num_missing(config, seed)

    def refine(
        self, config: SamplingConfig, seed: int, *, preview: bool = False
    ) -> Iterator[Progress]:
        steps = fake_steps(self.estimates.plan(config))
        try:
            with self.estimates.recording(config, seed) as record:
                missing = steps[len(self.estimates.made(config, seed)) :]
                for number, step in enumerate(missing, 1):
                    event = self.engine.evaluate(self.picture, number, len(missing), seed, preview)
                    record([step])
                    yield event
        except GeneratorExit:
            self.engine.closed.set()
            raise

    def run(
        self, config: SamplingConfig, seed: int, *, preview: bool = False
    ) -> Iterator[Progress | Restored]:
        yield from self.refine(config, seed, preview=preview)
        yield self.restore(config, seed, self.steps(config, seed)[-1])

    def steps(self, config: SamplingConfig, seed: int) -> Sequence[Step]:
        return self.estimates.made(config, seed)

    def restore(self, config: SamplingConfig, seed: int, step: Step) -> Restored:
        # Earlier estimates are those of a lower contrast.
        picture = noisy(self.picture, config, seed)
        faded = 0.5 + (picture.rgb - 0.5) * np.float32(step.evaluation / step.total)
        return Restored(seed, dataclasses.replace(picture, rgb=faded), config, 0.0)


def run_coroutine(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine in a thread of its own: Playwright keeps a loop running in the main one."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, coroutine).result()


def fake_steps(plan: TimestepPlan) -> list[Step]:
    """The steps of a run, with estimates of nothing."""
    grid = respaced_timesteps(1000, plan.num_steps)
    timesteps = [999, *(grid[i] for i in plan.indices)][-plan.num_evaluations :]
    total = len(timesteps)
    return [Step(i, total, t, torch.zeros(1)) for i, t in enumerate(timesteps, 1)]


def noisy(picture: Picture, config: SamplingConfig, seed: int) -> Picture:
    size = target_size(picture, config)
    enlarged = to_array(resize(to_tensor(picture.rgb), size))
    alpha = None
    if picture.alpha is not None:
        grey = np.repeat(picture.alpha[..., None], 3, axis=2)
        alpha = np.ascontiguousarray(to_array(resize(to_tensor(grey), size))[..., 0])
    noise = np.random.default_rng(seed).normal(size=enlarged.shape)
    # Noise on the right half only, so that a map has something to show.
    noise[:, : size.width // 2] *= 0.1
    rgb = np.clip(enlarged + 0.05 * (config.t_max - config.t_min) * noise, 0, 1)
    return Picture(rgb.astype(np.float32), alpha, picture.bits, picture.notes)
