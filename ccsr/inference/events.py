"""What a run of the engine yields while it works.

The page, the command line and the tests read only these, so that any engine that
yields them can stand behind the page.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ccsr.config import SamplingConfig, StartPoint, Variant
from ccsr.diffusion.sampler import Step
from ccsr.images.picture import Picture


@dataclass(frozen=True)
class Progress:
    """One network evaluation done."""

    evaluation: int
    """How many are done, from 1 to `total`; a batch of seeds counts as one."""
    total: int
    """Network evaluations of the whole run."""
    timestep: int
    """The train timestep just evaluated, in [0, 999]."""
    seeds: tuple[int, ...]
    """The seeds worked on in this evaluation."""
    preview: np.ndarray | None
    """A look at the estimate of the first of `seeds`: [h,w,3] uint8, any size, or None."""


@dataclass(frozen=True)
class Decoded:
    """One estimate decoded and judged, of a run that needs several for one result."""

    number: int
    """How many are done, from 1 to `total`."""
    total: int


@dataclass(frozen=True)
class Restored:
    """One seed finished."""

    seed: int
    picture: Picture
    """The result, exactly `scale` times the input, with the input's alpha and bit depth."""
    config: SamplingConfig
    seconds: float
    """Time of this seed; a batch and the shared encoding are divided evenly over their seeds."""


@dataclass(frozen=True)
class ModelInfo:
    """What is loaded, for people to read."""

    name: str
    variants: tuple[Variant, ...]
    device: str
    dtype: str
    attention: str
    parameters: int
    start_point: StartPoint = "noise"
    """What its runs start from."""
    reads_text: bool = False
    """Whether it takes prompts."""


class Session(Protocol):
    """One picture, looked at under many settings; runs share the work they can."""

    def num_evaluations(self, config: SamplingConfig, seed: int) -> int:
        """Network evaluations that `run` would make for this setting now."""
        ...

    def run(
        self, config: SamplingConfig, seed: int, *, preview: bool = False
    ) -> Iterator[Progress | Restored]:
        """Upscale with one seed, telling of the evaluations that are new.

        Closing the iterator stops the work before the next evaluation; what was made is kept.
        """
        ...

    def refine(self, config: SamplingConfig, seed: int) -> Iterator[Progress]:
        """Make the estimates of a setting that are not there yet; decode nothing."""
        ...

    def steps(self, config: SamplingConfig, seed: int) -> Sequence[Step]:
        """The estimates of a setting in the order of the run; `refine` must have made them."""
        ...

    def restore(self, config: SamplingConfig, seed: int, step: Step) -> Restored:
        """Decode one estimate."""
        ...


class Engine(Protocol):
    """What the page needs of a model."""

    @property
    def info(self) -> ModelInfo:
        """What is loaded."""
        ...

    def explore(self, picture: Picture) -> Session:
        """Look at a picture under many settings."""
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
            ValueError: If the picture or the settings are outside what the model can do.
        """
        ...
