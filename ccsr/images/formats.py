"""Which kinds of picture files are opened, and how Pillow opens them."""

import importlib
import logging
import warnings
from contextlib import suppress
from typing import BinaryIO

from PIL import Image, ImageFile, ImageOps
from PIL.ExifTags import Base

from ccsr.errors import raised_here
from ccsr.images.picture import Size

logger = logging.getLogger(__name__)

FIRST_FRAME = "only the first of its frames is used"
CHANNELS_LEFT_OUT = "its channels beyond the colours, of no stated meaning, are left out"
"""Messages about how a file is read."""

QUARTER_TURNS = (5, 6, 7, 8)
"""Values of the orientation tag of pictures that are stored on their side."""

# Only formats that Pillow decodes itself, by open codecs: EPS, for one, would start Ghostscript.
FORMATS = ["PNG", "JPEG", "WEBP", "TIFF", "GIF", "BMP", "PPM", "AVIF"]

# HEIC comes with a plug-in, whose binary includes an encoder under the GPL: not among what is
# always installed.
with suppress(ImportError):
    importlib.import_module("pillow_heif").register_heif_opener(thumbnails=False)
    FORMATS.append("HEIF")


def open_picture(file: BinaryIO) -> ImageFile.ImageFile:
    """Open a picture without decoding it.

    A stream, not a name: files that Pillow opens by their name it maps into memory, and shears
    those that are stored turned.
    """
    file.seek(0)
    with warnings.catch_warnings():
        # Pillow warns of large pictures; `check_size` has the limits.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        return Image.open(file, formats=FORMATS)


def upright(image: Image.Image) -> Image.Image:
    """Decode an image and turn it as its Exif says, if that can be read."""
    image.load()
    try:
        return ImageOps.exif_transpose(image)
    except Exception as error:  # Pillow raises what it will; the picture is not lost for its Exif
        if isinstance(error, MemoryError) or raised_here(error):
            raise
        logger.debug("the orientation cannot be read", exc_info=True)
        return image


def upright_size(image: Image.Image) -> Size:
    """Size of an image that is not decoded yet, after it is turned as its Exif says."""
    size = Size(image.height, image.width)
    try:
        # Not by the method of a PNG, which is decoded for what may follow its pixels.
        orientation = Image.Image.getexif(image).get(Base.Orientation)
    except Exception as error:  # as above
        if raised_here(error):
            raise
        logger.debug("the size cannot be turned", exc_info=True)
        return size
    return turned_size(size, orientation)


def turned_size(size: Size, orientation: object) -> Size:
    """A stored size after the turn that a value of the orientation tag asks for."""
    return Size(size.width, size.height) if orientation in QUARTER_TURNS else size


def layout(image: ImageFile.ImageFile) -> str:
    """Pillow's name for how the file stores pixels, such as "RGB;16B"."""
    args = image.tile[0].args if image.tile else None
    return str(args[0] if isinstance(args, tuple) and args else args)


def picture_suffixes() -> set[str]:
    """Endings of the names of picture files, lower case."""
    Image.init()
    return {suffix for suffix, format in Image.registered_extensions().items() if format in FORMATS}
