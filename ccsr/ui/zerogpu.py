"""A model on ZeroGPU, where a Hugging Face Space borrows a GPU for the length of a call.

A call runs in a process of its own: what it computes in memory is lost, and its arguments and
results are copied. So each piece of work is one call, which receives the estimates made earlier and
returns those it has added.
"""

import importlib.util
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ccsr.config import SamplingConfig
from ccsr.diffusion.sampler import Step
from ccsr.diffusion.timesteps import LoopStart, timestep_plan
from ccsr.images.picture import Picture
from ccsr.inference.device import on_zerogpu
from ccsr.inference.estimate_cache import EstimateCache, PictureEstimates
from ccsr.inference.events import Engine, ModelInfo, Progress, Restored
from ccsr.inference.sizes import target_size

SECONDS_TO_START = 10
SECONDS_PER_EVALUATION = 0.3
"""Of the full size, for a result of PIXELS; twice what a GPU of a Space should need."""
SECONDS_TO_DECODE = 1.5
PIXELS = 512 * 512

Decorate = Callable[..., Callable[[Callable[..., Any]], Callable[..., Any]]]
"""`spaces.GPU`: called with `duration`, decorates a function or generator."""


def spaces_gpu() -> Decorate | None:
    """The decorator of functions that need the GPU; None if this is no Space on ZeroGPU.

    To be called before anything asks for a GPU: importing `spaces` makes one appear.
    """
    if not on_zerogpu() or importlib.util.find_spec("spaces") is None:
        return None
    return importlib.import_module("spaces").GPU


def gpu_seconds(
    picture: Picture, config: SamplingConfig, num_seeds: int, num_evaluations: int
) -> int:
    """How long to borrow a GPU: too short a time ends the work, a long one makes others wait.

    Args:
        picture: The low-resolution picture.
        config: The setting.
        num_seeds: Results that are decoded.
        num_evaluations: Network evaluations (NFE) of each.
    """
    size = target_size(picture, config)
    results = num_seeds * max(size.height * size.width / PIXELS, 1)
    forward_passes = num_evaluations * (1 if config.guidance_scale == 1 else 2)
    return round(
        SECONDS_TO_START + results * (SECONDS_PER_EVALUATION * forward_passes + SECONDS_TO_DECODE)
    )


@dataclass(frozen=True)
class Estimates:
    """Last event of a call that refines: the estimates that it has added to those it received."""

    steps: tuple[Step, ...]


@dataclass(frozen=True)
class GpuCalls:
    """What runs on the GPU."""

    run: Callable[..., Iterator[Progress | Restored]]
    """As `Engine.run`."""
    refine: Callable[..., Iterator[Progress | Restored | Estimates]]
    """As `Session.run` or, without decoding, `Session.refine`; continues a chain."""
    restore: Callable[..., Restored]
    """As `Session.restore`."""


@dataclass(frozen=True)
class CallSeconds:
    """For how long each call needs the GPU, with the arguments of the call."""

    loop_start: LoopStart
    """The model's."""

    def run(
        self, picture: Picture, config: SamplingConfig, seeds: Sequence[int], preview: bool
    ) -> int:
        """Seconds of `GpuCalls.run`."""
        num_evaluations = timestep_plan(config, self.loop_start).num_evaluations
        return gpu_seconds(picture, config, len(seeds), num_evaluations)

    def refine(
        self,
        picture: Picture,
        config: SamplingConfig,
        seed: int,
        made: Sequence[Step],
        decode: bool,
    ) -> int:
        """Seconds of `GpuCalls.refine`."""
        num_evaluations = timestep_plan(config, self.loop_start).num_evaluations
        return gpu_seconds(picture, config, 1, num_evaluations - len(made))

    def restore(self, picture: Picture, config: SamplingConfig, seed: int, step: Step) -> int:
        """Seconds of `GpuCalls.restore`."""
        return gpu_seconds(picture, config, 1, 0)


