"""Pictures -> PNG of 8 or 16 bits a channel, JPEG or WEBP, with texts, written atomically."""

import io
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from PIL.ExifTags import IFD, Base
from PIL.PngImagePlugin import PngInfo, putchunk

from ccsr.errors import InputError
from ccsr.images.metadata import COMMENT_CHARSET, METRES_PER_INCH, Metadata
from ccsr.images.picture import Picture
from ccsr.images.tensors import to_uint8, to_uint16
from ccsr.stopping import check_stop
from ccsr.whole_file import write_whole


def save_png(
    path: str | Path,
    picture: Picture,
    text: Mapping[str, str] | None = None,
    *,
    overwrite: bool = False,
) -> None:
    """Write a picture as PNG with `picture.bits` bits per channel, atomically.

    Args:
        path: File name that ends in .png, in an existing folder.
        picture: What to write.
        text: Keywords (1 to 79 Latin-1 characters) and texts to store in the file.
        overwrite: Whether a file that is there already may be replaced.

    Raises:
        InputError: If the name does not end in .png, or the picture has values that are not finite.
        FileNotFoundError: If the folder does not exist.
        FileExistsError: If the file exists and may not be replaced.
        WriteError: If it cannot be written, for example because the disk is full.
    """
    path = Path(path)
    if path.suffix.lower() != ".png":
        raise InputError(f"results are PNG files, got the name {path.name}; end it in .png")
    # A sum is finite only if all are, and needs no memory.
    if not np.isfinite(picture.rgb.sum(dtype=np.float64)):
        raise InputError(
            f"{path.name} is not written: it has values that are not finite; "
            "load the model in another number format: --dtype bfloat16 or float32"
        )
    chunks = PngInfo()
    for key, value in (text or {}).items():
        chunks.add_itxt(key, value)
    levels = picture.rgb
    if picture.alpha is not None:
        levels = np.concatenate([levels, picture.alpha[..., None]], axis=2)
    encode = _png_16 if picture.bits == 16 else _png_8
    encoded = encode(levels, chunks, picture.metadata or Metadata())
    write_whole(path, encoded, overwrite=overwrite)


BAND = 64
"""Rows that are compressed at once."""

COMPRESSED = {".jpg": "JPEG", ".webp": "WEBP"}
"""Formats by the suffix of their files."""


def save_compressed(path: str | Path, picture: Picture, comment: str, quality: int) -> None:
    """Write a picture as JPEG or WEBP with loss, atomically, in the place of an earlier file.

    Args:
        path: File name that ends in .jpg or .webp, in an existing folder.
        picture: What to write. JPEG has no transparency: it gets a white background.
        comment: ASCII text that is stored as the Exif comment.
        quality: 1 to 100.

    Raises:
        InputError: If the name ends in something else.
        WriteError: If it cannot be written, for example because the disk is full.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in COMPRESSED:
        raise InputError(f"got the name {path.name}; end it in one of {', '.join(COMPRESSED)}")
    metadata, levels = picture.metadata or Metadata(), picture.rgb
    if picture.alpha is not None:
        alpha = picture.alpha[..., None]
        is_jpeg = suffix == ".jpg"
        levels = alpha * levels + 1 - alpha if is_jpeg else np.concatenate([levels, alpha], 2)
    exif = Image.Exif()
    exif.load(metadata.exif)
    exif.get_ifd(IFD.Exif)[Base.UserComment] = COMMENT_CHARSET + comment.encode("ascii")
    buffer = io.BytesIO()
    options: dict[str, Any] = {"dpi": metadata.dpi} if metadata.dpi else {}
    image = Image.fromarray(to_uint8(levels))
    image.save(buffer, COMPRESSED[suffix], quality=quality, exif=exif, **options)
    write_whole(path, buffer.getvalue(), overwrite=True)


class _Buffer(io.BytesIO):
    """Memory that an encoder writes to block by block; the work can be stopped between two."""

    def write(self, data: Any) -> int:  # noqa: ANN401
        check_stop()
        return super().write(data)


def _png_8(levels: np.ndarray, chunks: PngInfo, metadata: Metadata) -> bytes:
    """Encode levels [H,W,3|4] in [0,1] as an 8-bit PNG."""
    buffer = _Buffer()
    image = Image.fromarray(to_uint8(levels))
    # The default strategy takes twice as long, and makes only pictures that repeat
    # themselves smaller.
    options: dict[str, Any] = {"pnginfo": chunks, "compress_type": zlib.Z_RLE, "dpi": metadata.dpi}
    image.save(buffer, "PNG", exif=metadata.exif or None, **options)
    return buffer.getvalue()


def _png_16(levels: np.ndarray, chunks: PngInfo, metadata: Metadata) -> bytes:
    """Encode levels [H,W,3|4] in [0,1] as a 16-bit PNG, which Pillow cannot write.

    https://www.w3.org/TR/png-3/: big-endian samples; every row begins with its filter, here
    Up, the difference to the row above.
    """
    height, width, channels = levels.shape
    rows = to_uint16(levels).astype(">u2").reshape(height, -1).view(np.uint8)
    differences = np.diff(rows, axis=0, prepend=np.zeros((1, rows.shape[1]), np.uint8))
    filtered = np.pad(differences, ((0, 0), (1, 0)), constant_values=2)
    colour_type = {3: 2, 4: 6}[channels]
    buffer = io.BytesIO()
    buffer.write(b"\x89PNG\r\n\x1a\n")
    putchunk(buffer, b"IHDR", struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0))
    if metadata.dpi is not None:
        per_metre = (round(dpi / METRES_PER_INCH) for dpi in metadata.dpi)
        putchunk(buffer, b"pHYs", struct.pack(">IIB", *per_metre, 1))
    for name, data, _ in chunks.chunks:
        putchunk(buffer, name, data)
    if metadata.exif:
        putchunk(buffer, b"eXIf", metadata.exif)
    putchunk(buffer, b"IDAT", _compressed(filtered))
    putchunk(buffer, b"IEND")
    return buffer.getvalue()


def _compressed(rows: np.ndarray) -> bytes:
    """The bytes of rows [H,B] as a zlib stream; the work can be stopped between two bands."""
    compressor, parts = zlib.compressobj(), list[bytes]()
    for start in range(0, len(rows), BAND):
        check_stop()
        parts.append(compressor.compress(rows[start : start + BAND].tobytes()))
    return b"".join([*parts, compressor.flush()])
