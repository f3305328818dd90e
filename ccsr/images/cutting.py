"""Pictures made smaller before they are upscaled: shrunk, or a part of them."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from ccsr.errors import InputError
from ccsr.images.picture import MAX_SIDE, MIN_SIDE, Picture, Size
from ccsr.images.tensors import resize, to_array, to_tensor


class Box(NamedTuple):
    """A part of a picture, in pixels."""

    left: int
    top: int
    width: int
    height: int


def fitting_size(size: Size, max_pixels: float) -> Size:
    """The largest size of the same shape that has at most so many pixels.

    Raises:
        InputError: If that would be narrower than pictures may be.
    """
    factor = min(math.sqrt(max_pixels / (size.height * size.width)), MAX_SIDE / max(size), 1)
    fitting = Size(math.floor(size.height * factor), math.floor(size.width * factor))
    if min(fitting) < MIN_SIDE:
        raise InputError(f"a picture of {size} pixels is too long to be shrunk; cut out a part")
    return fitting


def shrunk(picture: Picture, size: Size) -> Picture:
    """The picture at another size, without aliasing."""
    return _with_layers(picture, lambda layers: to_array(resize(to_tensor(layers), size)))


def cut_out(picture: Picture, box: Box) -> Picture:
    """A part of the picture.

    Raises:
        InputError: If the part is not inside the picture, or smaller than pictures may be.
    """
    right, bottom = box.left + box.width, box.top + box.height
    if min(box.left, box.top) < 0 or right > picture.size.width or bottom > picture.size.height:
        raise InputError(f"the part must lie inside the picture of {picture.size} pixels")
    if min(box.width, box.height) < MIN_SIDE:
        raise InputError(f"the part must be at least {MIN_SIDE}x{MIN_SIDE} pixels")
    part = np.s_[box.top : bottom, box.left : right]
    return _with_layers(picture, lambda layers: np.ascontiguousarray(layers[part]))


def _with_layers(picture: Picture, change: Callable[[np.ndarray], np.ndarray]) -> Picture:
    """The picture after a change of [H,W,3] arrays."""
    alpha = picture.alpha
    if alpha is not None:
        alpha = np.ascontiguousarray(change(np.repeat(alpha[..., None], 3, axis=2))[..., 0])
    return replace(picture, rgb=change(picture.visible_rgb), alpha=alpha)
