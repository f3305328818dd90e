"""Many runs of one picture that share all the work they can.

Settings differ by where a chain of estimates is cut, so every estimate is kept: raising t_min
costs a decode, lowering it continues the chain, and another t_max starts from the estimate at T
that is there. Results are those of fresh runs.
"""

import dataclasses
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch

from ccsr.config import SamplingConfig, Variant
from ccsr.diffusion.sampler import Step
from ccsr.diffusion.timesteps import TimestepPlan, timestep_plan
from ccsr.images.picture import Picture
from ccsr.inference.events import Progress, Restored
from ccsr.inference.memory import memory_mapped
from ccsr.inference.pipeline import CCSRPipeline, Condition, is_looked_at

MAX_KEPT_BYTES = 128 * 1024**2
"""Memory for estimates: 250 of a result of 512x512 pixels by the compact model."""
MAX_FILE_BYTES = 1024**3
"""Room on the disk for large ones of one picture: 30 of a result of 4096x4096 pixels."""
LARGE_BYTES = 16 * 1024**2
"""An estimate of so many is kept in a file: one run of the largest results has half a GiB."""


@dataclass(frozen=True)
class ChainKey:
    """What makes two runs walk through the same estimates."""

    networks: str
    scale: float
    words: tuple[str, str, float]
    seed: int
    plan: TimestepPlan
    """Down to its end."""


@dataclass
class Chain:
    """A run of one seed: the estimates made so far, and how to make the next."""

    ahead: Iterator[Step]
    condition: Condition
    """What `ahead` holds on to."""
    steps: list[Step] = field(default_factory=list)

    def advance(self, count: int) -> Iterator[Step]:
        """Make estimates until there are `count`, one at a time."""
        while len(self.steps) < count:
            step = next(self.ahead)
            if is_large(step.x0_hat):
                step = dataclasses.replace(
                    step, x0_hat=torch.from_numpy(memory_mapped(step.x0_hat.numpy()))
                )
            self.steps.append(step)
            yield step

    @property
    def num_bytes(self) -> int:
        """Memory that the estimates take."""
        return sum(step.x0_hat.nbytes for step in self.steps if not is_large(step.x0_hat))

    @property
    def file_bytes(self) -> int:
        """Room that they take on the disk."""
        return sum(step.x0_hat.nbytes for step in self.steps if is_large(step.x0_hat))


def is_large(x0_hat: torch.Tensor) -> bool:
    """Whether an estimate is to be kept in a file; the memory of a GPU is another matter."""
    return x0_hat.nbytes >= LARGE_BYTES and x0_hat.device.type == "cpu"


