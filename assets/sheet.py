"""Parts of sheets of pictures: a line of titles, and enlargements of an input beside results."""

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ccsr.images.picture import Size
from ccsr.images.tensors import resize, to_array, to_tensor, to_uint8

TITLE_HEIGHT = 22


def column_titles(titles: tuple[str, ...], width: int) -> np.ndarray:
    """Titles of columns of equal width, [TITLE_HEIGHT,width,3] uint8."""
    image = Image.new("RGB", (width, TITLE_HEIGHT), "white")
    draw = ImageDraw.Draw(image)
    for number, title in enumerate(titles):
        at = (4 + number * width // len(titles), 4)
        draw.text(at, title, fill="black", font=ImageFont.load_default(12))
    return np.asarray(image)


def enlargements(lr: np.ndarray, size: Size) -> tuple[np.ndarray, np.ndarray]:
    """LR [h,w,3] in [0,1] at the size of a result, uint8: each pixel as a block, and bicubic."""
    shape = (size.width, size.height)
    blocks = Image.fromarray(to_uint8(lr)).resize(shape, Image.Resampling.NEAREST)
    return np.asarray(blocks), to_uint8(to_array(resize(to_tensor(lr), size)))
