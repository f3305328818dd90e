"""Picture files -> pictures: formats, limits, orientation, colour profiles, 16 bits a channel."""

import io
import struct
import sys
import warnings
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms, ImageFile, ImageOps, UnidentifiedImageError

from ccsr.images.picture import (
    MAX_INPUT_PIXELS,
    Picture,
    PictureError,
    Size,
    check_size,
    check_unit_range,
    picture_from_levels,
)

# Only formats that Pillow decodes itself, by open codecs: EPS, for one, would start Ghostscript.
FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "GIF", "BMP", "PPM", "AVIF")

_NATIVE, _SWAPPED = ("L", "B") if sys.byteorder == "little" else ("B", "L")
_OTHER_BYTE = {
    f"{mode};16{order}": f"{mode};16{other}"
    for mode in ("RGB", "RGBA")
    for order, other in (("B", "L"), ("L", "B"), ("N", _SWAPPED))
}
"""Pillow's name of a 16-bit layout -> the name under which it keeps the other, lower byte."""


# Errors of Pillow's decoders for damaged files; AVIF's raises RuntimeError.
_DECODER_ERRORS = (
    *(OSError, EOFError, SyntaxError, ValueError, LookupError, TypeError, RuntimeError),
    struct.error,
)


def load_picture(path: str | Path, *, max_pixels: int = MAX_INPUT_PIXELS) -> Picture:
    """Read a picture file: turned upright, in sRGB, alpha apart, 16 bits kept.

    Args:
        path: A PNG, JPEG, WebP, TIFF, GIF, BMP, PPM or AVIF file.
        max_pixels: The most pixels to accept; checked before anything is decoded.

    Raises:
        PictureError: If the file is missing, damaged, not a picture, too large or too small.
    """
    path = Path(path)
    with _opened(path) as image:
        check_size(path.name, Size(image.height, image.width), max_pixels)
        notes = _frame_notes(image)
        deep = _deep_levels(path, image)
        if deep is not None:
            return picture_from_levels(deep, 16, notes)
        levels, colour_notes = _byte_levels(image)
        return picture_from_levels(levels.astype(np.float32) / 255, 8, notes + colour_notes)


def read_png_text(path: str | Path) -> dict[str, str]:
    """Texts stored in a PNG by keyword; its pixels are not decoded.

    Raises:
        PictureError: If the file is missing, damaged or not a picture.
    """
    with _opened(Path(path)) as image:
        texts = {key: value for key, value in image.info.items() if isinstance(value, str)}
        return {str(key): str(value) for key, value in texts.items()}


@contextmanager
def _opened(path: Path) -> Generator[ImageFile.ImageFile]:
    """Open a file with Pillow; whatever its decoders raise inside becomes a PictureError."""
    _check_file(path)
    try:
        with _open(path) as image:
            yield image
    except PictureError:
        raise
    except UnidentifiedImageError as error:
        raise PictureError(
            f"{path.name} is not a picture of a kind that can be read; "
            "save it as PNG, JPEG, WebP or TIFF (8 or 16 bits a channel)"
        ) from error
    except Image.DecompressionBombError as error:
        raise PictureError(f"{path.name} has far too many pixels; make it smaller") from error
    except _DECODER_ERRORS as e:
        raise PictureError(
            f"{path.name} is damaged or incomplete ({e}); save or download it again"
        ) from e


def _check_file(path: Path) -> None:
    if not path.exists():
        raise PictureError(f"there is no file {path}; check the name")
    if not path.is_file():
        raise PictureError(f"{path} is not a file; give a picture file")
    if path.stat().st_size == 0:
        raise PictureError(f"{path.name} is empty; save or download it again")


def _open(path: Path) -> ImageFile.ImageFile:
    with warnings.catch_warnings():
        # Pillow warns of large pictures; `check_size` has the limits.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        return Image.open(path, formats=FORMATS)


def _frame_notes(image: ImageFile.ImageFile) -> tuple[str, ...]:
    # The further frames of an MPO are depth or gain maps of a phone, not pictures.
    # How many there are is not asked: a GIF or TIFF is read to its end for that.
    animated = image.format != "MPO" and getattr(image, "is_animated", False)
    return ("only the first of its frames is used",) if animated else ()


