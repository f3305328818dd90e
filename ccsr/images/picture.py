"""A picture in memory: an array [H,W,3] in [0,1], sRGB, upright, with its alpha apart.

Sizes are always (height, width), unlike those of Pillow.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from ccsr.errors import InputError
from ccsr.images.metadata import Metadata

MIN_SIDE = 16
MAX_SIDE = 20_000
MAX_INPUT_PIXELS = 2048 * 2048


class PictureError(InputError):
    """An input that cannot be used; the message says what was expected, what came, what to do."""


class Size(NamedTuple):
    """Pixels on each side."""

    height: int
    width: int

    def __str__(self) -> str:
        """Width x height, as in messages and file properties."""
        return f"{self.width}x{self.height}"


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture in memory.

    Raises:
        InputError: If the arrays do not have the shapes and types below.
    """

    rgb: np.ndarray
    """[H,W,3] float32 in [0,1], sRGB."""
    alpha: np.ndarray | None = None
    """[H,W] float32 in [0,1]: 0 is transparent; None if the file had no transparency."""
    bits: int = 8
    """8 or 16 bits a channel: what the file held, and what the result is written with."""
    notes: tuple[str, ...] = ()
    """Messages about how the file was read, such as that only its first frame is used."""
    metadata: Metadata | None = None
    """What the file says about the picture, for its results."""

    def __post_init__(self) -> None:
        """Check the shapes and types of the arrays."""
        if self.rgb.ndim != 3 or self.rgb.shape[2] != 3 or self.rgb.dtype != np.float32:
            raise InputError(
                f"rgb must be [H,W,3] float32, got {list(self.rgb.shape)} {self.rgb.dtype}; "
                "picture_from_array takes other arrays"
            )
        alpha = self.alpha
        if alpha is not None and (alpha.shape != self.rgb.shape[:2] or alpha.dtype != np.float32):
            raise InputError(
                f"alpha must be {list(self.rgb.shape[:2])} float32, "
                f"got {list(alpha.shape)} {alpha.dtype}"
            )
        if self.bits not in (8, 16):
            raise InputError(f"bits must be 8 or 16, got {self.bits}")

    @property
    def size(self) -> Size:
        """Height and width."""
        return Size(self.rgb.shape[0], self.rgb.shape[1])

    @cached_property
    def visible_rgb(self) -> np.ndarray:
        """rgb, where pixels of alpha 0 have the colour of the nearest visible one, [H,W,3].

        This is what is enlarged: the colour under a hidden pixel is arbitrary, and would reach the
        visible ones beside it.
        """
        if self.alpha is None or self.alpha.all() or not self.alpha.any():
            return self.rgb
        # Processes that only read files have no memory for it.
        from scipy.ndimage import distance_transform_edt

        hidden = self.alpha == 0
        nearest = distance_transform_edt(hidden, return_distances=False, return_indices=True)
        row, column = np.asarray(nearest)
        return self.rgb[row, column]

    @cached_property
    def is_grey(self) -> bool:
        """Whether the three channels are equal wherever the picture is visible."""
        red, green, blue = np.moveaxis(self.visible_rgb, 2, 0)
        return np.array_equal(red, green) and np.array_equal(green, blue)


def picture_from_array(array: np.ndarray) -> Picture:
    """Make a picture from an array.

    Args:
        array: [H,W], [H,W,3] or [H,W,4] (with alpha): bool, uint8, uint16, or floats in [0,1].
            Pixels are taken as sRGB. For a Pillow image, `numpy.asarray(image)`.

    Returns:
        The picture; 16 bits unless the array is bool or uint8.

    Raises:
        PictureError: If shape, type or values differ from that, or a side is below MIN_SIDE.
    """
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (3, 4)):
        raise PictureError(
            f"a picture must be [H,W], [H,W,3] or [H,W,4], got {list(array.shape)}; "
            "put the channels last"
        )
    check_size("the array", Size(array.shape[0], array.shape[1]), array.size)
    levels = array if array.ndim == 3 else array[..., None]
    if array.dtype == bool:
        return picture_from_levels(levels.astype(np.float32), 8)
    if array.dtype.kind == "u" and array.itemsize <= 2:
        top = np.iinfo(array.dtype).max
        return picture_from_levels(levels.astype(np.float32) / top, 8 * array.itemsize)
    if not np.issubdtype(array.dtype, np.floating):
        raise PictureError(
            f"a picture must be bool, uint8, uint16 or float, got {array.dtype}; convert it first"
        )
    check_unit_range("the array", levels)
    return picture_from_levels(levels.astype(np.float32), 16)


def picture_from_levels(levels: np.ndarray, bits: int) -> Picture:
    """Split levels [H,W,1|3|4] float32 in [0,1] into colour and alpha."""
    rgb = np.ascontiguousarray(np.broadcast_to(levels[..., :3], (*levels.shape[:2], 3)))
    alpha = np.ascontiguousarray(levels[..., 3]) if levels.shape[2] == 4 else None
    return Picture(rgb, alpha, bits)


def noise_picture(side: int) -> Picture:
    """A square of uniform noise, the same every time: for runs whose result does not matter."""
    levels = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
    return picture_from_array(levels)


def check_size(name: str, size: Size, max_pixels: int) -> None:
    """Check that the picture called `name` has sides from MIN_SIDE to MAX_SIDE.

    Raises:
        PictureError: If a side is out of that range, or the pixels are more than `max_pixels`.
    """
    if min(size) < MIN_SIDE:
        raise PictureError(
            f"{name} is {size} pixels; pictures from {MIN_SIDE}x{MIN_SIDE} can be upscaled"
        )
    if size.height * size.width > max_pixels or max(size) > MAX_SIDE:
        raise PictureError(
            f"{name} is {size} pixels; the limit is {max_pixels:,} pixels "
            f"and {MAX_SIDE:,} on a side; make it smaller or cut out a part"
        )


def check_unit_range(name: str, levels: np.ndarray) -> None:
    """Check that the levels of the picture called `name` are in [0,1].

    Raises:
        PictureError: If one is not, or is NaN.
    """
    low, high = float(levels.min()), float(levels.max())
    # Written so that NaN, which compares false with everything, is refused too.
    if not (low >= 0.0 and high <= 1.0):
        raise PictureError(
            f"{name} has values from {low:g} to {high:g}; floating-point pictures must be "
            "in [0, 1]: scale it, or save it with 8 or 16 bits a channel"
        )
