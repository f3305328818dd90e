"""Picture files -> pictures: formats, limits, orientation, colour profiles, 16 bits a channel."""

import logging
import re
from collections.abc import Generator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageFile, UnidentifiedImageError
from PIL.ExifTags import IFD, Base
from PIL.TiffImagePlugin import TiffImageFile

from ccsr.errors import raised_here
from ccsr.images.formats import (
    CHANNELS_LEFT_OUT,
    FIRST_FRAME,
    layout,
    open_picture,
    picture_suffixes,
    upright,
    upright_size,
)
from ccsr.images.high_bit_depth import Samples, read_samples
from ccsr.images.metadata import COMMENT_CHARSET, Metadata, read_metadata
from ccsr.images.picture import (
    MAX_INPUT_PIXELS,
    Picture,
    PictureError,
    Size,
    check_size,
    check_unit_range,
)
from ccsr.images.profile import Notes, cmyk_to_srgb, to_srgb
from ccsr.images.tiff import is_tiff, read_tiff_samples, tiff_size

logger = logging.getLogger(__name__)

MAX_SCANS = 500
"""Of a JPEG; progressive ones have about ten, and each takes the time of a whole decoding."""
EXTRA_SAMPLES = 338
"""Tag of TIFF: the kinds of channels beyond the colours; 0 is none that is stated."""
MAX_REASON = 80
"""Most characters that a message cites of an error of a decoder."""
_HIGH_BIT_DEPTH_AVIF = re.compile(rb"av1C.{2}[\x40-\x7f\xc0-\xff]", re.DOTALL)
"""The configuration of a stream of more than 8 bits: its flag high_bitdepth is set,
https://aomediacodec.github.io/av1-isobmff/#av1codecconfigurationbox-syntax."""


def load_picture(source: str | Path | BinaryIO, *, max_pixels: int = MAX_INPUT_PIXELS) -> Picture:
    """Read a picture file: turned upright, in sRGB, alpha apart, 16 bits kept.

    Args:
        source: A PNG, JPEG, WebP, TIFF, GIF, BMP, PPM or AVIF file, or HEIC where pillow-heif is
            installed: its path, or the file opened for reading bytes.
        max_pixels: The most pixels to accept; checked before anything is decoded.

    Raises:
        PictureError: If the file is missing, damaged, not a picture, too large or too small.
    """
    with _opened(source) as (name, file):
        samples = read_tiff_samples(name, file, max_pixels) if is_tiff(file) else None
        if samples is not None:
            return replace(_picture_of_samples(name, samples), metadata=_metadata(file))
        with open_picture(file) as image:
            check_size(name, Size(image.height, image.width), max_pixels)
            _check_scans(name, file, image)
            notes = _frame_notes(file, image)
            samples = read_samples(name, file, image)
            if samples is None:
                picture = _byte_picture(image, notes + _loss_notes(file, image))
            else:
                picture = _picture_of_samples(name, samples, notes)
        return replace(picture, metadata=_metadata(file))


def read_size(source: str | Path | BinaryIO) -> Size:
    """Size of a picture, turned upright as the beginning of its file says; nothing is decoded.

    Args:
        source: As for `load_picture`.

    Raises:
        PictureError: If the file is missing, damaged at its beginning or not a picture.
    """
    with _opened(source) as (_, file):
        if is_tiff(file):
            return tiff_size(file)
        with open_picture(file) as image:
            return upright_size(image)


def read_texts(path: str | Path) -> dict[str, str]:
    """Texts stored in a PNG by keyword, and the Exif comment of any other under "UserComment".

    The pixels are not decoded.

    Raises:
        PictureError: If the file is missing, damaged or not a picture.
    """
    with _opened(path) as (_, file), open_picture(file) as image:
        texts = {key: value for key, value in image.info.items() if isinstance(value, str)}
        # A PNG would be decoded for it.
        texts |= {} if image.format == "PNG" else _comment(image)
        return {str(key): str(value) for key, value in texts.items()}


def _comment(image: Image.Image) -> dict[str, str]:
    comment = image.getexif().get_ifd(IFD.Exif).get(Base.UserComment)
    if not isinstance(comment, bytes) or not comment.startswith(COMMENT_CHARSET):
        return {}
    return {"UserComment": comment.removeprefix(COMMENT_CHARSET).decode("ascii", "replace")}


def is_picture_file(path: Path) -> bool:
    """Whether a file is a picture by its content, or says by its name that it should be one."""
    if path.suffix.lower() in picture_suffixes():
        return True
    try:
        with _opened(path) as (_, file):
            return is_tiff(file) or bool(open_picture(file))
    except PictureError:
        return False


