"""A model on ZeroGPU, where a GPU is lent for the length of a call to a Hugging Face Space.

A call runs in a process of its own: what it makes in memory is lost, and what goes in and comes out
is copied. So each piece of work is one call, and estimates come back with it to be kept here.
"""

import dataclasses
import importlib.util
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ccsr.config import SamplingConfig
from ccsr.diffusion.sampler import Step
from ccsr.diffusion.timesteps import timestep_plan
from ccsr.images.picture import Picture
from ccsr.inference.estimate_cache import MAX_KEPT_BYTES, networks_of, to_the_end
from ccsr.inference.events import Engine, ModelInfo, Progress, Restored
from ccsr.inference.pipeline import target_size

SECONDS_TO_START = 10
SECONDS_PER_EVALUATION = 0.3
"""Of the full size, for a result of PIXELS; twice what a GPU of a Space should need."""
SECONDS_TO_DECODE = 1.5
PIXELS = 512 * 512

Decorate = Callable[..., Callable[[Callable[..., Any]], Callable[..., Any]]]
"""`spaces.GPU`: called with `duration`, decorates a function or generator."""


def spaces_gpu() -> Decorate | None:
    """What lends the GPU, if this is a Space on ZeroGPU.

    To be called before anything looks for a GPU: from then on there seems to be one.
    """
    asked = os.environ.get("SPACES_ZERO_GPU", "").lower() in ("1", "t", "true")
    if not asked or importlib.util.find_spec("spaces") is None:
        return None
    return importlib.import_module("spaces").GPU


def lent_seconds(picture: Picture, config: SamplingConfig, seeds: Sequence[int], *_: object) -> int:
    """For how long to borrow a GPU: too short a time ends the work, a long one makes others wait.

    Asked with the arguments of the call.
    """
    size = target_size(picture, config)
    results = len(seeds) * max(size.height * size.width / PIXELS, 1)
    evaluations = timestep_plan(config).num_evaluations * (1 if config.guidance_scale == 1 else 2)
    each = SECONDS_PER_EVALUATION * evaluations + SECONDS_TO_DECODE
    return round(SECONDS_TO_START + results * each)


@dataclass(frozen=True)
class Estimates:
    """The last event of a call: what it made on the way."""

    steps: tuple[Step, ...]


@dataclass(frozen=True)
class Calls:
    """What is done on the GPU; the arguments begin with picture, settings and seeds."""

    run: Callable[..., Iterator[Progress | Restored]]
    """As `Engine.run`."""
    session: Callable[..., Iterator[Progress | Restored | Estimates]]
    """As `Session.run` or, without decoding, `Session.refine`, of one seed."""
    restore: Callable[..., Restored]
    """As `Session.restore`, of one seed."""


def calls_on(engine: Engine, decorate: Decorate) -> Calls:
    """The calls of an engine, decorated; made once, before the first visitor comes."""

    @decorate(duration=lent_seconds)
    def run(
        picture: Picture, config: SamplingConfig, seeds: Sequence[int], preview: bool
    ) -> Iterator[Progress | Restored]:
        yield from engine.run(picture, config, seeds, preview=preview)

    @decorate(duration=lent_seconds)
    def session(
        picture: Picture, config: SamplingConfig, seeds: Sequence[int], decode: bool
    ) -> Iterator[Progress | Restored | Estimates]:
        session, (seed,) = engine.session(picture), seeds
        if decode:
            yield from session.run(config, seed, preview=True)
        else:
            yield from session.refine(config, seed)
        made = session.steps(config, seed)
        yield Estimates(tuple(dataclasses.replace(s, x0_hat=s.x0_hat.cpu()) for s in made))

    @decorate(duration=lent_seconds)
    def restore(
        picture: Picture, config: SamplingConfig, seeds: Sequence[int], step: Step
    ) -> Restored:
        return engine.session(picture).restore(config, seeds[0], step)

    return Calls(run, session, restore)


class ZeroGpuEngine:
    """An engine whose work is done in calls.

    Args:
        engine: The model, in the process that lives on.
        decorate: `spaces.GPU`.
    """

    def __init__(self, engine: Engine, decorate: Decorate) -> None:
        self.info: ModelInfo = engine.info
        self._calls = calls_on(engine, decorate)

    def session(self, picture: Picture) -> "ZeroGpuSession":
        """A session of one picture, which reuses estimates between settings."""
        return ZeroGpuSession(self._calls, picture)

    def run(
        self,
        picture: Picture,
        config: SamplingConfig,
        seeds: Sequence[int],
        *,
        preview: bool = False,
    ) -> Iterator[Progress | Restored]:
        """Upscale `picture` once for each seed."""
        yield from self._calls.run(picture, config, tuple(seeds), preview)


class ZeroGpuSession:
    """One picture; estimates of earlier calls are kept, and serve every t_min above theirs."""

    def __init__(self, calls: Calls, picture: Picture) -> None:
        self._calls, self.picture = calls, picture
        # Ordered by age.
        self._kept: dict[tuple[object, ...], tuple[Step, ...]] = {}

    def num_evaluations(self, config: SamplingConfig, seed: int) -> int:
        """Network evaluations that `run` would make now: a chain cannot be continued."""
        return 0 if self._made(config, seed) else timestep_plan(config).num_evaluations

    def run(
        self, config: SamplingConfig, seed: int, *, preview: bool = False
    ) -> Iterator[Progress | Restored]:
        """Upscale with one seed; previews come with it."""
        if self._made(config, seed):
            yield self.restore(config, seed, self.steps(config, seed)[-1])
            return
        yield from self._followed(config, seed, decode=True)

    def refine(
        self, config: SamplingConfig, seed: int, *, preview: bool = False
    ) -> Iterator[Progress]:
        """Make the estimates of a setting if they are not there; decode nothing."""
        if not self._made(config, seed):
            for event in self._followed(config, seed, decode=False):
                assert isinstance(event, Progress)
                yield event

    def steps(self, config: SamplingConfig, seed: int) -> Sequence[Step]:
        """The estimates of a setting in the order of the run; `refine` must have made them."""
        return self._kept[self._key(config, seed)][: timestep_plan(config).num_evaluations]

    def restore(self, config: SamplingConfig, seed: int, step: Step) -> Restored:
        """Decode one estimate."""
        return self._calls.restore(self.picture, config, (seed,), step)

    def _followed(
        self, config: SamplingConfig, seed: int, *, decode: bool
    ) -> Iterator[Progress | Restored]:
        for event in self._calls.session(self.picture, config, (seed,), decode):
            if isinstance(event, Estimates):
                self._kept[self._key(config, seed)] = event.steps
                while len(self._kept) > 1 and self._num_bytes() > MAX_KEPT_BYTES:
                    del self._kept[next(iter(self._kept))]
            else:
                yield event

    def _made(self, config: SamplingConfig, seed: int) -> bool:
        made = self._kept.get(self._key(config, seed), ())
        return len(made) >= timestep_plan(config).num_evaluations

    def _num_bytes(self) -> int:
        return sum(step.x0_hat.nbytes for steps in self._kept.values() for step in steps)

    @staticmethod
    def _key(config: SamplingConfig, seed: int) -> tuple[object, ...]:
        """What makes two runs walk through the same estimates."""
        plan = to_the_end(timestep_plan(config))
        return networks_of(config.variant), config.scale, config.words, seed, plan
