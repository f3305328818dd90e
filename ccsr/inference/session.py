"""One picture under many settings.

Settings differ in where a chain of estimates is cut: a higher t_min costs one decoding, a lower one
continues the chain, and another t_max starts from the estimate at T. Results are those of fresh
runs.
"""

import dataclasses
import threading
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import AbstractContextManager
from itertools import islice
from weakref import WeakKeyDictionary

from ccsr.config import SamplingConfig, Variant
from ccsr.diffusion.sampler import Step
from ccsr.images.picture import Picture
from ccsr.inference.estimate_cache import PictureEstimates, networks_of
from ccsr.inference.events import Progress, Restored
from ccsr.inference.memory import memory_named
from ccsr.inference.pipeline import CCSRPipeline
from ccsr.inference.sizes import target_size
from ccsr.inference.stages import Condition, is_previewed

MAX_CONDITION_BYTES = 256 * 1024**2
"""The conditions of 16 results of 512x512 pixels by the compact model."""


class ConditionCache:
    """The conditions of sessions; those of a session are freed with it. Thread-safe.

    Args:
        max_bytes: Beyond it the least recently used are dropped, but never the latest.
    """

    def __init__(self, max_bytes: int = MAX_CONDITION_BYTES) -> None:
        self.max_bytes = max_bytes
        # The most recently used last, in both.
        self._kept: WeakKeyDictionary[PictureSession, dict[Hashable, Condition]] = (
            WeakKeyDictionary()
        )
        self._lock = threading.Lock()

    def get(
        self, session: "PictureSession", key: Hashable, compute: Callable[[], Condition]
    ) -> Condition:
        """The condition of a session's picture under a key, computed if it is not there."""
        with self._lock:
            found = self._kept.get(session, {}).get(key)
        condition = compute() if found is None else found
        with self._lock:
            others = self._kept.pop(session, {})
            others.pop(key, None)
            self._kept[session] = {**others, key: condition}
            self._fit()
        return condition

    @property
    def num_bytes(self) -> int:
        """Memory that the conditions take."""
        with self._lock:
            return sum(c.num_bytes for kept in self._kept.values() for c in kept.values())

    def _fit(self) -> None:
        entries = [
            (conditions, key, condition.num_bytes)
            for conditions in self._kept.values()
            for key, condition in conditions.items()
        ]
        total = sum(size for _, _, size in entries)
        for conditions, key, size in entries[:-1]:
            if total <= self.max_bytes:
                return
            del conditions[key]
            total -= size


class PictureSession:
    """The runs of one picture by a model.

    Args:
        pipeline_of: Returns the pipeline of a variant.
        picture: The low-resolution picture.
        estimates: Those of the picture; None: kept by the session itself.
        conditions: Shared with other sessions; None: kept by the session itself.
    """

    def __init__(
        self,
        pipeline_of: Callable[[Variant], CCSRPipeline],
        picture: Picture,
        estimates: PictureEstimates | None = None,
        conditions: ConditionCache | None = None,
    ) -> None:
        self.pipeline_of, self.picture = pipeline_of, picture
        if estimates is None:
            loop_start = pipeline_of("ccsr").scheduler.loop_start
            estimates = PictureEstimates(picture, loop_start=loop_start)
        self.estimates = estimates
        self._conditions = ConditionCache() if conditions is None else conditions

    def num_evaluations(self, config: SamplingConfig, seed: int) -> int:
        """Network evaluations (NFE) that `run` would make for this setting now."""
        return self.estimates.num_missing(config, seed)

    def run(
        self, config: SamplingConfig, seed: int, *, preview: bool = False
    ) -> Iterator[Progress | Restored]:
        """Upscale with one seed: a `Progress` for each new evaluation, then the result.

        Closing the iterator stops the work before the next evaluation; the estimates made so far
        are kept.
        """
        started = time.perf_counter()
        with self.estimates.recording(config, seed):
            yield from self.refine(config, seed, preview=preview)
            last = self.steps(config, seed)[-1]
        result = self.restore(config, seed, last)
        yield dataclasses.replace(result, seconds=time.perf_counter() - started)

    def refine(
        self, config: SamplingConfig, seed: int, *, preview: bool = False
    ) -> Iterator[Progress]:
        """Make the missing estimates of a setting without decoding the result."""
        pipeline = self.pipeline_of(config.variant)
        with self.estimates.recording(config, seed) as record:
            made = self.estimates.made(config, seed)
            total = self.estimates.plan(config).num_evaluations - len(made)
            if not total:
                return
            with self._memory_named(config):
                condition, plan = self._condition(config), self.estimates.plan(config)
                steps = pipeline.steps(condition, plan, (seed,), made)
                for number, step in enumerate(islice(steps, len(made), None), 1):
                    record([step])
                    previewed = preview and is_previewed(number, total)
                    estimate = step.x0_hat, self.picture, config
                    pixels = pipeline.preview(*estimate) if previewed else None
                    yield Progress(number, total, step.timestep, (seed,), pixels)

    def steps(self, config: SamplingConfig, seed: int) -> Sequence[Step]:
        """The estimates of a setting in the order of the run, made now if they are missing."""
        with self.estimates.recording(config, seed):
            for _ in self.refine(config, seed):
                pass
            return self.estimates.made(config, seed)

    def restore(self, config: SamplingConfig, seed: int, step: Step) -> Restored:
        """Decode one estimate with the decoder and the colour alignment of `config`."""
        started = time.perf_counter()
        pipeline = self.pipeline_of(config.variant)
        with self._memory_named(config):
            picture = pipeline.restore(step.x0_hat, self.picture, config)
        return Restored(seed, picture, config, time.perf_counter() - started)

    def _memory_named(self, config: SamplingConfig) -> AbstractContextManager[None]:
        return memory_named(f"a result of {target_size(self.picture, config)} pixels")

    def _condition(self, config: SamplingConfig) -> Condition:
        pipeline = self.pipeline_of(config.variant)
        key = networks_of(config.variant), config.scale, config.prompt_key
        return self._conditions.get(self, key, lambda: pipeline.condition(self.picture, config))
