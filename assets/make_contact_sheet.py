"""Look at a model's results side by side at 1:1: `python assets/make_contact_sheet.py`.

Rows are the examples of the page and pictures drawn here, in which artefacts are seen best: text,
line art, flat colours and gradients. Columns are input, bicubic enlargement, V2 and CCSR. With a
folder of other pictures these are shown instead.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

# Run as a script, Python finds only what lies beside this file.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from sheet import column_titles, enlargements

from ccsr.config import COMPACT
from ccsr.degradation.folder import SUFFIXES, picture_paths
from ccsr.images.picture import Picture, Size, picture_from_array
from ccsr.images.reading import load_picture
from ccsr.images.tensors import to_uint8
from ccsr.inference.engine import ModelEngine, load_engine
from ccsr.inference.events import Restored

FOLDER = Path(__file__).resolve().parent
SIDE = 256
"""Of what is shown of a result, cut from its centre, in pixels."""
DRAWN_SIDE = 96
"""Of a drawn picture, in pixels."""
TITLES = ("input", "bicubic", "V2", "CCSR")
FLAT_COLOURS = ("white", "black", "#c01818", "#101840", "#808080", "#e0a020")


def main() -> None:
    """Write the sheet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default=COMPACT, help="default: %(default)s")
    parser.add_argument("--pictures", type=Path, metavar="FOLDER", help="in place of the examples")
    parser.add_argument("--output", type=Path, default=FOLDER / "compact" / "contact_sheet.jpg",
                        help="default: %(default)s")  # fmt: skip
    options = parser.parse_args()
    engine = load_engine(options.model)
    pictures = examples() if options.pictures is None else in_folder(options.pictures)
    rows = [np.concatenate(panels(engine, picture), axis=1) for picture in pictures]
    sheet = np.concatenate([column_titles(TITLES, rows[0].shape[1]), *rows], axis=0)
    Image.fromarray(sheet).save(options.output, quality=90)


def examples() -> Iterator[Picture]:
    """The examples of the page and the drawn pictures."""
    for path in sorted((FOLDER / "examples").iterdir()):
        if path.suffix in SUFFIXES and not path.stem.endswith("-reference"):
            yield load_picture(path)
    for drawing in (text(), line_art(), flat_colours(), gradient()):
        yield picture_from_array(np.asarray(drawing))


def in_folder(folder: Path) -> Iterator[Picture]:
    """The pictures in a folder and its subfolders."""
    return map(load_picture, picture_paths(folder))


def text() -> Image.Image:
    """Black text on white."""
    image, draw = blank()
    for line, size in enumerate((8, 10, 12, 16, 20)):
        at = (3, 3 + line * 18)
        draw.text(at, "Ripe figs, 12.80", fill="black", font=ImageFont.load_default(size))
    return image


def line_art() -> Image.Image:
    """Black lines and circles on white."""
    image, draw = blank()
    for radius in range(6, 44, 6):
        box = (48 - radius, 48 - radius, 48 + radius, 48 + radius)
        draw.ellipse(box, outline="black")
    for offset in range(0, 96, 12):
        draw.line((0, offset, offset, 95), fill="black")
    return image


def flat_colours() -> Image.Image:
    """Fields of one colour each."""
    image, draw = blank()
    for number, colour in enumerate(FLAT_COLOURS):
        top, left = 48 * (number // 3), 32 * (number % 3)
        draw.rectangle((left, top, left + 31, top + 47), fill=colour)
    return image


def gradient() -> Image.Image:
    """A night sky: a smooth gradient of dark blues."""
    down = np.linspace(0, 1, DRAWN_SIDE)[:, None, None] * np.ones((1, DRAWN_SIDE, 1))
    return Image.fromarray((np.array([8, 10, 40]) + down * np.array([40, 50, 70])).astype(np.uint8))


def blank() -> tuple[Image.Image, ImageDraw.ImageDraw]:
    """A white picture, and what draws on it."""
    image = Image.new("RGB", (DRAWN_SIDE, DRAWN_SIDE), "white")
    return image, ImageDraw.Draw(image)


def panels(engine: ModelEngine, picture: Picture) -> list[np.ndarray]:
    """The centre of a picture by the four columns, [SIDE,SIDE,3] uint8 each."""
    results: list[np.ndarray] = []
    for variant in ("v2", "ccsr"):
        for event in engine.run(picture, engine.info.defaults.replace(variant=variant), (0,)):
            if isinstance(event, Restored):
                results.append(to_uint8(event.picture.rgb))
    inputs = enlargements(picture.rgb, Size(*results[0].shape[:2]))
    return [centre(panel) for panel in (*inputs, *results)]


def centre(panel: np.ndarray) -> np.ndarray:
    """The central square of a panel [H,W,3], on white where it is smaller."""
    top, left = (max(length - SIDE, 0) // 2 for length in panel.shape[:2])
    cut = panel[top : top + SIDE, left : left + SIDE]
    square = np.full((SIDE, SIDE, 3), 255, np.uint8)
    square[: cut.shape[0], : cut.shape[1]] = cut
    return square


if __name__ == "__main__":
    main()
