"""TIFF files of more than 8 bits a channel, or of channels apart from each other, as samples.

https://www.itu.int/itudoc/itu-t/com16/tiff-fx/docs/tiff6.pdf. Pillow reads only some of these, and
some of them wrongly.
"""

import math
import zlib
from typing import BinaryIO

import numpy as np
from tifffile import (
    COMPRESSION,
    PHOTOMETRIC,
    PLANARCONFIG,
    PREDICTOR,
    SAMPLEFORMAT,
    TiffFile,
    TiffPage,
    TiffPages,
)

from ccsr.images.formats import CHANNELS_LEFT_OUT, FIRST_FRAME, QUARTER_TURNS, turned_size
from ccsr.images.high_bit_depth import Samples
from ccsr.images.picture import PictureError, Size, check_size

MARKS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
"""What TIFF and BigTIFF files begin with."""
_COMPRESSIONS = (COMPRESSION.NONE, COMPRESSION.DEFLATE, COMPRESSION.ADOBE_DEFLATE)
_COLOURS = {
    PHOTOMETRIC.MINISWHITE: 1,
    PHOTOMETRIC.MINISBLACK: 1,
    PHOTOMETRIC.PALETTE: 1,
    PHOTOMETRIC.RGB: 3,
}
"""Photometric interpretations that are read here, and their channels without alpha."""
_NUMBERS = ("imagelength", "imagewidth", "bitspersample", "samplesperpixel", "sampleformat",
            "planarconfig", "compression", "predictor")  # fmt: skip
"""Attributes of a page that are one number each."""
_MULTIPLIED, _APART = 1, 2
"""Kinds of alpha channel among the extra samples."""
_ORIENTATION, _ICC = 274, 34675
MAX_CHANNELS = 16
"""Alpha and others beyond the colours among them."""


def upright(stored: np.ndarray, orientation: int) -> np.ndarray:
    """Turn an array [H,W,...] as the value of the orientation tag, 1 to 8, says."""
    if orientation in QUARTER_TURNS:
        stored = stored.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        stored = stored[::-1]
    if orientation in (2, 3, 6, 7):
        stored = stored[:, ::-1]
    return np.ascontiguousarray(stored)


def is_tiff(file: BinaryIO) -> bool:
    """Whether a file begins as TIFF does."""
    file.seek(0)
    return file.read(4) in MARKS


def tiff_size(file: BinaryIO) -> Size:
    """Size of the first picture of a TIFF, turned upright."""
    file.seek(0)
    with TiffFile(file) as tiff:
        page = tiff.pages.first
        stored = Size(page.imagelength, page.imagewidth)
        return turned_size(stored, page.tags.valueof(_ORIENTATION))


def read_tiff_samples(name: str, file: BinaryIO, max_pixels: int) -> Samples | None:
    """Decode the first picture of a TIFF; None if Pillow is to read it.

    Args:
        name: Of the file, for messages.
        file: The file.
        max_pixels: The most pixels to accept; checked before anything is decoded.

    Raises:
        PictureError: If it is too large or damaged, or its numbers have a sign.
    """
    file.seek(0)
    with TiffFile(file) as tiff:
        page = tiff.pages.first
        if page.photometric not in _COLOURS:
            return None
        bits, apart = page.bitspersample, page.planarconfig == PLANARCONFIG.SEPARATE
        size = Size(page.imagelength, page.imagewidth)
        # Several, if they differ between channels, and anything in a damaged file.
        if not all(isinstance(getattr(page, name), int) for name in _NUMBERS):
            return None
        check_size(name, size, max_pixels)
        if bits >= 8 and page.sampleformat not in (SAMPLEFORMAT.UINT, SAMPLEFORMAT.IEEEFP):
            raise PictureError(
                f"{name} has numbers of {bits} bits with a sign, or complex ones; save it with "
                "16 bits without sign"
            )
        _check_predictor(name, page)
        if bits < 8 or (bits == 8 and not apart):
            return None
        if page.compression not in _COMPRESSIONS or bits % 8:
            _check_pillow_reads(name, page)
            return None
        _check_samples(name, page, max_pixels)
        _check_segments(name, file, page)
        samples = _samples(page, size)
        colour, alpha, notes = _interpreted(name, page, samples)
        orientation, icc = (page.tags.valueof(tag) for tag in (_ORIENTATION, _ICC))
        colour = upright(colour, orientation)
        alpha = None if alpha is None else upright(alpha, orientation)
        notes = (*_frame_notes(tiff.pages), *notes)
        icc = icc if isinstance(icc, bytes) else None
        return Samples(colour, alpha, icc, 8 if bits == 8 else 16, notes)


