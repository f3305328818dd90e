"""Picture files and profiles built by hand, and random pixels, for the tests of this package."""

import io
import struct
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike
from PIL import Image

from ccsr.images.picture import Picture, Size

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
ORIENTATION = 0x0112


def levels(height: int, width: int, channels: int = 3, dtype: DTypeLike = np.uint8) -> np.ndarray:
    """Random levels of the whole range, [height,width,channels]."""
    rng = np.random.default_rng([height, width, channels])
    top = np.iinfo(dtype).max
    return rng.integers(0, top, (height, width, channels), dtype=dtype, endpoint=True)


def smooth(height: int = 32, width: int = 48) -> np.ndarray:
    """Slow gradients, which survive lossy compression, [height,width,3] uint8."""
    y, x = np.mgrid[0:height, 0:width]
    channels = (40 + 3 * x, 40 + 4 * y, np.full_like(x, 120))
    return np.stack(channels, axis=2).clip(0, 255).astype(np.uint8)


def png_chunk(name: bytes, data: bytes) -> bytes:
    crc = zlib.crc32(name + data)
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", crc)


def png_bytes(
    size: Size,
    rows: bytes,
    *,
    bits: int,
    colour_type: int,
    interlaced: bool = False,
    extra: Iterable[bytes] = (),
) -> bytes:
    """A PNG of filtered rows, put together by hand: independent of Pillow and save_png."""
    header = struct.pack(
        ">IIBBBBB", size.width, size.height, bits, colour_type, 0, 0, int(interlaced)
    )
    return b"".join(
        [
            PNG_SIGNATURE,
            png_chunk(b"IHDR", header),
            *extra,
            png_chunk(b"IDAT", zlib.compress(rows)),
            png_chunk(b"IEND", b""),
        ]
    )


def unfiltered(values: np.ndarray) -> bytes:
    """Rows of big-endian 16-bit samples, each behind filter type 0."""
    return b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)


def png_16(values: np.ndarray, extra: Iterable[bytes] = ()) -> bytes:
    """A 16-bit PNG of values [H,W,1|2|3|4] uint16."""
    height, width, channels = values.shape
    colour_type = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    rows = unfiltered(values)
    return png_bytes(Size(height, width), rows, bits=16, colour_type=colour_type, extra=extra)


def tiff(size: Size, data: bytes, bits: tuple[int, ...], order: str = "<", **tags: int) -> bytes:
    """A TIFF of one strip, put together by hand, order "<" or ">".

    `tags`: its compression, photometric interpretation, orientation, predictor and sample format,
    if they are not 1.
    """
    after_data = 8 + len(data)
    entries = {256: size.width, 257: size.height, 273: 8, 277: len(bits), 278: size.height}
    entries |= {279: len(data), 259: tags.get("compression", 1)}
    entries |= {262: tags.get("photometric", 1), 274: tags.get("orientation", 1)}
    entries |= {317: tags.get("predictor", 1), 339: tags.get("sample_format", 1)}
    numbers = struct.pack(f"{order}{len(bits)}H", *bits)
    rows = [struct.pack(f"{order}HHII", tag, 4, 1, value) for tag, value in entries.items()]
    inside = numbers.ljust(4, b"\0") if len(bits) <= 2 else struct.pack(f"{order}I", after_data)
    rows.append(struct.pack(f"{order}HHI", 258, 3, len(bits)) + inside)
    rows.sort(key=lambda row: struct.unpack_from(f"{order}H", row))
    directory = struct.pack(f"{order}H", len(rows)) + b"".join(rows) + bytes(4)
    start = after_data + len(numbers)
    header = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HI", 42, start)
    return header + data + numbers + directory


def tiff_16(values: np.ndarray, order: str) -> bytes:
    """An uncompressed 16-bit RGB TIFF of values [H,W,3], order "<" or ">"."""
    height, width, _ = values.shape
    data = values.astype(f"{order}u2").tobytes()
    return tiff(Size(height, width), data, (16, 16, 16), order, photometric=2)


def lzw(data: bytes) -> bytes:
    """Compressed as in TIFF files, by libtiff."""
    file = io.BytesIO(encoded(Image.frombytes("L", (len(data), 1), data), "TIFF",
                              compression="tiff_lzw"))  # fmt: skip
    with Image.open(file) as image:
        tags: Any = image
        (start,), (count,) = tags.tag_v2[273], tags.tag_v2[279]
    return file.getvalue()[start : start + count]


