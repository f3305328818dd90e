"""The line of titles above the columns of a sheet of pictures."""

import numpy as np
from PIL import Image, ImageDraw, ImageFont

TITLE_HEIGHT = 22


def column_titles(titles: tuple[str, ...], width: int) -> np.ndarray:
    """Titles of columns of equal width, [TITLE_HEIGHT,width,3] uint8."""
    image = Image.new("RGB", (width, TITLE_HEIGHT), "white")
    draw = ImageDraw.Draw(image)
    for number, title in enumerate(titles):
        at = (4 + number * width // len(titles), 4)
        draw.text(at, title, fill="black", font=ImageFont.load_default(12))
    return np.asarray(image)
