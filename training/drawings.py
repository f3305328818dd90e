"""Draw pictures of what photographs lack: text, line art, flat colours, gradients and windows.

    python -m training.drawings FOLDER --count 96

A network trained on photographs alone gives letters coloured fringes and flat colours a texture.
"""

import argparse
import string
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import matplotlib
import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from ccsr.degradation.draws import chance, choose, generator_for, random_float, random_int
from ccsr.images.picture import picture_from_array
from ccsr.images.writing import save_png
from ccsr.program import exit_code, positive_int, program
from ccsr.whole_file import make_folder, refuse_filled

SIDE = 512
"""Of a drawing, in pixels."""
SUPERSAMPLING = 2
"""Drawings are made this many times as large and reduced, so that their edges are smooth."""
FONTS = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
FONT_PATTERNS = ("DejaVuSans*.ttf", "DejaVuSerif*.ttf", "STIXGeneral*.ttf")
FONT_SIZES = (10, 64)
"""Pixels."""
BLACK_ON_WHITE_SHARE = 0.5
"""Of drawings that have two colours; the others have any."""

Colour = tuple[int, int, int]
Draw = Callable[[ImageDraw.ImageDraw, int, torch.Generator], None]
"""Draws into a square of so many pixels a side."""


def drawing(seed: int, index: int, side: int = SIDE) -> Image.Image:
    """One drawing, RGB, of `side` pixels: a function of seed and index."""
    generator = generator_for(seed, index)
    large = side * SUPERSAMPLING
    image = Image.new("RGB", (large, large), random_colour(generator))
    choose(generator, KINDS)(ImageDraw.Draw(image), large, generator)
    return image.reduce(SUPERSAMPLING)