class PictureSession:
    """One picture, to be looked at under many settings and seeds.

    Args:
        pipeline_of: Gives the pipeline of a variant.
        picture: The picture to upscale.
        max_kept_bytes: Beyond it the chains not used for longest are forgotten, though never the
            one in use.
    """

    def __init__(
        self,
        pipeline_of: Callable[[Variant], CCSRPipeline],
        picture: Picture,
        max_kept_bytes: int = MAX_KEPT_BYTES,
    ) -> None:
        self.pipeline_of, self.picture = pipeline_of, picture
        self.max_kept_bytes = max_kept_bytes
        self._conditions: dict[tuple[object, ...], Condition] = {}
        # Ordered by use, the latest last.
        self._chains: dict[ChainKey, Chain] = {}

    def num_evaluations(self, config: SamplingConfig, seed: int) -> int:
        """Network evaluations that `run` would make for this setting now."""
        chain = self._chains.get(self._key(config, seed))
        made = len(chain.steps) if chain else int(self._extracted(config, seed) is not None)
        return max(self._plan(config).num_evaluations - made, 0)

    def run(
        self, config: SamplingConfig, seed: int, *, preview: bool = False
    ) -> Iterator[Progress | Restored]:
        """Upscale with one seed, telling of the evaluations that are new.

        Closing the iterator stops the work before the next evaluation; what was made is kept.
        """
        started = time.perf_counter()
        yield from self.refine(config, seed, preview=preview)
        result = self.restore(config, seed, self.steps(config, seed)[-1])
        yield dataclasses.replace(result, seconds=time.perf_counter() - started)

    def refine(
        self, config: SamplingConfig, seed: int, *, preview: bool = False
    ) -> Iterator[Progress]:
        """Make the estimates of a setting that are not there yet; decode nothing."""
        pipeline = self.pipeline_of(config.variant)
        total = self.num_evaluations(config, seed)
        chain = self._chain(config, seed)
        count = self._plan(config).num_evaluations
        try:
            for number, step in enumerate(chain.advance(count), 1):
                looked_at = preview and is_looked_at(number, total)
                look = pipeline.preview(step.x0_hat) if looked_at else None
                yield Progress(number, total, step.timestep, (seed,), look)
                self._forget_oldest()
        except Exception:
            # What failed cannot be continued: the next try starts this chain anew.
            self._chains.pop(self._key(config, seed), None)
            raise

    def steps(self, config: SamplingConfig, seed: int) -> list[Step]:
        """The estimates of a setting, in the order of the run; `refine` must have made them."""
        return self._chain(config, seed).steps[: self._plan(config).num_evaluations]

    def restore(self, config: SamplingConfig, seed: int, step: Step) -> Restored:
        """Decode one estimate with the decoder and the colour alignment of `config`."""
        started = time.perf_counter()
        condition = self._condition(config)
        pipeline = self.pipeline_of(config.variant)
        picture = pipeline.restore(step.x0_hat, condition, self.picture, config)
        return Restored(seed, picture, config, time.perf_counter() - started)

    def _plan(self, config: SamplingConfig) -> TimestepPlan:
        return timestep_plan(config, self.pipeline_of(config.variant).scheduler.loop_start)

    def _key(self, config: SamplingConfig, seed: int) -> ChainKey:
        networks, plan = networks_of(config.variant), self._plan(config)
        return ChainKey(networks, config.scale, config.words, seed, to_the_end(plan))

    def _condition(self, config: SamplingConfig) -> Condition:
        key = networks_of(config.variant), config.scale, config.words
        if key not in self._conditions:
            pipeline = self.pipeline_of(config.variant)
            # One scale and prompt at a time: people settle on one, and it takes memory too.
            kept = {k: c for k, c in self._conditions.items() if k[1:] == key[1:]}
            self._conditions = {**kept, key: pipeline.condition(self.picture, config)}
        return self._conditions[key]

    def _chain(self, config: SamplingConfig, seed: int) -> Chain:
        key = self._key(config, seed)
        chain = self._chains.pop(key, None) or self._started(key, config)
        self._chains[key] = chain
        return chain

    def _started(self, key: ChainKey, config: SamplingConfig) -> Chain:
        pipeline, extracted = self.pipeline_of(config.variant), self._extracted(config, key.seed)
        condition = self._condition(config)
        ahead = pipeline.steps(condition, key.plan, (key.seed,), extracted)
        # The first step of a chain that starts from an estimate is that estimate.
        return Chain(ahead, condition, [next(ahead)] if extracted else [])

    def _extracted(self, config: SamplingConfig, seed: int) -> Step | None:
        """The estimate at T, if another chain has made it."""
        wanted = self._key(config, seed)
        if wanted.plan.jump is None:
            return None
        for key, chain in self._chains.items():
            alike = dataclasses.replace(key, plan=wanted.plan) == wanted
            if alike and key.plan.jump is not None and chain.steps:
                return chain.steps[0]
        return None

    def _forget_oldest(self) -> None:
        while len(self._chains) > 1 and (
            self._num_bytes() > self.max_kept_bytes
            or sum(chain.file_bytes for chain in self._chains.values()) > MAX_FILE_BYTES
        ):
            del self._chains[next(iter(self._chains))]

    def _num_bytes(self) -> int:
        *others, latest = self._chains.values()
        # Chains share conditions. That of the latest is needed whatever is forgotten.
        conditions = {id(chain.condition): chain.condition for chain in others}
        conditions.pop(id(latest.condition), None)
        return sum(each.num_bytes for each in (*others, latest, *conditions.values()))


def networks_of(variant: Variant) -> str:
    """Which UNet and ControlNet a variant runs; V2 and CCSR differ by their decoders only."""
    return "uniform" if variant == "v1" else "non-uniform"


def to_the_end(plan: TimestepPlan) -> TimestepPlan:
    """The plan that goes on to index 0, of which `plan` is the beginning."""
    if plan.jump is None:
        return plan
    start = plan.indices[0] if plan.indices else plan.jump
    return TimestepPlan(plan.num_steps, plan.jump, tuple(range(start, -1, -1)))
