"""Heatmaps of the standard deviation over the seeds, with a colour bar.

Maps are [H,W] in [0, 0.5], pictures [H,W,3] float32 in [0,1]. Dark is stable, bright is where the
seeds differ. Colour bars are labelled in grey levels, 255 times the standard deviation.
"""

import math

import numpy as np
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize, to_rgb
from matplotlib.figure import Figure
from skimage.color import rgb2gray

from ccsr.errors import InputError

GREY_LEVELS = 255
UNIT = "grey levels (0-255)"
COLORMAP = colormaps["inferno"]
"""Perceptually uniform, with lightness that rises with the value: it also reads in grey."""

OPACITY = 0.6
"""Of a map over a picture."""
_MIN_WIDTH = 240
"""Least width in pixels of a picture with a colour bar: room for the labels."""
_BACKGROUND, _TEXT, _MUTED, _OUTLINE = "#111116", "#ebebeb", "#a5a5ac", "#6e6e76"
_DPI = 64
"""Of the figure of the colour bar; a power of two keeps widths in pixels exact in inches."""


def colors(values: np.ndarray) -> np.ndarray:
    """Colours [...,3] float32 in [0,1] of values [...] in [0,1], which are clamped."""
    return COLORMAP(values)[..., :3].astype(np.float32)


def nice_maximum(l_std_map: np.ndarray) -> float:
    """Upper end of the colour bar for the map [H,W]: 1, 2 or 5 times a power of ten grey levels.

    It covers 99.5 % of the pixels, and is one grey level for a map of zeros.

    Returns:
        The upper end in the unit of the map, above 0.
    """
    high = GREY_LEVELS * float(np.percentile(l_std_map, 99.5))
    if high < 1e-6:
        return 1 / GREY_LEVELS
    power = 10.0 ** math.floor(math.log10(high))
    # The margin keeps 5.0000001, which is 5 with a rounding error, from becoming 10.
    factor = next(f for f in (1, 2, 5, 10) if high <= f * power * (1 + 1e-6))
    return factor * power / GREY_LEVELS


def heatmap(l_std_map: np.ndarray, maximum: float) -> np.ndarray:
    """Colour the map [H,W] -> [H,W,3]; values from `maximum` up get the brightest colour.

    Raises:
        InputError: If the map is not [H,W], or the maximum is not above 0.
    """
    if l_std_map.ndim != 2:
        raise InputError(f"a map must be [H,W], got {list(l_std_map.shape)}")
    if not maximum > 0:
        raise InputError(f"the maximum must be above 0, got {maximum}")
    return colors(l_std_map / maximum)


def overlay(rgb: np.ndarray, l_std_map: np.ndarray, maximum: float) -> np.ndarray:
    """Blend the coloured map over a grey copy of rgb [H,W,3] -> [H,W,3].

    Raises:
        InputError: If the sizes differ.
    """
    if rgb.shape[:2] != l_std_map.shape:
        raise InputError(f"the map must be {list(rgb.shape[:2])}, got {list(l_std_map.shape)}")
    grey = rgb2gray(rgb)[..., None]
    mixed = (1 - OPACITY) * grey + OPACITY * heatmap(l_std_map, maximum)
    return mixed.astype(np.float32)


def with_color_bar(
    l_std_map: np.ndarray, maximum: float | None = None, alpha: np.ndarray | None = None
) -> np.ndarray:
    """Colour the map [H,W] and put a colour bar below -> [H',W',3|4].

    Args:
        l_std_map: The map; a small one is enlarged by a whole factor.
        maximum: Upper end of the colour bar; `nice_maximum` by default.
        alpha: That of the results, [H,W] in [0,1]; None: they are opaque.
    """
    maximum = nice_maximum(l_std_map) if maximum is None else maximum
    return add_color_bar(heatmap(l_std_map, maximum), maximum, alpha)


def add_color_bar(rgb: np.ndarray, maximum: float, alpha: np.ndarray | None = None) -> np.ndarray:
    """Put a colour bar from 0 to `maximum` below rgb [H,W,3] -> [H',W',3], or 4 with alpha.

    A picture narrower than the labels is enlarged by a whole factor; if it is very tall, margins
    are added at its sides instead.
    """
    levels = rgb if alpha is None else np.dstack([rgb, alpha])
    enlarge = max(1, min(_MIN_WIDTH // rgb.shape[1], 4))
    picture = np.repeat(np.repeat(levels, enlarge, axis=0), enlarge, axis=1)
    height, shown_width, channels = picture.shape
    width = max(shown_width, _MIN_WIDTH)
    # The picture is seen as a whole, so the labels grow with its longer side, as far as they fit
    # side by side.
    font_size = max(min(max(13, round(max(height, shown_width) / 42)), width // 18), 12)
    framed = np.ones((height, width, channels), np.float32)
    framed[..., :3] = to_rgb(_BACKGROUND)
    left = (width - shown_width) // 2
    framed[:, left : left + shown_width] = picture
    bar = _draw_color_bar(width, font_size, maximum)
    opaque = np.ones((*bar.shape[:2], channels - 3), np.float32)
    return np.concatenate([framed, np.dstack([bar, opaque])])


def _draw_color_bar(width: int, font_size: int, maximum: float) -> np.ndarray:
    """Colour bar with three numbers and the unit, [h,width,3] float32; sizes in pixels."""
    margin = bar_height = round(font_size * 0.9)
    height = 2 * margin + bar_height + round(font_size * 3)
    points = font_size * 72 / _DPI
    figure = Figure((width / _DPI, height / _DPI), dpi=_DPI, facecolor=_BACKGROUND)
    canvas = FigureCanvasAgg(figure)
    bottom = height - margin - bar_height
    axes = figure.add_axes(
        (margin / width, bottom / height, 1 - 2 * margin / width, bar_height / height)
    )
    top = GREY_LEVELS * maximum
    bar = figure.colorbar(
        ScalarMappable(Normalize(0, top), COLORMAP), cax=axes, orientation="horizontal"
    )
    bar.set_ticks((0, top / 2, top), labels=[f"{level:g}" for level in (0, top / 2, top)])
    bar.outline.set_edgecolor(_OUTLINE)
    axes.tick_params(length=0, pad=points / 2, labelsize=points, labelcolor=_TEXT)
    for label, side in zip(axes.get_xticklabels(), ("left", "center", "right"), strict=True):
        label.set_horizontalalignment(side)
    axes.set_xlabel(UNIT, fontsize=points, color=_MUTED, labelpad=points / 4)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].astype(np.float32) / 255