def _check_predictor(name: str, page: TiffPage) -> None:
    """Refuse differences of neighbours that decoders take for levels, or do not decode."""
    unpacked = page.compression in (COMPRESSION.NONE, COMPRESSION.PACKBITS)
    ours = page.compression in _COMPRESSIONS
    if (unpacked and page.predictor != PREDICTOR.NONE) or (
        ours and page.predictor not in (PREDICTOR.NONE, PREDICTOR.HORIZONTAL)
    ):
        raise PictureError(
            f"{name} is stored with the predictor {int(page.predictor)} of TIFF, which is not read "
            "with its compression; save it without one, or as PNG"
        )


def _check_pillow_reads(name: str, page: TiffPage) -> None:
    """Refuse what Pillow does not read, or reads in the wrong order of bytes."""
    bits, channels, kind = page.bitspersample, page.samplesperpixel, page.sampleformat
    chunky = page.planarconfig != PLANARCONFIG.SEPARATE or channels == 1
    integers = kind == SAMPLEFORMAT.UINT and bits <= 16
    floats = (bits, channels, kind) == (32, 1, SAMPLEFORMAT.IEEEFP)
    if bits > 8 and not (chunky and (integers or (floats and page.parent.byteorder == "<"))):
        raise PictureError(
            f"{name} has {bits} bits a channel in a layout and compression that are "
            "not read together; save it uncompressed, or as PNG"
        )


def _check_samples(name: str, page: TiffPage, max_pixels: int) -> None:
    """Refuse numbers of channels, depths and tiles for which memory would be asked in vain."""
    most = MAX_CHANNELS * max_pixels
    pixels = page.imagelength * page.imagewidth
    if math.prod(page.shape) > MAX_CHANNELS * pixels or math.prod(page.chunks) > most:
        raise PictureError(
            f"{name} is damaged, or has more than {MAX_CHANNELS} channels; save it as PNG"
        )


def _check_segments(name: str, file: BinaryIO, page: TiffPage) -> None:
    """Refuse strips and tiles that are absent, cut, or become larger than they may."""
    end = file.seek(0, 2)
    most = int(np.prod(page.chunks)) * page.dtype.itemsize if page.dtype else 0
    places: tuple[object, ...] = (*page.dataoffsets, *page.databytecounts)
    sound = all(type(number) is int for number in places)
    if not sound or len(page.dataoffsets) != len(page.databytecounts):
        raise PictureError(f"{name} is damaged; save or download it again")
    for start, count in zip(page.dataoffsets, page.databytecounts, strict=True):
        if count <= 0 or start + count > end:
            raise PictureError(f"{name} is damaged or incomplete; save or download it again")
        if page.compression != COMPRESSION.NONE:
            file.seek(start)
            if not _unpacks_to(file.read(count), most):
                raise PictureError(f"{name} is damaged; save or download it again")


def _unpacks_to(packed: bytes, most: int) -> bool:
    """Whether compressed bytes are sound, and become at most so many."""
    try:
        return len(zlib.decompressobj().decompress(packed, most + 1)) <= most
    except zlib.error:
        return False


def _samples(page: TiffPage, size: Size) -> np.ndarray:
    """The samples as stored, [H,W,S]."""
    values = page.asarray(maxworkers=1)
    if page.axes == "SYX":
        values = np.moveaxis(values, 0, 2)
    return values.reshape(*size, -1)


def _interpreted(
    name: str, page: TiffPage, samples: np.ndarray
) -> tuple[np.ndarray, np.ndarray | None, tuple[str, ...]]:
    """Colour [H,W,1|3], alpha [H,W], both float32 in [0,1], and messages."""
    count = _COLOURS[PHOTOMETRIC(page.photometric)]
    first = samples[..., :count]
    if page.colormap is not None:
        if first.dtype.kind != "u" or int(first.max()) >= page.colormap.shape[1]:
            raise PictureError(f"{name} has colours that are not in its palette; save it as PNG")
        colour = np.moveaxis(page.colormap[:, first[..., 0]], 0, 2) / np.float32(65535)
    else:
        colour = _unit(first)
    if page.photometric == PHOTOMETRIC.MINISWHITE:
        colour = 1 - colour
    kind = page.extrasamples[0] if page.extrasamples else None
    if kind not in (_MULTIPLIED, _APART) or samples.shape[2] <= count:
        return colour, None, (CHANNELS_LEFT_OUT,) if samples.shape[2] > count else ()
    alpha = _unit(samples[..., count])
    if kind == _MULTIPLIED:
        colour = np.clip(colour / np.maximum(alpha, 1e-6)[..., None], 0, 1)
    return colour, alpha, ()


def _unit(samples: np.ndarray) -> np.ndarray:
    """Integers scaled to [0,1], floats as they are, float32."""
    if samples.dtype.kind == "f":
        return samples.astype(np.float32)
    return (samples / np.iinfo(samples.dtype).max).astype(np.float32)


def _frame_notes(pages: TiffPages) -> tuple[str, ...]:
    try:
        pages.get(1)
    except IndexError:
        return ()
    return (FIRST_FRAME,)
