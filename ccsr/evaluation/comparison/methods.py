"""Methods of a comparison: ours, the bicubic enlargement, and results in a folder.

A family is the methods whose work is shared: those of one model make all their settings of a seed
out of the same chains of estimates.
"""

import functools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from ccsr.config import (
    MAX_RESULT_PIXELS,
    PRESETS,
    SamplingConfig,
    Variant,
    presets_for,
    variant_label,
)
from ccsr.diffusion.timesteps import LoopStart, TimestepPlan, timestep_plan
from ccsr.errors import InputError
from ccsr.evaluation.comparison.test_set import Sample, file_named
from ccsr.images.picture import Picture, Size
from ccsr.images.reading import load_picture
from ccsr.images.tensors import resize, to_array, to_tensor
from ccsr.inference.engine import ModelEngine
from ccsr.inference.estimate_cache import networks_of, to_the_end
from ccsr.inference.events import Engine, Restored, Session


class Method(Protocol):
    """What makes results of LR pictures."""

    @property
    def name(self) -> str:
        """Label of its row."""
        ...

    @property
    def source(self) -> str:
        """What the results are made with, for the record: two sources are two methods."""
        ...

    @property
    def parameters(self) -> int | None:
        """Parameters of its networks; None if unknown, 0 without any."""
        ...

    @property
    def runs_here(self) -> bool:
        """Whether results are made now, so that their time can be measured."""
        ...

    def seeds(self, asked: Sequence[int]) -> tuple[int, ...]:
        """The seeds it is run with; one for a deterministic method."""
        ...

    def restore(self, sample: Sample, lr: Picture, seed: int) -> np.ndarray:
        """The result [H,W,3] float32 in [0,1] of a sample whose LR is `lr`."""
        ...


Family = Sequence[Method]


@dataclass(frozen=True)
class Setting:
    """A variant with a preset."""

    variant: Variant
    preset: str
    label: str
    config: SamplingConfig


def settings(
    variants: Sequence[Variant], presets: Sequence[str], base: SamplingConfig
) -> list[Setting]:
    """Every variant with the first preset (Table 4), the first variant with every preset (Table 5).

    Args:
        variants: At least one.
        presets: At least one of PRESETS.
        base: What presets leave as it is.
    """
    main_variant, main_preset = variants[0], presets[0]
    pairs: list[tuple[Variant, str]] = [
        *((variant, main_preset) for variant in variants),
        *((main_variant, preset) for preset in presets),
    ]
    return [
        Setting(v, p, _label(v, p, presets[0]), PRESETS[p].apply(base.replace(variant=v)))
        for v, p in dict.fromkeys(pairs)
    ]


def _label(variant: str, preset: str, first: str) -> str:
    """CCSR, V2 or V1 with the first preset, else the label of the preset."""
    label = PRESETS[preset].label
    if preset != first or first != "ccsr":
        return label if variant == "ccsr" else f"{variant_label(variant)} {label}"
    return variant_label(variant)


def num_evaluations(configs: Sequence[SamplingConfig], loop_start: LoopStart) -> int:
    """Network evaluations (NFE) of one picture and seed under all settings, chains shared."""
    longest: dict[tuple[str, TimestepPlan], int] = {}
    for config in configs:
        plan = timestep_plan(config, loop_start)
        chain = networks_of(config.variant), to_the_end(plan)
        longest[chain] = max(longest.get(chain, 0), plan.num_evaluations)
    # The estimate at T is made once for all chains of the same networks.
    jumping = [networks for networks, plan in longest if plan.jump is not None]
    return sum(longest.values()) - (len(jumping) - len(set(jumping)))