def gpu_calls(engine: Engine, decorate: Decorate) -> GpuCalls:
    """The calls of an engine, decorated; made once, before the first visitor comes."""
    loop_start = engine.info.loop_start
    seconds = CallSeconds(loop_start)

    @decorate(duration=seconds.run)
    def run(
        picture: Picture, config: SamplingConfig, seeds: Sequence[int], preview: bool
    ) -> Iterator[Progress | Restored]:
        yield from engine.run(picture, config, seeds, preview=preview)

    @decorate(duration=seconds.refine)
    def refine(
        picture: Picture, config: SamplingConfig, seed: int, made: Sequence[Step], decode: bool
    ) -> Iterator[Progress | Restored | Estimates]:
        estimates = PictureEstimates(picture, loop_start=loop_start)
        session = engine.session(picture, estimates.cache)
        with estimates.recording(config, seed) as record:
            record(made)
            if decode:
                yield from session.run(config, seed, preview=True)
            else:
                yield from session.refine(config, seed)
            yield Estimates(tuple(session.steps(config, seed)[len(made) :]))

    @decorate(duration=seconds.restore)
    def restore(picture: Picture, config: SamplingConfig, seed: int, step: Step) -> Restored:
        return engine.session(picture).restore(config, seed, step)

    return GpuCalls(run, refine, restore)


class ZeroGpuEngine:
    """An engine whose work is done in calls.

    Args:
        engine: The model, in the process that lives on.
        decorate: `spaces.GPU`.
    """

    def __init__(self, engine: Engine, decorate: Decorate) -> None:
        self.info: ModelInfo = engine.info
        self._calls = gpu_calls(engine, decorate)

    def session(
        self, picture: Picture, cache: EstimateCache | None = None, owner: str = ""
    ) -> "ZeroGpuSession":
        """A session of one picture, which reuses estimates between settings."""
        estimates = PictureEstimates(picture, cache, owner, self.info.loop_start)
        return ZeroGpuSession(self._calls, picture, estimates)

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
    """One picture; the estimates of its calls are kept in this process."""

    def __init__(self, calls: GpuCalls, picture: Picture, estimates: PictureEstimates) -> None:
        self._calls, self.picture, self.estimates = calls, picture, estimates

    def num_evaluations(self, config: SamplingConfig, seed: int) -> int:
        """Network evaluations (NFE) that `run` would make now."""
        return self.estimates.num_missing(config, seed)

    def run(
        self, config: SamplingConfig, seed: int, *, preview: bool = False
    ) -> Iterator[Progress | Restored]:
        """Upscale with one seed; previews come with it."""
        if self.num_evaluations(config, seed):
            yield from self._refined(config, seed, decode=True)
        else:
            yield self.restore(config, seed, self.steps(config, seed)[-1])

    def refine(
        self, config: SamplingConfig, seed: int, *, preview: bool = False
    ) -> Iterator[Progress]:
        """Make the missing estimates of a setting without decoding the result."""
        if self.num_evaluations(config, seed):
            for event in self._refined(config, seed, decode=False):
                assert isinstance(event, Progress)
                yield event

    def steps(self, config: SamplingConfig, seed: int) -> Sequence[Step]:
        """The estimates of a setting in the order of the run."""
        with self.estimates.recording(config, seed):
            # The cache may have dropped them.
            for _ in self.refine(config, seed):
                pass
            return self.estimates.made(config, seed)

    def restore(self, config: SamplingConfig, seed: int, step: Step) -> Restored:
        """Decode one estimate."""
        return self._calls.restore(self.picture, config, seed, step)

    def _refined(
        self, config: SamplingConfig, seed: int, *, decode: bool
    ) -> Iterator[Progress | Restored]:
        with self.estimates.recording(config, seed) as record:
            made = self.estimates.made(config, seed)
            for event in self._calls.refine(self.picture, config, seed, made, decode):
                if isinstance(event, Estimates):
                    record(event.steps)
                else:
                    yield event