@contextmanager
def _opened(source: str | Path | BinaryIO) -> Generator[tuple[str, BinaryIO]]:
    """Open a file; whatever decoders raise inside becomes a PictureError."""
    if isinstance(source, str | Path):
        path = Path(source)
        _check_file(path)
        name, opening = path.name, path.open("rb")
    else:
        name, opening = Path(str(getattr(source, "name", "the file"))).name, nullcontext(source)
    try:
        with opening as file:
            yield name, file
    except (PictureError, MemoryError):
        raise
    except UnidentifiedImageError as error:
        raise PictureError(
            f"{name} is not a picture of a kind that can be read; "
            "save it as PNG, JPEG, WebP or TIFF (8 or 16 bits a channel)"
        ) from error
    except Image.DecompressionBombError as error:
        raise PictureError(f"{name} has far too many pixels; make it smaller") from error
    except Exception as error:  # decoders raise what they will on damaged files
        if raised_here(error):
            raise
        logger.debug("%s cannot be decoded", name, exc_info=True)
        reason = " ".join(str(error).split())[:MAX_REASON]
        raise PictureError(
            f"{name} is damaged or incomplete ({reason}); save or download it again"
        ) from error


def _check_file(path: Path) -> None:
    try:
        exists, is_file = path.exists(), path.is_file()
    except OSError as error:
        raise PictureError(f"{path.name} cannot be opened; check the name") from error
    if not exists:
        raise PictureError(f"there is no file {path}; check the name")
    if not is_file:
        raise PictureError(f"{path} is not a file; give a picture file")
    if path.stat().st_size == 0:
        raise PictureError(f"{path.name} is empty; save or download it again")


def _metadata(file: BinaryIO) -> Metadata | None:
    """The metadata of a file, opened anew: those of a TIFF are gone once it is decoded."""
    try:
        with open_picture(file) as image:
            return read_metadata(image)
    except Exception as error:  # as above
        if raised_here(error):
            raise
        logger.debug("the metadata cannot be read", exc_info=True)
        return None


def _check_scans(name: str, file: BinaryIO, image: ImageFile.ImageFile) -> None:
    """Refuse a JPEG of so many scans that decoding them would take minutes."""
    if image.format not in ("JPEG", "MPO"):
        return
    file.seek(0)
    if file.read().count(b"\xff\xda") > MAX_SCANS:
        raise PictureError(f"{name} has more than {MAX_SCANS} scans; save it anew")


def _frame_notes(file: BinaryIO, image: ImageFile.ImageFile) -> Notes:
    """A message if there is a second frame; all of them are never counted."""
    # The further frames of an MPO are depth or gain maps of a phone, not pictures.
    if image.format == "MPO":
        return ()
    try:
        with open_picture(file) as again:
            again.seek(1)
    except Exception as error:  # as above; a damaged second frame is none
        if raised_here(error):
            raise
        logger.debug("there is no second frame", exc_info=True)
        return ()
    return (FIRST_FRAME,)


def _picture_of_samples(name: str, samples: Samples, notes: Notes = ()) -> Picture:
    check_unit_range(name, samples.colour)
    if samples.alpha is not None:
        check_unit_range(name, samples.alpha)
    colour, colour_notes = to_srgb(samples.colour, samples.icc, samples.bits)
    notes = (*notes, *samples.notes, *colour_notes)
    return Picture(_three_channels(colour), samples.alpha, samples.bits, notes)


def _three_channels(levels: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(np.broadcast_to(levels, (*levels.shape[:2], 3)))


def _byte_picture(image: ImageFile.ImageFile, notes: Notes) -> Picture:
    """Decode a picture of 8 bits."""
    _scale_transparent_grey(image)
    turned = upright(image)
    alpha = None
    opaque = turned
    if turned.has_transparency_data:
        opaque = turned.convert("RGBA")
        alpha = np.asarray(opaque.getchannel("A")).astype(np.float32) / 255
    icc = turned.info.get("icc_profile")
    if turned.mode == "CMYK":
        colour, colour_notes = cmyk_to_srgb(turned, icc)
    else:
        grey = turned.mode in ("1", "L", "LA")
        levels = np.asarray(opaque.convert("L" if grey else "RGB")).astype(np.float32) / 255
        colour, colour_notes = to_srgb(levels[..., None] if grey else levels, icc)
    return Picture(_three_channels(colour), alpha, 8, notes + colour_notes)


def _loss_notes(file: BinaryIO, image: ImageFile.ImageFile) -> Notes:
    """A message if the file has more bits or channels than are read."""
    stored = image.tile[0].args if image.tile else None
    file.seek(0)
    if image.format == "AVIF" and _HIGH_BIT_DEPTH_AVIF.search(file.read(4096)):
        return ("its 10 or 12 bits a channel are read as 8",)
    maximum = stored[1] if image.format == "PPM" and isinstance(stored, tuple) else 255
    if isinstance(image, TiffImageFile) and 0 in image.tag_v2.get(EXTRA_SAMPLES, ()):
        return (CHANNELS_LEFT_OUT,)
    if ";16" in layout(image) or (isinstance(maximum, int) and maximum > 255):
        return ("its 16 bits a channel are read as 8",)
    return ()


def _scale_transparent_grey(image: ImageFile.ImageFile) -> None:
    """Scale the transparent grey level of a PNG of 1, 2 or 4 bits, as Pillow scales its pixels."""
    clear, bits = image.info.get("transparency"), re.fullmatch(r"(?:L;([24])|1)", layout(image))
    if isinstance(clear, int) and bits is not None:
        image.info["transparency"] = clear * 255 // (2 ** int(bits[1] or 1) - 1)
