"""Test sets of small pictures, and methods that are quick."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from skimage import data

from ccsr.config import SamplingConfig, Variant
from ccsr.evaluation.comparison.methods import ModelSessions, OurMethod, settings
from ccsr.evaluation.comparison.test_set import Sample
from ccsr.images.picture import Picture, Size
from ccsr.images.tensors import resize, to_array, to_tensor
from tests.fakes import FakeEngine


def write_hr(folder: Path, count: int = 3, side: int = 64) -> Path:
    """A folder of `count` cuts of a photograph."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        cut = data.astronaut()[32 * number : 32 * number + side, 160 : 160 + side]
        Image.fromarray(cut).save(folder / f"picture{number}.png")
    return folder


def ours(
    engine: FakeEngine, *variants: Variant, presets: tuple[str, ...] = ("ccsr",)
) -> list[OurMethod]:
    sessions = ModelSessions(engine)
    chosen = settings(variants or ("ccsr",), presets, SamplingConfig())
    return [OurMethod(sessions, setting, "fake", 1000) for setting in chosen]


@dataclass
class Noisy:
    """Bicubic enlargement with seeded noise; fails for the pictures of some names."""

    name: str = "Noisy"
    fails_for: tuple[str, ...] = ()
    calls: int = 0
    source: str = "noisy"
    parameters: int | None = 7
    runs_here: bool = True

    def seeds(self, asked: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(asked)

    def restore(self, sample: Sample, lr: Picture, seed: int) -> np.ndarray:
        self.calls += 1
        if sample.name in self.fails_for:
            raise RuntimeError("out of memory")
        size = Size(4 * lr.size.height, 4 * lr.size.width)
        noise = np.random.default_rng([seed, sample.index]).normal(0, 0.03, (*size, 3))
        return (to_array(resize(to_tensor(lr.rgb), size)) + noise).clip(0, 1).astype(np.float32)