def icc_profile(
    space: bytes, connection: bytes, tags: dict[bytes, bytes], name: bytes = b"test"
) -> bytes:
    """A version 2 colour profile for input in `space`."""
    description = b"desc" + bytes(4) + struct.pack(">I", len(name) + 1) + name + bytes(79)
    d50 = xyz(0.9642, 1.0, 0.8249)
    tags = {b"desc": description, b"cprt": b"text" + bytes(4) + b"none\0", b"wtpt": d50, **tags}
    table, body = struct.pack(">I", len(tags)), b""
    start = 128 + 4 + 12 * len(tags)
    for name, content in tags.items():
        table += name + struct.pack(">II", start + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    header = struct.pack(
        ">I4sI4s4s4s12s4s4sIII8sI12s",
        *(start + len(body), b"", 0x02100000, b"prtr", space, connection, bytes(12), b"acsp", b""),
        *(0, 0, 0, bytes(8), 0, struct.pack(">iii", 63190, 65536, 54061)),
    )
    return header.ljust(128, b"\0") + table + body


def xyz(*values: float) -> bytes:
    fixed = (round(value * 65536) for value in values)
    return b"XYZ " + bytes(4) + struct.pack(">iii", *fixed)


def gamma(value: float) -> bytes:
    return b"curv" + bytes(4) + struct.pack(">IH", 1, round(value * 256))


def table(values: np.ndarray) -> bytes:
    """A curve as a table of values in [0,1]."""
    words = np.rint(values * 65535).astype(">u2").tobytes()
    return b"curv" + bytes(4) + struct.pack(">I", len(values)) + words


def parametric(kind: int, *parameters: float) -> bytes:
    fixed = (round(value * 65536) for value in parameters)
    return b"para" + bytes(4) + struct.pack(f">HH{len(parameters)}i", kind, 0, *fixed)


RED, GREEN, BLUE = (0.4361, 0.2225, 0.0139), (0.3851, 0.7169, 0.0971), (0.1431, 0.0606, 0.7141)
"""XYZ of the primaries of sRGB."""


def rgb_profile(
    curve: bytes,
    primaries: tuple[tuple[float, ...], ...] = (RED, GREEN, BLUE),
    name: bytes = b"test",
) -> bytes:
    """A profile of one curve and three primaries."""
    tags = {f"{c}XYZ".encode(): xyz(*xyz_) for c, xyz_ in zip("rgb", primaries, strict=True)}
    curves = {f"{c}TRC".encode(): curve for c in "rgb"}
    return icc_profile(b"RGB ", b"XYZ ", {**tags, **curves}, name)


def profile_with_red_and_blue_swapped() -> bytes:
    """The primaries of sRGB, red and blue exchanged, with a gamma of 2.2."""
    return rgb_profile(gamma(2.2), (BLUE, GREEN, RED))


def profile_of_black_ink_only() -> bytes:
    """A CMYK profile whose cyan, magenta and yellow are invisible."""
    identity = bytes(range(256))
    corners = b"".join(bytes([255 * (1 - corner % 2), 128, 128]) for corner in range(16))
    unit = struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 65536)
    table = b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + unit + identity * 4 + corners + identity * 3
    return icc_profile(b"CMYK", b"Lab ", {b"A2B0": table})


def profile_of_grey_by_tables() -> bytes:
    """An RGB profile of tables, in which every colour is a grey of its mean."""
    identity = bytes(range(256))
    means = (bin(corner).count("1") * 85 for corner in range(8))
    corners = b"".join(bytes([mean, 128, 128]) for mean in means)
    unit = struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 65536)
    table = b"mft1" + bytes(4) + bytes([3, 3, 2, 0]) + unit + identity * 3 + corners + identity * 3
    return icc_profile(b"RGB ", b"Lab ", {b"A2B0": table})


def encoded(image: Image.Image, format: str, **options: Any) -> bytes:  # noqa: ANN401
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def as_bytes(picture: Picture) -> np.ndarray:
    """Colour and alpha of a picture read from 8 bits, [H,W,3|4] uint8, without rounding."""
    parts = picture.rgb if picture.alpha is None else np.dstack([picture.rgb, picture.alpha])
    scaled = parts * 255
    np.testing.assert_allclose(scaled, scaled.round(), atol=1e-4)
    return scaled.round().astype(np.uint8)


def as_words(picture: Picture) -> np.ndarray:
    """As `as_bytes`, for 16 bits."""
    parts = picture.rgb if picture.alpha is None else np.dstack([picture.rgb, picture.alpha])
    scaled = parts.astype(np.float64) * 65535
    np.testing.assert_allclose(scaled, scaled.round(), atol=0.01)
    return scaled.round().astype(np.uint16)
