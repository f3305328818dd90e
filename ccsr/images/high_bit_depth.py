"""Pictures of more than 8 bits a channel, decoded at full precision by Pillow.

Pillow has modes of 16 bits for grey alone. Of colours, and of grey with alpha, it keeps one byte of
each two.
"""

import sys
from dataclasses import dataclass, replace
from typing import Any, BinaryIO

import numpy as np
from PIL import ImageFile
from PIL.TiffImagePlugin import TiffImageFile

from ccsr.images.formats import layout, open_picture, upright
from ccsr.images.picture import PictureError

_SWAPPED = "B" if sys.byteorder == "little" else "L"
_OTHER_BYTE = {
    f"{mode};16{order}": f"{mode};16{other}"
    for mode in ("RGB", "RGBA", "RGBX")
    for order, other in (("B", "L"), ("L", "B"), ("N", _SWAPPED))
}
"""Pillow's name of a 16-bit layout -> the name under which it keeps the other, lower byte."""
_GREY_WITH_ALPHA = "LA;16B"
BITS, PHOTOMETRIC, PLANAR = 258, 262, 284
"""Tags of TIFF: BitsPerSample, PhotometricInterpretation, PlanarConfiguration."""
WHITE_IS_ZERO, SEPARATE = 0, 2
"""Values of the last two."""


@dataclass(frozen=True)
class Samples:
    """What a file of more than 8 bits holds, upright, before its colour profile."""

    colour: np.ndarray
    """[H,W,1|3] float32 in [0,1]."""
    alpha: np.ndarray | None = None
    """[H,W] float32 in [0,1], not multiplied into the colour."""
    icc: bytes | None = None
    bits: int = 16
    notes: tuple[str, ...] = ()


def read_samples(name: str, file: BinaryIO, image: ImageFile.ImageFile) -> Samples | None:
    """Decode the picture in `file` that Pillow opened as `image`; None if it has 8 bits.

    Raises:
        PictureError: If its numbers cannot be read rightly.
    """
    if isinstance(image, TiffImageFile):
        return _read_tiff(name, file, image)
    samples = _read(file, image, 65535)
    clear = image.info.get("transparency")
    if samples is None or clear is None:
        return samples
    # A PNG without an alpha channel may name one colour that is transparent.
    opaque = (np.rint(samples.colour * 65535) != clear).any(axis=2)
    return replace(samples, alpha=opaque.astype(np.float32))


def _read_tiff(name: str, file: BinaryIO, image: TiffImageFile) -> Samples | None:
    """Read a TIFF whose compression only Pillow decodes."""
    bits = max(image.tag_v2.get(BITS, (1,)))
    if bits <= 8:
        return None
    if image.mode == "I":
        raise PictureError(
            f"{name} has numbers of {bits} bits with a sign; save it with 16 bits without sign"
        )
    if image.tag_v2.get(PLANAR) == SEPARATE and len(image.getbands()) > 1:
        raise PictureError(
            f"{name} has its {bits}-bit channels apart from each other and compressed, which "
            "cannot be read; save it uncompressed, or as PNG"
        )
    samples = _read(file, image, 2**bits - 1)
    if samples is not None and image.tag_v2.get(PHOTOMETRIC) == WHITE_IS_ZERO:
        return replace(samples, colour=1 - samples.colour)
    return samples


def _read(file: BinaryIO, image: ImageFile.ImageFile, top: int) -> Samples | None:
    """Read levels from 0 to `top`, or floats."""
    icc = image.info.get("icc_profile")
    if image.mode.startswith(("I", "F")):
        values = np.asarray(upright(image)).astype(np.float32)[..., None]
        return Samples(values if image.mode == "F" else values / top, icc=icc)
    if layout(image) == _GREY_WITH_ALPHA:
        grey, alpha = np.moveaxis(_read_grey_with_alpha(file), 2, 0)
        return Samples(grey[..., None], alpha, icc)
    if layout(image) not in _OTHER_BYTE:
        return None
    values = _read_colour(file, image) / top
    has_alpha = image.mode == "RGBA"
    return Samples(
        values[..., :3], np.ascontiguousarray(values[..., 3]) if has_alpha else None, icc
    )


def _read_colour(file: BinaryIO, image: ImageFile.ImageFile) -> np.ndarray:
    """Read 16-bit RGB(A): [H,W,3|4] float32 in [0,65535].

    Pillow keeps one byte of each two, chosen by the byte order it assumes, so a second reading in
    the opposite order gives the lower bytes.
    """
    with open_picture(file) as again:
        again.tile = [tile._replace(args=_in_other_order(tile.args)) for tile in again.tile]
        low = np.asarray(upright(again))
    high = np.asarray(upright(image))
    return high.astype(np.float32) * 256 + low


def _in_other_order(args: tuple[object, ...] | str | None) -> tuple[object, ...] | str:
    if isinstance(args, tuple):
        return (_OTHER_BYTE[str(args[0])], *args[1:])
    return _OTHER_BYTE[str(args)]


def _read_grey_with_alpha(file: BinaryIO) -> np.ndarray:
    """Read a PNG of 16-bit grey and alpha: [H,W,2] float32 in [0,1].

    Its four bytes a pixel are read as if they were four channels.
    """
    with open_picture(file) as opened:
        again: Any = opened
        again._mode = "RGBA"
        again.tile = [tile._replace(args="RGBA") for tile in opened.tile]
        four = np.asarray(upright(again)).astype(np.float32)
    return (four[..., 0::2] * 256 + four[..., 1::2]) / 65535
