"""What an engine offers and what its runs yield.

The page, the command line and evaluation depend on these protocols and events alone, so that any
engine that follows them can take the model's place.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ccsr.config import SamplingConfig, StartPoint, Variant
from ccsr.diffusion.sampler import Step
from ccsr.diffusion.timesteps import LoopStart
from ccsr.images.picture import Picture
from ccsr.inference.estimate_cache import EstimateCache


@dataclass(frozen=True)
class Progress:
    """One network evaluation (NFE) is done."""

    evaluation: int
    """Its number, from 1 to `total`; a batch of seeds counts as one."""
    total: int
    """Network evaluations (NFE) of the whole run."""
    timestep: int
    """The training timestep that was evaluated, in [0, 999]."""
    seeds: tuple[int, ...]
    """The seeds of the batch."""
    preview: np.ndarray | None
    """The decoded estimate of the first of `seeds`: [h,w,3] uint8, reduced, or None."""


@dataclass(frozen=True)
class Decoded:
    """One estimate is decoded and scored, in a run that needs several for one result."""

    number: int
    """Its number, from 1 to `total`."""
    total: int


@dataclass(frozen=True)
class Restored:
    """The result of one seed."""

    seed: int
    picture: Picture
    """Exactly `scale` times the input, with its alpha channel and bit depth."""
    config: SamplingConfig
    seconds: float
    """Time of this seed; the time of a batch and of the encoding is shared evenly by its seeds."""


@dataclass(frozen=True)
class ModelInfo:
    """Description of the loaded model."""

    name: str
    variants: tuple[Variant, ...]
    device: str
    dtype: str
    attention: str
    """"xformers", "torch SDPA", or "none" for a UNet without attention."""
    parameters: int
    start_point: StartPoint = "noise"
    """What its runs start from at T."""
    reads_text: bool = False
    """Whether it has a text encoder and takes prompts."""
    loop_start: LoopStart = "paper"
    """Where its refinement starts: to be passed wherever steps are counted, see `timestep_plan`."""
    num_steps: int = SamplingConfig().num_steps
    """The size S of its grid unless another is asked for."""
    max_memory: float | None = None
    """In GiB, what a run may take beside the loaded model; None: all that there is."""

    @property
    def defaults(self) -> SamplingConfig:
        """The settings of a run for which none are given."""
        return SamplingConfig(num_steps=self.num_steps)


class Session(Protocol):
    """One picture under many settings; runs reuse the estimates of earlier ones."""

    def num_evaluations(self, config: SamplingConfig, seed: int) -> int:
        """Network evaluations (NFE) that `run` would make for this setting now."""
        ...

    def run(
        self, config: SamplingConfig, seed: int, *, preview: bool = False
    ) -> Iterator[Progress | Restored]:
        """Upscale with one seed: a `Progress` for each new evaluation, then the result.

        Closing the iterator stops the work before the next evaluation; the estimates made so far
        are kept.
        """
        ...

    def refine(
        self, config: SamplingConfig, seed: int, *, preview: bool = False
    ) -> Iterator[Progress]:
        """Make the missing estimates of a setting without decoding the result."""
        ...

    def steps(self, config: SamplingConfig, seed: int) -> Sequence[Step]:
        """The estimates of a setting in the order of the run, made now if they are missing."""
        ...

    def restore(self, config: SamplingConfig, seed: int, step: Step) -> Restored:
        """Decode one estimate with the decoder and the colour alignment of `config`."""
        ...


class Engine(Protocol):
    """A loaded model."""

    @property
    def info(self) -> ModelInfo:
        """Description of the model."""
        ...

    def session(
        self, picture: Picture, cache: EstimateCache | None = None, owner: str = ""
    ) -> Session:
        """A session of one picture, which reuses estimates between settings.

        Args:
            picture: The low-resolution picture.
            cache: Where the estimates are kept; None: in a cache of the session's own.
            owner: The visitor to whom they belong, see `EstimateCache.discard`.
        """
        ...

    def run(
        self,
        picture: Picture,
        config: SamplingConfig,
        seeds: Sequence[int],
        *,
        preview: bool = False,
    ) -> Iterator[Progress | Restored]:
        """Upscale `picture` once for each seed.

        Closing the iterator stops the work before the next network evaluation.

        Raises:
            InputError: If the picture or the settings are outside what the model can do.
        """
        ...