class ModelSessions:
    """The session of the sample that a model works on, shared by its settings."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._latest: tuple[Sample, Session] | None = None

    def of(self, sample: Sample, lr: Picture) -> Session:
        """The session of a sample; that of the one before is freed."""
        if self._latest is None or self._latest[0] != sample:
            self._latest = None
            self._latest = (sample, self.engine.session(lr))
        return self._latest[1]


@dataclass(frozen=True)
class OurMethod:
    """A model with one setting."""

    sessions: ModelSessions
    setting: Setting
    model: str
    """Name and digest of the model."""
    parameters: int | None = None
    runs_here: bool = True

    @property
    def name(self) -> str:
        """Label of the setting."""
        return self.setting.label

    @property
    def source(self) -> str:
        """The model and the setting."""
        return f"{self.model} {self.setting.config.model_dump_json()}"

    def seeds(self, asked: Sequence[int]) -> tuple[int, ...]:
        """Those that are asked for."""
        return tuple(asked)

    def restore(self, sample: Sample, lr: Picture, seed: int) -> np.ndarray:
        """The result [H,W,3] of a seed, from the chains of the sample as far as they are made."""
        for event in self.sessions.of(sample, lr).run(self.setting.config, seed):
            if isinstance(event, Restored):
                return event.picture.rgb
        raise RuntimeError(f"{self.name} gave no result")

    def trajectory(
        self, sample: Sample, lr: Picture, seed: int
    ) -> Iterator[tuple[int, np.ndarray]]:
        """Timestep and decoded result [H,W,3] of each estimate of a run, from T downwards."""
        session, config = self.sessions.of(sample, lr), self.setting.config
        for step in session.steps(config, seed):
            yield step.timestep, session.restore(config, seed, step).picture.rgb


def our_methods(engine: ModelEngine, chosen: Sequence[Setting], model: str) -> list[Method]:
    """The settings of a model as methods.

    Raises:
        InputError: If the model has not all the variants, or a preset is not for it.
    """
    known = presets_for(engine.info.start_point, engine.info.defaults)
    for setting in chosen:
        if setting.preset not in known:
            raise InputError(
                f"preset {setting.preset} is not for this model; it takes {', '.join(known)}"
            )
    sessions = ModelSessions(engine)
    return [
        OurMethod(sessions, setting, model, engine.pipeline(setting.variant).num_parameters)
        for setting in chosen
    ]


@dataclass(frozen=True)
class Bicubic:
    """The bicubic enlargement."""

    scale: int
    name: str = "Bicubic"
    source: str = "bicubic"
    parameters: int | None = 0
    runs_here: bool = True

    def seeds(self, asked: Sequence[int]) -> tuple[int, ...]:
        """One: it is deterministic."""
        return (0,)

    def restore(self, sample: Sample, lr: Picture, seed: int) -> np.ndarray:
        """The enlarged picture [H,W,3]."""
        size = Size(self.scale * lr.size.height, self.scale * lr.size.width)
        return to_array(resize(to_tensor(lr.rgb), size))


@dataclass(frozen=True)
class RestoredFolder:
    """Results that another program has written.

    The folder holds one picture a sample, or a folder `sample0`, `sample1`, ... for each seed.
    """

    name: str
    folder: Path
    parameters: int | None = None
    runs_here: bool = False

    @property
    def source(self) -> str:
        """The folder."""
        return str(self.folder)

    @functools.cached_property
    def samples(self) -> tuple[int, ...]:
        """The numbers of its folders `sample0`, `sample1`, ...; empty if there are none."""
        names = [re.fullmatch(r"sample(\d+)", path.name) for path in self.folder.iterdir()]
        return tuple(sorted(int(found[1]) for found in names if found))

    def seeds(self, asked: Sequence[int]) -> tuple[int, ...]:
        """The numbers of its folders."""
        return self.samples or (0,)

    def path(self, name: str, seed: int) -> Path:
        """The file of a sample.

        Raises:
            InputError: If there is none.
        """
        folder = self.folder / f"sample{seed}" if self.samples else self.folder
        return file_named(folder, name)

    def check(self, samples: Sequence[Sample]) -> None:
        """Check that all results are there.

        Raises:
            InputError: If the folder or some results are missing.
        """
        if not self.folder.is_dir():
            raise InputError(f"there is no folder {self.folder} for {self.name}; check the name")
        missing: list[str] = []
        for sample in samples:
            for seed in self.seeds(()):
                try:
                    self.path(sample.name, seed)
                except ValueError:
                    missing.append(f"sample{seed}/{sample.name}" if self.samples else sample.name)
        if missing:
            raise InputError(
                f"{self.name} lacks {len(missing)} results in {self.folder}, such as {missing[0]}; "
                "give one result for each HR picture, under its name"
            )

    def restore(self, sample: Sample, lr: Picture, seed: int) -> np.ndarray:
        """The result [H,W,3] as it was written."""
        return load_picture(self.path(sample.name, seed), max_pixels=MAX_RESULT_PIXELS).rgb
