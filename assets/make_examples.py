"""Write the pictures of assets/examples anew: small and poor, as people bring them.

The photographs come with scikit-image and are free of rights (LICENSES.md beside this file);
the drawing is made here. `<name>.png` and `<name>.jpg` are inputs; `<name>-reference.png` is
the true picture, exactly four times as large. The same library versions give the same files:

    python assets/make_examples.py
"""

import math
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from skimage import data

# Run as a script, Python finds only what lies beside this file.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ccsr.images.picture import Picture, Size, picture_from_array
from ccsr.images.tensors import resize, to_array, to_tensor, to_uint8
from ccsr.images.writing import save_png

FOLDER = Path(__file__).resolve().parent / "examples"
DRAWING_SIZE = Size(height=480, width=640)
INK, PAPER, RED, BLUE = (28, 28, 36), (250, 247, 240), (196, 48, 40), (36, 84, 168)


def main() -> None:
    """Write all files."""
    FOLDER.mkdir(exist_ok=True)
    portrait, coffee = photo("astronaut")[:400, 40:440], photo("coffee")[:, 60:540]
    for name, hr in (("portrait", portrait), ("coffee", coffee)):
        write_png(f"{name}-reference", hr)
        write_png(name, reduced(hr, 4))
    write_png("gravel", reduced(photo("gravel"), 3))
    write_png("drawing", reduced(picture_from_array(drawing()).rgb, 4))
    write_jpeg("cat", reduced(photo("chelsea"), 2.5), quality=45)
    write_jpeg("night", noisy(reduced(photo("rocket"), 4), 0.025), quality=70)


def photo(name: str) -> np.ndarray:
    """A photograph of scikit-image, [H,W,3] in [0,1]."""
    return picture_from_array(getattr(data, name)()).rgb


def reduced(rgb: np.ndarray, times: float) -> np.ndarray:
    """Make rgb [H,W,3] that many times smaller, bicubically."""
    size = Size(round(rgb.shape[0] / times), round(rgb.shape[1] / times))
    return to_array(resize(to_tensor(rgb), size))


def noisy(rgb: np.ndarray, std: float) -> np.ndarray:
    """Add the noise of a small sensor, `std` of the range; the same noise every time."""
    noise = np.random.default_rng(0).normal(0, std, rgb.shape)
    return (rgb + noise).astype(np.float32)


def write_png(name: str, rgb: np.ndarray) -> None:
    """Write rgb [H,W,3] without loss."""
    save_png(FOLDER / f"{name}.png", Picture(np.ascontiguousarray(rgb)), overwrite=True)


def write_jpeg(name: str, lr: np.ndarray, *, quality: int) -> None:
    """Write lr [H,W,3] with the marks of compression."""
    Image.fromarray(to_uint8(lr)).save(FOLDER / f"{name}.jpg", quality=quality)


def drawing() -> np.ndarray:
    """Text and line art, whose edges show at once what an upscaler does: [H,W,3] uint8."""
    image = Image.new("RGB", (DRAWING_SIZE.width, DRAWING_SIZE.height), PAPER)
    draw = ImageDraw.Draw(image)
    draw.rectangle((12, 12, 627, 467), outline=INK, width=4)
    # The font that comes with Pillow, so that the drawing is the same on every machine.
    lines = (("Super", 84, INK), ("resolution", 60, RED), ("1 2 3 4 5 6 7 8 9", 36, INK))
    top = 28
    for text, size, colour in lines:
        draw.text((36, top), text, fill=colour, font=ImageFont.load_default(size))
        top += round(size * 1.2)
    draw_fan(draw, (520, 130), 90)
    draw_house(draw, (40, 440))
    for index in range(12):
        draw.rectangle((290 + 12 * index, 300, 290 + 13 * index, 440), fill=INK)
    for index, radius in enumerate(range(64, 8, -12)):
        box = (540 - radius, 370 - radius, 540 + radius, 370 + radius)
        draw.ellipse(box, fill=(BLUE, PAPER)[index % 2])
    return np.asarray(image)


def draw_fan(draw: ImageDraw.ImageDraw, centre: tuple[int, int], radius: int) -> None:
    """Lines at all angles from one point."""
    for index in range(24):
        angle = 2 * math.pi * index / 24
        end = (centre[0] + radius * math.cos(angle), centre[1] + radius * math.sin(angle))
        draw.line((*centre, *end), fill=BLUE, width=4)


def draw_house(draw: ImageDraw.ImageDraw, corner: tuple[int, int]) -> None:
    """A house, its lower left corner at `corner`."""
    left, bottom = corner
    draw.rectangle((left, bottom - 100, left + 180, bottom), outline=INK, width=5)
    roof = ((left - 10, bottom - 100), (left + 90, bottom - 165), (left + 190, bottom - 100))
    draw.polygon(roof, fill=RED, outline=INK, width=5)
    draw.rectangle((left + 110, bottom - 62, left + 150, bottom), fill=BLUE)
    draw.rectangle((left + 28, bottom - 72, left + 76, bottom - 28), outline=INK, width=4)
    draw.line((left + 52, bottom - 72, left + 52, bottom - 28), fill=INK, width=4)
    draw.line((left + 28, bottom - 50, left + 76, bottom - 50), fill=INK, width=4)


if __name__ == "__main__":
    main()
