"""What a picture file says about the picture: when and by what it was taken, whose it is, its DPI.

A result keeps it. Left out is what is no longer true of it (orientation, size, thumbnail), and what
people do not expect to hand on (place, serial numbers, notes of the maker).
"""

import logging
from dataclasses import dataclass
from typing import Any

from PIL import Image
from PIL.ExifTags import IFD, Base

from ccsr.errors import raised_here

logger = logging.getLogger(__name__)

IMAGE_TAGS = (Base.ImageDescription, Base.Make, Base.Model, Base.DateTime, Base.Artist,
              Base.Copyright)  # fmt: skip
PHOTO_TAGS = (
    *(Base.DateTimeOriginal, Base.DateTimeDigitized),
    *(Base.OffsetTime, Base.OffsetTimeOriginal, Base.OffsetTimeDigitized),
    *(Base.SubsecTime, Base.SubsecTimeOriginal, Base.SubsecTimeDigitized),
    *(Base.ExposureTime, Base.FNumber, Base.ISOSpeedRatings, Base.FocalLength),
    *(Base.FocalLengthIn35mmFilm, Base.LensMake, Base.LensModel),
)
MAX_TEXT = 2000
"""Most characters of an entry; longer ones are left out."""
MAX_DPI = 100_000
METRES_PER_INCH = 0.0254
COMMENT_CHARSET = b"ASCII\0\0\0"
"""Begins an Exif comment of ASCII letters."""


@dataclass(frozen=True)
class Metadata:
    """Metadata to be written into a result."""

    exif: bytes = b""
    """Exif as in a PNG's eXIf chunk, from the byte order mark on; empty if there is none."""
    dpi: tuple[float, float] | None = None
    """Pixels per inch, horizontally and vertically."""


def read_metadata(image: Image.Image) -> Metadata | None:
    """The metadata of an opened file; None if it holds none that is kept, or is damaged."""
    try:
        found = Metadata(_kept_exif(image), _dpi(image))
    except Exception as error:  # whatever Pillow raises on damaged entries: the picture is not lost
        if raised_here(error):
            raise
        logger.debug("the metadata cannot be read", exc_info=True)
        return None
    return found if found.exif or found.dpi else None


def _kept_exif(image: Image.Image) -> bytes:
    exif, kept = image.getexif(), Image.Exif()
    for tag in IMAGE_TAGS:
        if _is_short(value := exif.get(tag)):
            kept[tag] = value
    photo = exif.get_ifd(IFD.Exif)
    inside = {int(tag): photo[tag] for tag in PHOTO_TAGS if _is_short(photo.get(tag))}
    if inside:
        kept.get_ifd(IFD.Exif).update(inside)
    return kept.tobytes().removeprefix(b"Exif\0\0") if len(kept) or inside else b""


def _is_short(value: Any) -> bool:  # noqa: ANN401 - texts, numbers and fractions
    return value is not None and len(str(value)) <= MAX_TEXT


def _dpi(image: Image.Image) -> tuple[float, float] | None:
    found = image.info.get("dpi")
    if found is None:
        return None
    try:
        across, down = map(float, found)
    except (TypeError, ValueError, ArithmeticError):  # anything in a damaged file
        return None
    # What is written where nobody has said anything.
    unsaid = (across, down) == (72, 72)
    usable = 1 <= across <= MAX_DPI and 1 <= down <= MAX_DPI
    return (across, down) if usable and not unsaid else None
