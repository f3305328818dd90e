"""Hostile and odd files, made anew by each run, and what reading them must give."""

import io
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import tifffile
from PIL import Image

from ccsr.images.picture import Size
from tests.unit.images.picture_files import (
    ORIENTATION,
    encoded,
    icc_profile,
    levels,
    png_16,
    png_bytes,
    png_chunk,
    profile_of_black_ink_only,
    smooth,
    tiff,
)

Outcome = Literal["picture", "refused", "either"]


@dataclass(frozen=True)
class HostileFile:
    """A file and what reading it gives."""

    name: str
    content: bytes
    outcome: Outcome = "either"


def hostile_files() -> Iterator[HostileFile]:
    """All of them; names are unique."""
    for kind in (truncated, misnamed, flipped, bombs, sizes, floats, modes, profiles, animated,
                 metadata, polyglots):  # fmt: skip
        for number, file in enumerate(kind()):
            yield HostileFile(f"{kind.__name__}-{number:03d}-{file.name}", file.content,
                              file.outcome)  # fmt: skip


def whole() -> dict[str, bytes]:
    """A good file of each kind."""
    image = Image.fromarray(smooth(48, 64))
    return {
        "a.png": encoded(image, "PNG"),
        "deep.png": png_16(levels(48, 64, 4, np.uint16)),
        "a.jpg": encoded(image, "JPEG"),
        "progressive.jpg": encoded(image, "JPEG", progressive=True),
        "a.webp": encoded(image, "WEBP"),
        "lossless.webp": encoded(image, "WEBP", lossless=True),
        "a.tif": encoded(image, "TIFF"),
        "lzw.tif": encoded(image, "TIFF", compression="tiff_lzw"),
        "deep.tif": deep_tiff(levels(48, 64, 3, np.uint16)),
        "a.gif": encoded(image, "GIF"),
        "a.bmp": encoded(image, "BMP"),
        "a.ppm": encoded(image, "PPM"),
        "a.avif": encoded(image, "AVIF"),
    }


def deep_tiff(values: np.ndarray, **options: Any) -> bytes:  # noqa: ANN401
    file = io.BytesIO()
    photometric = "rgb" if values.ndim == 3 else "minisblack"
    tifffile.imwrite(file, values, photometric=photometric, metadata=None, **options)
    return file.getvalue()