def _deep_levels(path: Path, image: ImageFile.ImageFile) -> np.ndarray | None:
    """Read a picture of more than 8 bits: [H,W,1|3|4] float32 in [0,1]; None if it has 8."""
    if _layout(image) in _OTHER_BYTE and _foreign_profile(image) is None:
        values = _read_16_bit_colour(path, image)
    elif image.mode.startswith(("I", "F")):
        values = np.asarray(ImageOps.exif_transpose(image)).astype(np.float32)[..., None]
    else:
        return None
    levels = values if image.mode == "F" else values / 65535
    check_unit_range(path.name, levels)
    clear = image.info.get("transparency")
    if clear is None:
        return levels
    # A PNG without an alpha channel may name one colour that is transparent.
    alpha = (values != clear).any(axis=2, keepdims=True)
    rgb = np.broadcast_to(levels, (*levels.shape[:2], 3))
    return np.concatenate([rgb, alpha], axis=2, dtype=np.float32)


def _layout(image: ImageFile.ImageFile) -> str:
    """Pillow's name for how the file stores pixels, such as "RGB;16B"."""
    args = image.tile[0].args if image.tile else None
    return str(args[0] if isinstance(args, tuple) and args else args)


def _read_16_bit_colour(path: Path, image: ImageFile.ImageFile) -> np.ndarray:
    """Read 16-bit RGB(A): [H,W,3|4] float32 in [0,65535].

    Pillow keeps one byte of each two, chosen by the byte order it assumes, so a second reading in
    the opposite order gives the lower bytes.
    """
    with _open(path) as again:
        again.tile = [tile._replace(args=_in_other_order(tile.args)) for tile in again.tile]
        low = np.asarray(ImageOps.exif_transpose(again))
    high = np.asarray(ImageOps.exif_transpose(image))
    return high.astype(np.float32) * 256 + low


def _in_other_order(args: tuple[object, ...] | str | None) -> tuple[object, ...] | str:
    if isinstance(args, tuple):
        return (_OTHER_BYTE[str(args[0])], *args[1:])
    return _OTHER_BYTE[str(args)]


def _byte_levels(image: ImageFile.ImageFile) -> tuple[np.ndarray, tuple[str, ...]]:
    """Read a picture as 8-bit sRGB: [H,W,3|4] uint8, and messages about it."""
    notes = ()
    if ";16" in _layout(image):
        notes = ("its 16 bits a channel are read as 8",)
    upright = ImageOps.exif_transpose(image)
    opaque = upright
    alpha = None
    if upright.has_transparency_data:
        with_alpha = upright.convert("RGBA")
        alpha = with_alpha.getchannel("A")
        opaque = with_alpha.convert("L" if upright.mode in ("1", "L", "LA") else "RGB")
    rgb, colour_notes = _to_srgb(opaque)
    if alpha is not None:
        rgb.putalpha(alpha)
    return np.asarray(rgb), notes + colour_notes


def _foreign_profile(image: Image.Image) -> ImageCms.ImageCmsProfile | None:
    """The embedded colour profile, unless there is none or it is sRGB."""
    embedded = image.info.get("icc_profile")
    if not embedded:
        return None
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(embedded))
        return None if ImageCms.getProfileName(profile).startswith("sRGB") else profile
    except (ImageCms.PyCMSError, OSError):
        return None


def _to_srgb(image: Image.Image) -> tuple[Image.Image, tuple[str, ...]]:
    """Convert an 8-bit image without alpha to sRGB, through its profile if it has one."""
    profile = _foreign_profile(image)
    # The header of a profile names the colours it is for.
    space = profile.tobytes()[16:20] if profile else b""
    mode = {b"RGB ": "RGB", b"GRAY": "L", b"CMYK": "CMYK"}.get(space)
    # A profile of another kind than the pixels (a grey picture with an RGB profile is common)
    # still applies after a conversion that loses nothing.
    applies = mode == image.mode or (mode == "RGB" and image.mode != "CMYK")
    if profile is not None and mode is not None and applies:
        # A profile without its tables, found only now, counts as none.
        with suppress(ImageCms.PyCMSError):
            converted = ImageCms.profileToProfile(
                image.convert(mode),
                profile,
                ImageCms.createProfile("sRGB"),
                renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
                outputMode="RGB",
                flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
            )
            if converted is not None:
                return converted, ()
    approximate = ("it is CMYK without a usable colour profile, so its colours are approximate",)
    return image.convert("RGB"), approximate if image.mode == "CMYK" else ()
