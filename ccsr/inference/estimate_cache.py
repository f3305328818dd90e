"""The estimates of earlier runs: kept in memory, then on disk, up to a bound each.

A chain is the list of estimates that the run of one seed makes from T downwards. Settings that
differ only in t_min share a chain, and all chains of a seed share the estimate at T. An estimate is
data alone: with the seed it determines x_t, so that any later run can continue the chain.
"""

import dataclasses
import hashlib
import threading
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch

from ccsr.config import SamplingConfig, Variant
from ccsr.diffusion.sampler import Step
from ccsr.diffusion.timesteps import LoopStart, TimestepPlan, timestep_plan
from ccsr.images.picture import Picture
from ccsr.inference.memory import memory_mapped

MAX_MEMORY_BYTES = 128 * 1024**2
"""250 estimates of the compact model for a result of 512x512 pixels."""
MAX_DISK_BYTES = 1024**3
"""30 estimates of the compact model for a result of 4096x4096 pixels."""
MAX_FILES = 256
"""Each holds a file descriptor, of which a process often has 1024."""

EXTRACTION = TimestepPlan(num_steps=1, jump=0, indices=())
"""The evaluation at T alone, with which every chain with a jump begins."""


@dataclass(frozen=True)
class ChainKey:
    """What runs that make the same estimates have in common."""

    owner: str
    """The visitor to whom the chain belongs."""
    picture: str
    """Digest of the low-resolution picture."""
    networks: str
    scale: float
    prompt: tuple[str, str, float]
    """Prompt, negative prompt and guidance scale."""
    seed: int
    plan: TimestepPlan
    """Down to grid index 0."""

    @property
    def extraction(self) -> "ChainKey | None":
        """Key of the estimate at T alone; None for a plan without a jump."""
        return None if self.plan.jump is None else dataclasses.replace(self, plan=EXTRACTION)


@dataclass(eq=False)
class Chain:
    """The estimates of one run so far; changed by `EstimateCache` only."""

    steps: list[Step] = field(default_factory=list)
    num_spilled: int = 0
    """How many of `steps`, from the first, lie on disk."""
    memory_bytes: int = 0
    disk_bytes: int = 0
    num_files: int = 0
    num_users: int = 0
    """Runs that are using it now."""

    def add(self, step: Step) -> None:
        """Append an estimate in memory."""
        x0_hat = step.x0_hat.cpu()
        self.steps.append(dataclasses.replace(step, x0_hat=x0_hat))
        self.memory_bytes += x0_hat.nbytes

    def spill(self) -> None:
        """Move the estimates in memory to one file.

        Raises:
            OSError: If the disk is full; nothing is changed then.
        """
        steps = self.steps[self.num_spilled :]
        mapped = memory_mapped(step.x0_hat.numpy() for step in steps)
        self.steps[self.num_spilled :] = [
            dataclasses.replace(step, x0_hat=torch.from_numpy(x0_hat))
            for step, x0_hat in zip(steps, mapped, strict=True)
        ]
        self.num_spilled = len(self.steps)
        self.num_files += 1
        self.disk_bytes, self.memory_bytes = self.disk_bytes + self.memory_bytes, 0


