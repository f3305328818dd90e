"""The examples: pictures that ship, with their true pictures and results where there are some."""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from PIL import Image

from ccsr.config import COMPACT, SamplingConfig
from ccsr.inference.events import ModelInfo

FOLDER = Path(__file__).resolve().parents[2] / "assets" / "examples"
RESULTS = FOLDER / "results"


@dataclass(frozen=True)
class Example:
    """A picture that ships."""

    file: str
    """Name of its file."""
    title: str
    about: str
    """What to look at, and how good the model is there."""

    @property
    def picture(self) -> Path:
        """The picture."""
        return FOLDER / self.file

    @property
    def reference(self) -> Path | None:
        """The true picture, exactly four times as large."""
        path = FOLDER / f"{self.picture.stem}-reference.png"
        return path if path.is_file() else None

    @property
    def result(self) -> Path:
        """What the model that ships made of it, compressed."""
        return RESULTS / f"{self.picture.stem}.webp"

    @property
    def bicubic(self) -> Path:
        """Its bicubic enlargement, compressed."""
        return RESULTS / f"{self.picture.stem}-bicubic.webp"


EXAMPLES = (
    Example(
        "portrait.png",
        "Portrait",
        "A clean, small photograph, which this model is good at. Its true picture is set as "
        "reference: the other tabs measure against it.",
    ),
    Example(
        "coffee.png",
        "Coffee",
        "Smooth shapes and sharp edges, which this model is good at. Its true picture is set as "
        "reference.",
    ),
    Example(
        "drawing.png",
        "Drawing",
        "Letters and lines: most edges become sharp, the finest stripes do not become true.",
    ),
    Example(
        "cat.jpg",
        "Cat",
        "A compressed photograph: eyes and fur become sharper, but which strands there are is a "
        "guess.",
    ),
    Example(
        "night.jpg",
        "Night (hard)",
        "This model is not good here. Noise and compression hide the lattice of the towers, and "
        "what it draws instead is made up.",
    ),
    Example(
        "gravel.png",
        "Gravel (hard)",
        "This model is not good here. The texture is finer than the pixels, so it is invented, and "
        "differently with every seed: see Seed consistency.",
    ),
)
"""In the order of the page, the first of which it opens with."""


@dataclass(frozen=True)
class Made:
    """What made the results that ship."""

    weights: str
    """Of `weights_hash`."""
    config: SamplingConfig
    seed: int


def first_side(info: ModelInfo) -> int | None:
    """The longest side of the result that the page opens with; None if it opens with none."""
    if info.name != COMPACT:
        return None
    with Image.open(EXAMPLES[0].result) as result:
        return max(result.size)


@cache
def made() -> Made:
    """What made the results that ship."""
    found = json.loads((RESULTS / "made.json").read_text())
    return Made(found["weights"], SamplingConfig(**found["config"]), found["seed"])