def draw_page(draw: ImageDraw.ImageDraw, side: int, generator: torch.Generator) -> None:
    """Lines of text, as on a page or a sign."""
    ink, paper = two_colours(generator)
    draw.rectangle((0, 0, side, side), fill=paper)
    top = random_int(generator, 0, side // 16)
    while top < side:
        size = SUPERSAMPLING * random_int(generator, *FONT_SIZES)
        text = random_text(generator, 2 * side // size)
        draw.text(
            (random_int(generator, 0, side // 8), top), text, ink, random_font(generator, size)
        )
        top += round(size * random_float(generator, 1.1, 1.8))


def draw_lines(draw: ImageDraw.ImageDraw, side: int, generator: torch.Generator) -> None:
    """Line art: strokes, arcs, ellipses and hatching of one colour."""
    ink, paper = two_colours(generator)
    draw.rectangle((0, 0, side, side), fill=paper)
    for _ in range(random_int(generator, 20, 60)):
        width = SUPERSAMPLING * random_int(generator, 1, 5)
        box = random_box(generator, side)
        kind = choose(generator, ("stroke", "ellipse", "arc", "hatching"))
        if kind == "stroke":
            draw.line(box, ink, width)
        elif kind == "ellipse":
            draw.ellipse(box, outline=ink, width=width)
        elif kind == "arc":
            start = random_int(generator, 0, 359)
            draw.arc(box, start, start + random_int(generator, 30, 270), ink, width)
        else:
            hatch(draw, box, ink, width, width * random_int(generator, 2, 6))


def hatch(draw: ImageDraw.ImageDraw, box: Sequence[int], ink: Colour, width: int, gap: int) -> None:
    """Vertical lines across a box."""
    left, top, right, bottom = box
    for x in range(left, right, gap):
        draw.line((x, top, x, bottom), ink, width)


def draw_shapes(draw: ImageDraw.ImageDraw, side: int, generator: torch.Generator) -> None:
    """Flat shapes over one another."""
    for _ in range(random_int(generator, 8, 30)):
        box, colour = random_box(generator, side), random_colour(generator)
        kind = choose(generator, ("rectangle", "ellipse", "triangle"))
        if kind == "triangle":
            draw.polygon([*box, *random_box(generator, side)[:2]], fill=colour)
        else:
            {"rectangle": draw.rectangle, "ellipse": draw.ellipse}[kind](box, fill=colour)


def draw_gradients(draw: ImageDraw.ImageDraw, side: int, generator: torch.Generator) -> None:
    """Bands in which one colour becomes another, each row of one colour."""
    top = 0
    while top < side:
        height = random_int(generator, side // 8, side)
        first, last = random_colour(generator), random_colour(generator)
        for row in range(height):
            mixed = (a + (b - a) * row / height for a, b in zip(first, last, strict=True))
            red, green, blue = (round(level) for level in mixed)
            draw.line((0, top + row, side, top + row), (red, green, blue))
        top += height


def draw_windows(draw: ImageDraw.ImageDraw, side: int, generator: torch.Generator) -> None:
    """Panels with a border, a title and small text, as on a screen."""
    for _ in range(random_int(generator, 3, 7)):
        left, top, right, bottom = random_box(generator, side)
        ink, paper = two_colours(generator)
        draw.rectangle((left, top, right, bottom), paper, ink, SUPERSAMPLING)
        size = SUPERSAMPLING * random_int(generator, 11, 20)
        draw.rectangle((left, top, right, min(top + 2 * size, bottom)), random_colour(generator))
        font = random_font(generator, size)
        for line in range(top + size // 2, bottom - 2 * size, round(1.5 * size)):
            text = random_text(generator, max(1, (right - left) * 3 // (2 * size)))
            draw.text((left + size, line), text, ink, font)


KINDS: tuple[Draw, ...] = (draw_page, draw_lines, draw_shapes, draw_gradients, draw_windows)


def two_colours(generator: torch.Generator) -> tuple[Colour, Colour]:
    """Ink and paper: black and white, the reverse, or any two."""
    if not chance(generator, BLACK_ON_WHITE_SHARE):
        return random_colour(generator), random_colour(generator)
    black, white = (0, 0, 0), (255, 255, 255)
    return choose(generator, ((black, white), (white, black)), (0.8, 0.2))


def random_colour(generator: torch.Generator) -> Colour:
    """Any colour, or for a fifth of the draws white, black or grey."""
    if chance(generator, 0.2):
        level = choose(generator, (0, 255, random_int(generator, 0, 255)))
        return (level, level, level)
    red, green, blue = (random_int(generator, 0, 255) for _ in range(3))
    return (red, green, blue)


def random_box(generator: torch.Generator, side: int) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of a box of at least a sixteenth of the side."""
    least = side // 16
    left, top = (random_int(generator, -least, side - least) for _ in range(2))
    width, height = (random_int(generator, least, side // 2) for _ in range(2))
    return (left, top, left + width, top + height)


def random_text(generator: torch.Generator, length: int) -> str:
    """Words of random letters and figures, `length` characters in all."""
    alphabet = string.ascii_letters + string.digits + string.ascii_lowercase + "     .,:-%&()"
    indices = torch.randint(len(alphabet), (length,), generator=generator)
    return "".join(alphabet[i] for i in indices.tolist())


def random_font(generator: torch.Generator, size: int) -> ImageFont.FreeTypeFont:
    """One of matplotlib's fonts."""
    files = tuple(sorted(file for pattern in FONT_PATTERNS for file in FONTS.glob(pattern)))
    return ImageFont.truetype(str(choose(generator, files)), size)


def write_drawings(folder: Path, count: int, seed: int) -> Iterator[Path]:
    """Write drawings 0 to count-1 as PNG into a new folder; yields each path.

    Raises:
        FileExistsError: If there is something in the folder.
    """
    refuse_filled(folder)
    make_folder(folder)
    for index in range(count):
        path = folder / f"drawing-{index:04d}.png"
        save_png(path, picture_from_array(np.asarray(drawing(seed, index))))
        yield path


def main(arguments: Sequence[str] | None = None) -> int:
    """Write drawings; exit code 0, 2 after bad input."""
    parser = program("python -m training.drawings", __doc__)
    parser.add_argument("folder", type=Path, help="new folder")
    parser.add_argument("--count", type=positive_int, default=96, help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    options = parser.parse_args(arguments)
    return exit_code(parser.prog, lambda: write(options))


def write(options: argparse.Namespace) -> None:
    """Write drawings, and print the path of each."""
    for path in write_drawings(options.folder, options.count, options.seed):
        print(path)


if __name__ == "__main__":
    sys.exit(main())