def truncated() -> Iterator[HostileFile]:
    """Each cut after each tenth."""
    for name, content in whole().items():
        for tenths in range(10):
            yield HostileFile(name, content[: len(content) * tenths // 10])


def misnamed() -> Iterator[HostileFile]:
    """The content counts, whatever the name says."""
    for name, content in whole().items():
        stem = name.replace(".", "-")
        for other in (".png", ".jpg", ".txt", ""):
            yield HostileFile(stem + other, content, "picture")


def flipped() -> Iterator[HostileFile]:
    """A few bytes changed, half of them near the beginning."""
    rng = np.random.default_rng(0)
    for name, content in whole().items():
        for end in (60, 60, 400, len(content)):
            changed = np.frombuffer(content, np.uint8).copy()
            places = rng.integers(0, min(end, len(content)), 3)
            changed[places] = rng.integers(0, 256, 3)
            yield HostileFile(name, changed.tobytes())


def bombs() -> Iterator[HostileFile]:
    """Small files that become large, or take long."""
    zeros = zlib.compress(bytes(64 * 1024**2), 9)
    plain = encoded(Image.new("L", (32, 32)), "PNG")
    header, end = plain[:33], png_chunk(b"IEND", b"")
    data = png_chunk(b"IDAT", zlib.compress(bytes(33 * 32)))
    for side in (65_535, 100_000, 2**31 - 1):
        content = png_bytes(Size(side, side), b"", bits=8, colour_type=2)
        yield HostileFile(f"{side}.png", content, "refused")
    too_much = png_chunk(b"IDAT", zeros)
    yield HostileFile("more-data.png", header + too_much + end)
    yield HostileFile("text.png", header + png_chunk(b"zTXt", b"a\0\0" + zeros) + data + end)
    many = b"".join(png_chunk(b"tEXt", f"k{n}\0v".encode()) for n in range(50_000))
    yield HostileFile("texts.png", header + many + data + end)
    profile = png_chunk(b"iCCP", b"a\0\0" + zeros)
    yield HostileFile("profile.png", header + profile + data + end)
    jpeg = encoded(Image.new("RGB", (64, 64)), "JPEG", progressive=True)
    scan = jpeg.index(b"\xff\xda")
    scans = jpeg[:scan] + jpeg[scan:-2] * 5_000 + jpeg[-2:]
    yield HostileFile("scans.jpg", scans, "refused")
    frames = [Image.new("L", (16, 16), shade) for shade in range(256)] * 4
    for format in ("GIF", "TIFF"):
        content = encoded(frames[0], format, save_all=True, append_images=frames[1:])
        yield HostileFile(f"frames.{format.lower()}", content, "picture")
    size = Size(32, 32)
    yield HostileFile("strip.tif", tiff(size, zeros, (16,), compression=8), "refused")
    for bits in ((65_535,), (16,) * 3000, (64,), (32, 16, 8), (0,)):
        yield HostileFile(f"{len(bits)}-bits.tif", tiff(size, bytes(4096), bits))
    yield HostileFile("large.tif", tiff(Size(60_000, 60_000), bytes(64), (16,)), "refused")
    loop = bytearray(tiff(size, bytes(2048), (16,)))
    loop[-4:] = struct.pack("<I", 8 + 2048 + 2)
    yield HostileFile("loop.tif", bytes(loop))
    for count in (2**31 - 1, 2**32 - 1):
        entry = struct.pack("<HHHII", 1, 273, 4, count, 8)
        yield HostileFile("count.tif", b"II*\0" + struct.pack("<I", 8) + entry + bytes(4))
    yield HostileFile("large.gif", b"GIF89a" + struct.pack("<HH", 65_535, 65_535) + bytes(20))
    bitmap = encoded(Image.new("RGB", (32, 32)), "BMP")
    wide = bitmap[:18] + struct.pack("<ii", 2**31 - 1, 2**31 - 1) + bitmap[26:]
    yield HostileFile("large.bmp", wide, "refused")
    yield HostileFile("large.ppm", b"P6 99999999 99999999 255\n" + bytes(64), "refused")
    yield HostileFile("digits.ppm", b"P6 " + b"9" * 100_000 + b" 1 255\n", "refused")


def sizes() -> Iterator[HostileFile]:
    """From nothing to the largest sides of the formats."""
    fits = {(16, 16), (16, 20_000), (20_000, 16)}
    for format in ("PNG", "BMP", "PPM", "TIFF", "GIF"):
        for width, height in ((1, 1), (1, 500), (500, 1), (15, 16), (16, 16), (16, 20_000),
                              (20_000, 16), (16, 20_001), (65_535, 1), (65_535, 16)):  # fmt: skip
            content = encoded(Image.new("L", (width, height)), format)
            outcome = "picture" if (width, height) in fits else "refused"
            yield HostileFile(f"{width}x{height}.{format.lower()}", content, outcome)
    for size in (Size(0, 0), Size(0, 16), Size(16, 0)):
        content = png_bytes(size, b"", bits=8, colour_type=0)
        yield HostileFile(f"{size}.png", content, "refused")


def floats() -> Iterator[HostileFile]:
    """Numbers that are no levels."""
    for dtype in ("float16", "float32", "float64"):
        for channels in (1, 3):
            for value in (np.nan, np.inf, -np.inf, -0.5, 1.5, 60_000):
                pixels = np.full((16, 20, channels)[: 2 + (channels > 1)], 0.5, dtype)
                pixels[3, 4] = value
                yield HostileFile(f"{value}.tif", deep_tiff(pixels), "refused")
            even = np.full((16, 20, channels)[: 2 + (channels > 1)], 0.5, dtype)
            yield HostileFile("half.tif", deep_tiff(even), "picture")


def modes() -> Iterator[HostileFile]:
    """Every mode of Pillow in every format that holds it."""
    colour = Image.fromarray(levels(20, 24, 4), "RGBA")
    for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "I", "I;16", "F"):
        image = colour.convert("RGB") if mode in ("YCbCr", "CMYK", "P", "LAB") else colour
        if mode == "LAB":
            image = Image.frombytes("LAB", (24, 20), bytes(24 * 20 * 3))
        elif mode == "I;16":
            image = Image.fromarray(levels(20, 24, 1, np.uint16)[..., 0])
        else:
            image = image.convert(mode)
        for format in ("PNG", "TIFF", "GIF", "BMP", "PPM", "WEBP"):
            try:
                content = encoded(image, format)
            except (OSError, ValueError, KeyError):
                continue  # the format does not hold this mode
            yield HostileFile(f"{mode.replace(';', '')}.{format.lower()}", content)


def profiles() -> Iterator[HostileFile]:
    """Profiles that are broken, of other pixels, or make no sense; the pixels are good."""
    broken = {
        "rubbish": b"not a profile",
        "short": bytes(3),
        "zeros": bytes(500),
        "cut": profile_of_black_ink_only()[:150],
        "other": profile_of_black_ink_only(),
        "bare": icc_profile(b"RGB ", b"XYZ ", {}),
        "curve": icc_profile(b"GRAY", b"XYZ ", {b"kTRC": b"curv" + bytes(4) + b"\xff" * 4}),
        "large": icc_profile(b"RGB ", b"XYZ ", {b"rTRC": bytes(500_000)}),
    }
    for name, profile in broken.items():
        for format in ("PNG", "JPEG", "TIFF", "WEBP"):
            content = encoded(Image.fromarray(smooth()), format, icc_profile=profile)
            yield HostileFile(f"{name}.{format.lower()}", content, "picture")


def animated() -> Iterator[HostileFile]:
    """The first frame counts."""
    frames = [Image.new("RGB", (24, 20), colour) for colour in ("red", "green", "blue")]
    for format in ("GIF", "WEBP", "PNG", "TIFF", "AVIF", "MPO"):
        content = encoded(frames[0], format, save_all=True, append_images=frames[1:])
        yield HostileFile(f"three.{format.lower()}", content, "picture")


def metadata() -> Iterator[HostileFile]:
    """Exif that is large, damaged or odd; the picture is good."""
    image = Image.fromarray(smooth())
    for orientation in (0, 9, 65_535):
        exif = Image.Exif()
        exif[ORIENTATION] = orientation
        yield HostileFile(f"{orientation}.jpg", encoded(image, "JPEG", exif=exif), "picture")
    for name, exif in {
        "huge": b"Exif\0\0" + bytes(60_000),
        "loop": b"Exif\0\0MM\0*" + struct.pack(">IHHHIII", 8, 1, 0x8769, 4, 1, 8, 8),
        "count": b"Exif\0\0MM\0*" + struct.pack(">IHHHIII", 8, 1, 0x010F, 2, 2**31, 8, 0),
    }.items():
        for format in ("JPEG", "PNG", "WEBP"):
            content = encoded(image, format, exif=exif)
            yield HostileFile(f"{name}.{format.lower()}", content, "picture")
    for dpi in (0, 1e30):
        density = png_chunk(b"pHYs", struct.pack(">IIB", int(min(dpi, 2**32 - 1)), 1, 1))
        content = png_bytes(Size(16, 16), bytes(17 * 16), bits=8, colour_type=0, extra=[density])
        yield HostileFile("density.png", content, "picture")


def polyglots() -> Iterator[HostileFile]:
    """Files that are two things, or another than they say."""
    png, jpeg = (encoded(Image.fromarray(smooth()), format) for format in ("PNG", "JPEG"))
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr("../../etc/passwd", "x")
    page = b"<!DOCTYPE html><script>alert(1)</script>"
    yield HostileFile("zip.png", png + archive.getvalue(), "picture")
    yield HostileFile("page.jpg", jpeg + page, "picture")
    for name, content in {
        "page.png": page + png,
        "page.html": page,
        "a.svg": b'<svg xmlns="http://www.w3.org/2000/svg" width="64" height="64"/>',
        "entity.svg": b'<!DOCTYPE s [<!ENTITY x SYSTEM "file:///etc/passwd">]><svg>&x;</svg>',
        "a.eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n(%pipe%id) (w) file\n",
        "a.pdf": b"%PDF-1.4\n" + jpeg,
        "a.psd": b"8BPS\0\1" + bytes(60),
        "a.ico": encoded(Image.new("RGB", (32, 32)), "ICO"),
        "a.icns": b"icns" + bytes(60),
        "a.fits": b"SIMPLE  =                    T" + bytes(2850),
        "a.mp4": b"\0\0\0\x18ftypmp42" + bytes(60),
        "a.zip": archive.getvalue(),
        "pickle.png": b"\x80\x04cos\nsystem\n(S'true'\ntR.",
        "zeros.png": bytes(10_000),
        "signature.png": b"\x89PNG\r\n\x1a\n",
        "signature.jpg": b"\xff\xd8\xff",
        "signature.tif": b"II*\0\x08\0\0\0",
        "signature.webp": b"RIFF\x10\0\0\0WEBPVP8 ",
    }.items():
        yield HostileFile(name, content, "refused")


HOSTILE_TEXTS: dict[str, Callable[[], str]] = {
    "deep": lambda: "[" * 100_000 + "]" * 100_000,
    "deep-object": lambda: '{"a":' * 5_000 + "1" + "}" * 5_000,
    "infinity": lambda: '{"t_max": Infinity, "seed": 0}',
    "nan": lambda: '{"t_max": NaN, "seed": NaN}',
    "huge": lambda: '{"seed": 1' + "0" * 5_000 + "}",
    "exponent": lambda: '{"scale": 1e999, "seed": 1e400}',
    "list": lambda: "[1, 2]",
    "null": lambda: "null",
    "empty": lambda: "",
    "markup": lambda: '{"variant": "<img src=x onerror=alert(1)>", "seed": 0}',
    "surrogate": lambda: '{"prompt": "\\ud800", "seed": 0}',
    "long": lambda: '{"prompt": "' + "x" * 1_000_000 + '", "seed": 0}',
}
"""Settings in a PNG that are none; most of them are no JSON or no numbers either."""