class EstimateCache:
    """Chains of estimates by key; thread-safe.

    What exceeds the memory is spilled to disk, the least recently used chains first. What exceeds
    the disk is dropped, the least recently used chain of the owner who has most first, and what
    cannot be written to it. Chains in use and the most recently used one are never dropped.

    Args:
        max_memory_bytes: Bound of the estimates in memory.
        max_disk_bytes: Bound of those on disk.
    """

    def __init__(
        self, max_memory_bytes: int = MAX_MEMORY_BYTES, max_disk_bytes: int = MAX_DISK_BYTES
    ) -> None:
        self.max_memory_bytes, self.max_disk_bytes = max_memory_bytes, max_disk_bytes
        # The most recently used last.
        self._chains: dict[ChainKey, Chain] = {}
        self._lock = threading.RLock()

    def __len__(self) -> int:
        """Number of chains."""
        return len(self._chains)

    @property
    def memory_bytes(self) -> int:
        """Size of the estimates in memory."""
        with self._lock:
            return sum(chain.memory_bytes for chain in self._chains.values())

    @property
    def disk_bytes(self) -> int:
        """Size of the estimates on disk."""
        with self._lock:
            return sum(chain.disk_bytes for chain in self._chains.values())

    def steps(self, key: ChainKey) -> tuple[Step, ...]:
        """The estimates of a chain so far; empty if there are none."""
        with self._lock:
            if key not in self._chains:
                return ()
            return tuple(self._touch(key).steps)

    @contextmanager
    def using(self, key: ChainKey) -> Generator[Chain]:
        """The chain of a key, new if there is none; it is not dropped inside the context."""
        with self._lock:
            chain = self._touch(key)
            chain.num_users += 1
        try:
            yield chain
        finally:
            with self._lock:
                chain.num_users -= 1
                if self._chains.get(key) is chain:
                    self._touch(key)
                self._fit()

    def extend(self, chain: Chain, steps: Iterable[Step]) -> None:
        """Append estimates to a chain in use; numbers that it has already are skipped.

        Two runs may make the same chain at the same time: their estimates are equal.
        """
        with self._lock:
            for step in steps:
                if step.evaluation == len(chain.steps) + 1:
                    chain.add(step)
            self._fit()

    def discard(self, owner: str) -> None:
        """Drop all chains of an owner; a run that uses one keeps it to its end."""
        with self._lock:
            self._chains = {k: c for k, c in self._chains.items() if k.owner != owner}

    def _touch(self, key: ChainKey) -> Chain:
        chain = self._chains.pop(key, None) or Chain()
        self._chains[key] = chain
        return chain

    def _fit(self) -> None:
        """Keep the bounds."""
        if self.memory_bytes > self.max_memory_bytes:
            # Sorted stably: of the chains in use, too, the least recently used first.
            for key, chain in sorted(self._chains.items(), key=lambda item: item[1].num_users > 0):
                if chain.memory_bytes:
                    self._spill(key, chain)
                if self.memory_bytes <= self.max_memory_bytes:
                    break
        while self.disk_bytes > self.max_disk_bytes:
            if not self._drop_of_largest(lambda chain: chain.disk_bytes):
                break
        while sum(chain.num_files for chain in self._chains.values()) > MAX_FILES:
            if not self._drop_of_largest(lambda chain: chain.num_files):
                break

    def _drop_of_largest(self, size: Callable[[Chain], int]) -> bool:
        """Drop the least recently used chain on disk of the owner who has most there.

        The chains of other owners stay, however many this one makes. Returns whether there was one.
        """
        droppable = [k for k, c in self._chains.items() if c.num_files and self._may_drop(k)]
        if not droppable:
            return False
        sizes: Counter[str] = Counter()
        for key, chain in self._chains.items():
            sizes[key.owner] += size(chain)
        largest = max((key.owner for key in droppable), key=lambda owner: sizes[owner])
        del self._chains[next(key for key in droppable if key.owner == largest)]
        return True

    def _spill(self, key: ChainKey, chain: Chain) -> None:
        try:
            chain.spill()
        except OSError:
            if self._may_drop(key):
                del self._chains[key]

    def _may_drop(self, key: ChainKey) -> bool:
        return key != next(reversed(self._chains)) and not self._chains[key].num_users


class PictureEstimates:
    """The chains of one picture in a cache, by setting and seed.

    Args:
        picture: The low-resolution picture.
        cache: Where the chains are kept; None: in one of its own.
        owner: The visitor to whom they belong.
        loop_start: The model's, see `timestep_plan`.
    """

    def __init__(
        self,
        picture: Picture,
        cache: EstimateCache | None = None,
        owner: str = "",
        loop_start: LoopStart = "paper",
    ) -> None:
        self.cache = EstimateCache() if cache is None else cache
        self.owner = owner
        self.loop_start: LoopStart = loop_start
        self._digest = digest(picture)

    def plan(self, config: SamplingConfig) -> TimestepPlan:
        """The timesteps of a setting."""
        return timestep_plan(config, self.loop_start)

    def key(self, config: SamplingConfig, seed: int) -> ChainKey:
        """The key of the chain that a setting and a seed are cut out of."""
        networks, plan = networks_of(config.variant), to_the_end(self.plan(config))
        return ChainKey(
            self.owner, self._digest, networks, config.scale, config.prompt_key, seed, plan
        )

    def made(self, config: SamplingConfig, seed: int) -> tuple[Step, ...]:
        """The estimates of a setting that are there, in the order of the run."""
        key, total = self.key(config, seed), self.plan(config).num_evaluations
        steps = self.cache.steps(key)
        if not steps and key.extraction is not None:
            steps = self.cache.steps(key.extraction)
        return tuple(dataclasses.replace(step, total=total) for step in steps[:total])

    def num_missing(self, config: SamplingConfig, seed: int) -> int:
        """How many estimates of a setting are not there."""
        return self.plan(config).num_evaluations - len(self.made(config, seed))

    @contextmanager
    def recording(
        self, config: SamplingConfig, seed: int
    ) -> Generator[Callable[[Sequence[Step]], None]]:
        """A function that keeps further estimates of a run, which are not dropped meanwhile."""
        key = self.key(config, seed)
        with self.cache.using(key) as chain:

            def record(steps: Sequence[Step]) -> None:
                self.cache.extend(chain, steps)
                if key.extraction is not None:
                    with self.cache.using(key.extraction) as extraction:
                        self.cache.extend(extraction, chain.steps[:1])

            self.cache.extend(chain, self.made(config, seed))
            yield record


def digest(picture: Picture) -> str:
    """A text that differs for pictures of other pixels."""
    hashed = hashlib.blake2b(str(picture.size).encode())
    hashed.update(np.ascontiguousarray(picture.visible_rgb).data)
    return hashed.hexdigest()


def networks_of(variant: Variant) -> str:
    """Which UNet and ControlNet a variant runs; V2 and CCSR differ by their decoders only."""
    return "uniform" if variant == "v1" else "non-uniform"


def to_the_end(plan: TimestepPlan) -> TimestepPlan:
    """The plan that goes on to grid index 0, of which `plan` is the beginning."""
    if plan.jump is None:
        return plan
    start = plan.indices[0] if plan.indices else plan.jump
    return TimestepPlan(plan.num_steps, plan.jump, tuple(range(start, -1, -1)))
