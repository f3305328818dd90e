"""Contact sheet of a degradation model: draws of one picture, each with its parameters.

    python -m ccsr.degradation.contact_sheet PICTURE SHEET.png --degradation real-esrgan --count 12

The first cell is the bicubic reduction. Draw i of the sheet is (seed, i), as in a test set.
"""

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont

from ccsr.config import DegradationModel
from ccsr.degradation.draws import generator_for
from ccsr.degradation.folder import MAX_HR_PIXELS
from ccsr.degradation.models import draw
from ccsr.degradation.operations import Degradation
from ccsr.degradation.options import add_draw
from ccsr.images.reading import load_picture
from ccsr.images.tensors import to_array, to_tensor, to_uint8
from ccsr.program import exit_code, positive_int, program
from ccsr.whole_file import whole_file

COLUMNS = 4
CELL_PX = 288
"""Width of a picture."""
LINES = 11
"""Lines of text below a picture: the title, and the most operations of a degradation."""
LINE_PX, FONT_PX = 14, 11
MARGIN_PX = 6


def draws(model: DegradationModel, scale: int, seed: int, count: int) -> list[Degradation]:
    """The bicubic reduction, then draws 0 to count-1 of the model."""
    reduction = draw("bicubic", scale, generator_for(seed))
    return [reduction] + [draw(model, scale, generator_for(seed, i)) for i in range(count)]


def contact_sheet(hr: torch.Tensor, degradations: Sequence[Degradation]) -> Image.Image:
    """One cell a degradation: the LR of hr [1,3,H,W], enlarged without smoothing, and its text."""
    picture_px = max(round(CELL_PX * hr.shape[2] / hr.shape[3]), 1)
    width, height = CELL_PX + MARGIN_PX, picture_px + LINES * LINE_PX + MARGIN_PX
    rows = math.ceil(len(degradations) / COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * width, rows * height), "white")
    writer, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=FONT_PX)
    for number, degradation in enumerate(degradations):
        row, column = divmod(number, COLUMNS)
        left, top = column * width, row * height
        lr = Image.fromarray(to_uint8(to_array(degradation.apply(hr))))
        sheet.paste(lr.resize((CELL_PX, picture_px), Image.Resampling.NEAREST), (left, top))
        title = degradation.model if number == 0 else f"{degradation.model} {number - 1}"
        text = "\n".join([title, *map(str, degradation.operations)])
        writer.text((left + 2, top + picture_px + 2), text, "black", font, spacing=2)
    return sheet


def main(arguments: Sequence[str] | None = None) -> int:
    """Write a contact sheet; exit code 0, or 2 after bad input."""
    parser = program("python -m ccsr.degradation.contact_sheet", __doc__)
    parser.add_argument("picture", type=Path, metavar="PICTURE", help="HR picture")
    parser.add_argument("sheet", type=Path, metavar="SHEET.png", help="file to write")
    parser.add_argument(
        "--count", type=positive_int, default=11, help="draws; default: %(default)s"
    )
    add_draw(parser)
    options = parser.parse_args(arguments)
    return exit_code(parser.prog, lambda: write(options))


def write(options: argparse.Namespace) -> None:
    """Write the contact sheet."""
    hr = to_tensor(load_picture(options.picture, max_pixels=MAX_HR_PIXELS).rgb)
    degradations = draws(options.degradation, options.scale, options.seed, options.count)
    sheet = contact_sheet(hr, degradations)
    with whole_file(options.sheet, overwrite=True) as file:
        sheet.save(file, "PNG")


if __name__ == "__main__":
    sys.exit(main())
