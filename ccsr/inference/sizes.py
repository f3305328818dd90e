"""Sizes of results, and of the pictures that the networks work on."""

import math
from pathlib import Path
from typing import Protocol

from ccsr.config import MAX_RESULT_PIXELS, SamplingConfig
from ccsr.images.picture import Picture, PictureError, Size
from ccsr.images.reader_pool import READERS


class HasSize(Protocol):
    """A picture, or what is known of one."""

    @property
    def size(self) -> Size:
        """Height and width."""
        ...


def target_size(picture: HasSize, config: SamplingConfig) -> Size:
    """Size of the result: the input's times `scale`, rounded.

    Raises:
        PictureError: If it is too large for the memory of an ordinary computer.
    """
    size = Size(round(picture.size.height * config.scale), round(picture.size.width * config.scale))
    if size.height * size.width > MAX_RESULT_PIXELS:
        raise PictureError(
            f"a picture of {picture.size} pixels would become {size}, and the limit is "
            f"{MAX_RESULT_PIXELS:,} pixels; cut out a part, make it smaller, or lower the scale"
        )
    return size


def working_size(size: Size, shorter: int) -> Size:
    """The size that results of `size` are made at: its shorter side at least `shorter` pixels.

    Narrow strips, which would become very long, are enlarged as far as memory allows.
    """
    enough = max(shorter / min(size), 1)
    factor = min(enough, max(math.sqrt(MAX_RESULT_PIXELS / (size.height * size.width)), 1))
    return Size(math.ceil(size.height * factor), math.ceil(size.width * factor))


def load_reference(
    path: str | Path,
    picture: HasSize,
    config: SamplingConfig,
) -> Picture:
    """The true picture that results of `picture` are to be compared with.

    Args:
        path: Its file.
        picture: The low-resolution picture.
        config: The setting.

    Raises:
        PictureError: If the file is no picture, or has not the size of the results.
    """
    expected = target_size(picture, config)
    reference = READERS.picture(path, MAX_RESULT_PIXELS)
    if reference.size != expected:
        raise PictureError(
            f"{Path(path).name} is {reference.size} pixels; the reference must be {expected}, "
            f"{config.scale:g} times the input"
        )
    return reference
