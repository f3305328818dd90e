"""Maps of the standard deviation over the seeds, as pictures.

Maps are [H,W] in [0,1], pictures [H,W,3] float32 in [0,1]. Dark is stable, bright is where the
seeds differ. Scales are labelled in grey levels, 255 times the standard deviation.
"""

import functools
import math

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from skimage.color import lab2rgb, rgb2gray

GREY_LEVELS = 255
UNIT = "grey levels (0-255)"

_SHORTEST_WIDTH = 240
"""Least width of a picture with a scale: its labels need as much."""
_PAPER = (17, 17, 22)
_INK = (235, 235, 235)


@functools.cache
def color_table() -> np.ndarray:
    """256 colours, [256,3] float32 in [0,1]: even steps of CIELAB lightness from 6 to 96.

    The hue turns from violet over red to yellow. The chroma stays where sRGB has room at every
    lightness, so nothing is clipped and the lightness is as planned.
    """
    at = np.linspace(0, 1, 256)
    hue = np.deg2rad(300 + 163 * at)
    chroma = np.interp(at, (0, 0.15, 0.5, 0.8, 1), (16, 44, 68, 60, 24))
    lab = np.stack([6 + 90 * at, chroma * np.cos(hue), chroma * np.sin(hue)], axis=-1)
    return lab2rgb(lab).astype(np.float32)


def colors(values: np.ndarray) -> np.ndarray:
    """Turn values [...] in [0,1] into colours [...,3] float32, dark to bright.

    Equal differences of the values are equal differences of lightness; values outside are clamped.
    """
    table = color_table()
    at = np.linspace(0, 1, len(table))
    channels = [np.interp(values, at, table[:, channel]) for channel in range(3)]
    return np.stack(channels, axis=-1).astype(np.float32)


def nice_maximum(l_std_map: np.ndarray) -> float:
    """Upper end of a scale for the map [H,W]: 1, 2 or 5 times a power of ten grey levels.

    It covers 99.5 % of the pixels, and is one grey level for a map of zeros.

    Returns:
        The end in the unit of the map, above 0.
    """
    high = GREY_LEVELS * float(np.percentile(l_std_map, 99.5))
    if high < 1e-6:
        return 1 / GREY_LEVELS
    power = 10.0 ** math.floor(math.log10(high))
    # The margin keeps 5.0000001, which is 5 with an error of rounding, from becoming 10.
    factor = next(f for f in (1, 2, 5, 10) if high <= f * power * (1 + 1e-6))
    return factor * power / GREY_LEVELS


def heatmap(l_std_map: np.ndarray, maximum: float) -> np.ndarray:
    """Colour the map [H,W]; `maximum` and above is brightest -> [H,W,3].

    Raises:
        ValueError: If the map is not [H,W], or the maximum is not above 0.
    """
    if l_std_map.ndim != 2:
        raise ValueError(f"a map must be [H,W], got {list(l_std_map.shape)}")
    if not maximum > 0:
        raise ValueError(f"the maximum must be above 0, got {maximum}")
    return colors(l_std_map / maximum)


def overlay(
    rgb: np.ndarray, l_std_map: np.ndarray, maximum: float, opacity: float = 0.6
) -> np.ndarray:
    """Lay the coloured map over a grey copy of rgb [H,W,3] -> [H,W,3].

    Raises:
        ValueError: If the sizes differ, or the opacity is not in [0,1].
    """
    if rgb.shape[:2] != l_std_map.shape:
        raise ValueError(f"the map must be {list(rgb.shape[:2])}, got {list(l_std_map.shape)}")
    if not 0 <= opacity <= 1:
        raise ValueError(f"opacity must be from 0 to 1, got {opacity}")
    grey = rgb2gray(rgb)[..., None]
    mixed = (1 - opacity) * grey + opacity * heatmap(l_std_map, maximum)
    return mixed.astype(np.float32)


def with_scale(l_std_map: np.ndarray, maximum: float | None = None) -> np.ndarray:
    """Colour the map [H,W] and put its scale below -> [H',W',3].

    Args:
        l_std_map: The map; a small one is enlarged by a whole factor.
        maximum: Upper end of the scale; `nice_maximum` by default.
    """
    maximum = nice_maximum(l_std_map) if maximum is None else maximum
    return add_scale(heatmap(l_std_map, maximum), maximum)


def add_scale(rgb: np.ndarray, maximum: float) -> np.ndarray:
    """Put the scale of a map below a picture coloured by it, [H,W,3] -> [H',W',3].

    A picture narrower than its labels is enlarged by a whole factor; a very tall one is
    given margins instead.
    """
    enlarge = max(1, min(_SHORTEST_WIDTH // rgb.shape[1], 4))
    picture = np.repeat(np.repeat(rgb, enlarge, axis=0), enlarge, axis=1)
    width = max(picture.shape[1], _SHORTEST_WIDTH)
    # The picture is seen as a whole, so its labels grow with its longer side.
    scale = _draw_scale(width, max(13, round(max(picture.shape[:2]) / 42)), maximum)
    left = (width - picture.shape[1]) // 2
    margins = ((0, 0), (left, width - picture.shape[1] - left))
    paper = np.array(_PAPER, np.float32) / 255
    padded = np.stack(
        [np.pad(picture[..., c], margins, constant_values=float(paper[c])) for c in range(3)],
        axis=-1,
    )
    return np.concatenate([padded, scale]).astype(np.float32)


def _draw_scale(width: int, font_size: int, maximum: float) -> np.ndarray:
    """The strip with colour bar, three numbers and the unit: [h,width,3] float32."""
    # Labels grow with a tall picture only as far as they fit side by side.
    font_size = min(font_size, width // 18)
    font = ImageFont.load_default(max(font_size, 12))
    line = round(font_size * 1.35)
    margin, bar = round(font_size * 0.9), round(font_size * 0.9)
    strip = Image.new("RGB", (width, 2 * margin + bar + 2 * line + font_size // 3), _PAPER)
    draw = ImageDraw.Draw(strip)

    ramp = colors(np.linspace(0, 1, width - 2 * margin))
    tiled = np.round(255 * np.repeat(ramp[None], bar, axis=0)).astype(np.uint8)
    strip.paste(Image.fromarray(tiled), (margin, margin))
    box = (margin - 1, margin - 1, width - margin, margin + bar)
    draw.rectangle(box, outline=(110, 110, 118))

    below = margin + bar + font_size // 3
    top = GREY_LEVELS * maximum
    for part, anchor in ((0.0, "la"), (0.5, "ma"), (1.0, "ra")):
        across = margin + part * (width - 2 * margin)
        draw.text((across, below), f"{part * top:g}", fill=_INK, font=font, anchor=anchor)
    draw.text((width / 2, below + line), UNIT, fill=(165, 165, 172), font=font, anchor="ma")
    return np.asarray(strip).astype(np.float32) / 255
