"""Every way of storing a picture against its known pixels: right, or refused, or with a note."""

import io
import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms

from ccsr.images.formats import CHANNELS_LEFT_OUT
from ccsr.images.picture import Picture, PictureError, Size
from ccsr.images.profile import srgb_levels, to_srgb
from ccsr.images.reading import load_picture, read_size
from tests.unit.images.picture_files import (
    BLUE,
    GREEN,
    ORIENTATION,
    RED,
    as_words,
    encoded,
    gamma,
    icc_profile,
    levels,
    lzw,
    parametric,
    png_16,
    png_bytes,
    png_chunk,
    profile_of_black_ink_only,
    profile_of_grey_by_tables,
    rgb_profile,
    table,
    tiff,
)
from tests.unit.images.test_reading import STORED_AS

SIZE = Size(20, 33)
KINDS = {
    "grey": (1, "minisblack", ()),
    "grey, 0 is white": (1, "miniswhite", ()),
    "grey and alpha": (2, "minisblack", ("unassalpha",)),
    "colour": (3, "rgb", ()),
    "colour and alpha": (4, "rgb", ("unassalpha",)),
    "colour by alpha": (4, "rgb", ("assocalpha",)),
    "colour and more": (4, "rgb", ("unspecified",)),
}
"""Kind of TIFF -> channels, photometric interpretation, extra samples."""
DTYPES = ("uint8", "uint16", "uint32", "float16", "float32", "float64")


def samples(dtype: str, channels: int) -> np.ndarray:
    """Random samples of the whole range, [H,W,channels]; alpha is above a half."""
    rng = np.random.default_rng(channels)
    values = rng.random((*SIZE, channels))
    values[..., 3:] = 0.5 + values[..., 3:] / 2
    top = np.iinfo(dtype).max if dtype.startswith("u") else 1
    return (values * top).astype(dtype)


def unit(values: np.ndarray) -> np.ndarray:
    return values / np.iinfo(values.dtype).max if values.dtype.kind == "u" else values


def assert_read_rightly(
    content: bytes, rgb: np.ndarray, alpha: np.ndarray | None, atol: float, path: Path | None
) -> Picture:
    """By its name if a path is given, else as a stream."""
    if path is not None:
        path.write_bytes(content)
    picture = load_picture(path or io.BytesIO(content))
    np.testing.assert_allclose(picture.rgb, np.broadcast_to(rgb, (*SIZE, 3)), atol=atol)
    assert (picture.alpha is None) == (alpha is None)
    if alpha is not None:
        np.testing.assert_allclose(picture.alpha, alpha, atol=atol)
    return picture


def tiff_variants() -> Iterator[tuple[bool, str | None, int, bool]]:
    """Channels apart, compression, orientation, by name."""
    for number, (apart, compression, orientation) in enumerate(
        product((False, True), (None, "zlib"), STORED_AS)
    ):
        yield apart, compression, orientation, bool(number % 3)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
def test_tiff_of_any_layout_is_read_rightly(tmp_path: Path, kind: str, dtype: str) -> None:
    """Wrong once: channels apart, 0 as white, all but grey turned, alpha beyond 8 bits."""
    channels, photometric, extra = KINDS[kind]
    stored = samples(dtype, channels)
    shown = unit(stored)
    colour, alpha = shown[..., : 1 if channels < 3 else 3], None
    if "unassalpha" in extra or "assocalpha" in extra:
        alpha = shown[..., -1]
    if kind == "grey, 0 is white":
        colour = 1 - colour
    atol = 1e-6 if dtype not in ("uint8", "float16") else 1e-3
    if kind == "colour by alpha":
        top = np.iinfo(dtype).max if dtype.startswith("u") else 1
        multiplied = (colour * alpha[..., None] * top).astype(dtype)
        stored = np.concatenate([multiplied, stored[..., 3:]], axis=2)
        atol = 2.5 / 255 if dtype in ("uint8", "float16") else 1e-4
    for apart, compression, orientation, by_name in tiff_variants():
        turned = np.ascontiguousarray(STORED_AS[orientation](stored))
        data = np.moveaxis(turned, 2, 0) if apart else turned
        file = io.BytesIO()
        tifffile.imwrite(
            file,
            data[0] if channels == 1 and apart else data[..., 0] if channels == 1 else data,
            photometric=photometric,
            planarconfig=None if channels == 1 else "separate" if apart else "contig",
            extrasamples=extra or None,
            compression=compression,
            metadata=None,
            extratags=[(ORIENTATION, 3, 1, orientation, True)],
        )
        path = tmp_path / "a.tif" if by_name else None
        picture = assert_read_rightly(file.getvalue(), colour, alpha, atol, path)
        assert picture.notes == ((CHANNELS_LEFT_OUT,) if kind == "colour and more" else ())
        assert picture.bits == (8 if dtype == "uint8" else 16)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "F"])
@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "packbits"])
def test_turned_tiff_of_any_mode_is_upright(mode: str, compression: str, tmp_path: Path) -> None:
    """Uncompressed ones once came out sheared, of another height and width."""
    rng = np.random.default_rng(0)
    image = Image.fromarray(levels(*SIZE, 4), "RGBA")
    if mode == "I;16":
        image = Image.fromarray(rng.integers(0, 65536, SIZE, np.uint16))
    elif mode == "F":
        image = Image.fromarray(rng.random(SIZE, np.float32))
    elif mode == "P":
        image = image.convert("RGB").quantize(32)
    elif mode != "RGBA":
        image = image.convert("RGB" if mode == "CMYK" else mode).convert(mode)
    upright = load_picture(io.BytesIO(encoded(image, "TIFF", compression=compression)))
    stored_by = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    for orientation, transpose in stored_by.items():
        exif = Image.Exif()
        exif[ORIENTATION] = orientation
        stored = image.transpose(transpose)
        content = encoded(stored, "TIFF", compression=compression, exif=exif)
        for path in (tmp_path / "a.tif", None):
            assert_read_rightly(content, upright.rgb, upright.alpha, 0, path)
        assert read_size(io.BytesIO(content)) == upright.size


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("photometric", [0, 1])
def test_12_bit_tiff_is_not_too_dark(photometric: int, order: str) -> None:
    """It once was, by a factor of 16; what Pillow does not read is refused."""
    values = np.random.default_rng(0).integers(0, 4096, (20, 32))
    bits = "".join(f"{value:012b}" for value in values.ravel())
    data = int(bits, 2).to_bytes(len(bits) // 8, "big")
    content = tiff(Size(20, 32), data, (12,), order, photometric=photometric)
    if (photometric, order) == (1, "<"):
        picture = load_picture(io.BytesIO(content))
        np.testing.assert_allclose(picture.rgb[..., 0], values / 4095, atol=1e-6)
        return
    with pytest.raises(PictureError, match="save it as PNG"):
        load_picture(io.BytesIO(content))


@pytest.mark.parametrize(
    ("photometric", "order"), [(0, "<"), (1, "<"), (1, ">"), (2, "<"), (2, ">")]
)
def test_compressed_16_bit_tiff_keeps_every_level(photometric: int, order: str) -> None:
    channels = 3 if photometric == 2 else 1
    values = levels(*SIZE, channels, np.uint16)
    data = lzw(values.astype(f"{order}u2").tobytes())
    bits = (16,) * channels
    content = tiff(SIZE, data, bits, order, compression=5, photometric=photometric)
    words = as_words(load_picture(io.BytesIO(content)))
    expected = 65535 - values if photometric == 0 else values
    np.testing.assert_array_equal(words, np.broadcast_to(expected, (*SIZE, 3)))


@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "complex64"])
def test_numbers_with_a_sign_are_refused(dtype: str) -> None:
    file = io.BytesIO()
    tifffile.imwrite(file, np.ones(SIZE, dtype), photometric="minisblack")
    with pytest.raises(PictureError, match="with a sign"):
        load_picture(file)


NONE, LZW, PACKBITS, DEFLATE = 1, 5, 32773, 8
UNSIGNED, FLOATS = 1, 3


@pytest.mark.parametrize(
    ("bits", "kind", "compression", "predictor", "order", "reason"),
    [
        ((16,), UNSIGNED, PACKBITS, 2, "<", "predictor 2"),
        ((8,), UNSIGNED, PACKBITS, 2, "<", "predictor 2"),
        ((16,), UNSIGNED, NONE, 2, "<", "predictor 2"),
        ((32,), FLOATS, DEFLATE, 3, "<", "predictor 3"),
        ((32,), FLOATS, LZW, 1, ">", "not read together"),
        ((32,), UNSIGNED, LZW, 1, "<", "not read together"),
        ((32,) * 3, FLOATS, LZW, 1, "<", "not read together"),
    ],
)
def test_what_decoders_read_wrongly_is_refused(
    bits: tuple[int, ...], kind: int, compression: int, predictor: int, order: str, reason: str
) -> None:
    """Differences came out as levels, and floats in the wrong order of bytes."""
    data = bytes(SIZE.height * SIZE.width * len(bits) * bits[0] // 8)
    data = {DEFLATE: zlib.compress, LZW: lzw}.get(compression, bytes)(data)
    tags = {"compression": compression, "predictor": predictor, "sample_format": kind}
    content = tiff(SIZE, data, bits, order, photometric=2 if len(bits) == 3 else 1, **tags)
    with pytest.raises(PictureError, match=f"{reason}.*; save it"):
        load_picture(io.BytesIO(content))


@pytest.mark.parametrize("tag", [256, 257, 258, 273, 277, 279, 317, 339])
@pytest.mark.parametrize("type_and_count", [(3, 2), (2, 4), (12, 1), (3, 0)])
def test_tags_of_another_kind_are_nothing_but_refused(
    tag: int, type_and_count: tuple[int, int]
) -> None:
    """They once ended in a TypeError, as several numbers or texts where one is expected."""
    content = tiff(SIZE, bytes(2 * SIZE.height * SIZE.width), (16,))
    entry = content.index(struct.pack("<H", tag), content.index(b"\x10\0", 8 + 1320))
    changed = content[: entry + 2] + struct.pack("<HI", *type_and_count) + content[entry + 8 :]
    with suppress(PictureError):
        load_picture(io.BytesIO(changed))


def packed(values: np.ndarray, bits: int) -> bytes:
    """Rows of big-endian samples [H,N] of so many bits, each behind filter type 0."""
    rows = ["".join(f"{value:0{bits}b}" for value in row) for row in values]
    return b"".join(
        b"\0" + int(row.ljust(-(-len(row) // 8) * 8, "0"), 2).to_bytes(-(-len(row) // 8), "big")
        for row in rows
    )


@pytest.mark.parametrize("clear", [False, True])
@pytest.mark.parametrize(
    ("bits", "colour_type"),
    [*((bits, 0) for bits in (1, 2, 4, 8, 16)), *product((8, 16), (2, 4, 6))],
)
def test_png_of_any_depth_is_read_rightly(bits: int, colour_type: int, clear: bool) -> None:
    """The transparent level of 2 and 4 bits was once lost."""
    channels = {0: 1, 2: 3, 4: 2, 6: 4}[colour_type]
    top = 2**bits - 1
    values = np.random.default_rng(0).integers(0, top, (*SIZE, channels), endpoint=True)
    alpha = values[..., -1] / top if colour_type >= 4 else None
    extra: list[bytes] = []
    if clear and alpha is None:
        extra = [png_chunk(b"tRNS", struct.pack(f">{channels}H", *values[3, 4]))]
        alpha = (values != values[3, 4]).any(axis=2)
    rows = packed(values.reshape(SIZE.height, -1), bits)
    content = png_bytes(SIZE, rows, bits=bits, colour_type=colour_type, extra=extra)
    rgb = values[..., : 3 if channels > 2 else 1] / top
    picture = assert_read_rightly(content, rgb, alpha, 1e-6, None)
    assert (picture.bits, picture.notes) == (16 if bits == 16 else 8, ())


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_png_with_a_palette_is_read_rightly(bits: int) -> None:
    values = np.random.default_rng(0).integers(0, 2**bits, SIZE)
    palette, alpha = levels(2**bits, 1, 3)[:, 0], levels(2**bits, 1, 1)[:, 0, 0]
    extra = [png_chunk(b"PLTE", palette.tobytes()), png_chunk(b"tRNS", alpha.tobytes())]
    content = png_bytes(SIZE, packed(values, bits), bits=bits, colour_type=3, extra=extra)
    assert_read_rightly(content, palette[values] / 255, alpha[values] / 255, 1e-6, None)


@pytest.mark.parametrize("channels", [1, 3])
def test_portable_maps_of_16_bits(channels: int) -> None:
    values = levels(*SIZE, channels, np.uint16)
    kind = {1: "P5", 3: "P6"}[channels]
    header = f"{kind} {SIZE.width} {SIZE.height} 65535\n".encode()
    content = header + values.astype(">u2").tobytes()
    picture = assert_read_rightly(content, values / 65535, None, 1 / 255, None)
    assert (picture.bits == 16) == (channels == 1)
    assert ("16 bits" in " ".join(picture.notes)) == (channels == 3)


def test_avif_of_10_bits_has_a_note() -> None:
    """The flag is set by hand: Pillow writes 8 bits only."""
    content = encoded(Image.fromarray(levels(*SIZE)), "AVIF")
    assert load_picture(io.BytesIO(content)).notes == ()
    place = content.index(b"av1C") + 6
    deep = content[:place] + bytes([content[place] | 0x40]) + content[place + 1 :]
    try:
        notes = load_picture(io.BytesIO(deep)).notes
    except PictureError:
        pytest.skip("the decoder compares the flag with the stream")
    assert "10 or 12 bits" in " ".join(notes)


@pytest.mark.parametrize("name", [b"sRGB IEC61966-2.1", b"sRGB", b"something else"])
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_profile_counts_by_what_it_does(channels: int, bits: int, name: bytes) -> None:
    """A linear one whose name looked like sRGB was once taken for that: 51 became 51, not 124."""
    top = 2**bits - 1
    values = levels(*SIZE, channels, {8: np.uint8, 16: np.uint16}[bits])
    profile = rgb_profile(gamma(1.0), name=name)
    if channels == 1:
        profile = icc_profile(b"GRAY", b"XYZ ", {b"kTRC": gamma(1.0)}, name)
    expected = srgb_levels(values / top)
    if bits == 8:
        image = Image.fromarray(values[..., 0] if channels == 1 else values)
        content = encoded(image, "PNG", icc_profile=profile)
    else:
        stored = io.BytesIO(encoded(Image.new("L", (16, 16)), "PNG", icc_profile=profile)).read()
        place = stored.index(b"iCCP") - 4
        length = struct.unpack_from(">I", stored, place)[0] + 12
        content = png_16(values, [stored[place : place + length]])
    picture = assert_read_rightly(content, expected, None, 1e-3, None)
    assert (picture.bits, picture.notes) == (bits, ())


CURVES = {
    "gamma 1.8": gamma(1.8),
    "identity": b"curv" + bytes(8),
    "table": table(np.linspace(0, 1, 33) ** 2.4),
    "para 0": parametric(0, 2.4),
    "para 1": parametric(1, 2.2, 0.9, 0.1),
    "para 2": parametric(2, 2.2, 0.85, 0.1, 0.05),
    "para 3": parametric(3, 2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045),
    "para 4": parametric(4, 2.4, 0.9, 0.05, 0.08, 0.05, 0.02, 0.01),
}


@pytest.mark.parametrize("curve", CURVES.values(), ids=CURVES)
def test_curves_and_primaries_agree_with_littlecms(curve: bytes) -> None:
    wide = ((0.6097, 0.3111, 0.0195), (0.2053, 0.6257, 0.0609), (0.1492, 0.0632, 0.7446))
    profile = rgb_profile(curve, wide)
    pixels = levels(64, 64)
    expected = ImageCms.profileToProfile(
        Image.fromarray(pixels),
        ImageCms.ImageCmsProfile(io.BytesIO(profile)),
        ImageCms.createProfile("sRGB"),
        ImageCms.Intent.RELATIVE_COLORIMETRIC,
        flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )
    found, notes = to_srgb(pixels.astype(np.float32) / 255, profile)
    assert notes == ()
    # At the edge of what sRGB holds the two estimate the black point differently.
    assert np.mean(np.abs(found * 255 - np.asarray(expected)) > 2.1) < 0.02


def test_a_profile_that_does_what_srgb_does_is_none_whatever_its_name() -> None:
    curve = parametric(3, 2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
    pixels = levels(20, 20).astype(np.float32) / 255
    found, notes = to_srgb(pixels, rgb_profile(curve, (RED, GREEN, BLUE), b"Adobe RGB"))
    np.testing.assert_array_equal(found, pixels)
    assert notes == ()


@pytest.mark.parametrize("bits", [8, 16])
def test_a_profile_of_tables_is_applied_at_8_bits(bits: int) -> None:
    pixels = np.zeros((16, 20, 3), np.uint16)
    pixels[..., 0] = 65535
    file = io.BytesIO()
    stored = (pixels >> 8).astype(np.uint8) if bits == 8 else pixels
    tifffile.imwrite(file, stored, photometric="rgb", iccprofile=profile_of_grey_by_tables())
    picture = load_picture(file)
    # L* = 100 / 3.
    np.testing.assert_allclose(picture.rgb, srgb_levels(np.array(0.0769)), atol=0.01)
    assert ("read as 8" in " ".join(picture.notes)) == (bits == 16)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize(
    "profile",
    [b"not a profile", icc_profile(b"RGB ", b"XYZ ", {}), icc_profile(b"Lab ", b"XYZ ", {}),
     profile_of_black_ink_only(), rgb_profile(gamma(2.2))[:300]],
    ids=["rubbish", "no primaries", "of Lab", "of CMYK", "cut"],
)  # fmt: skip
def test_a_profile_that_cannot_be_used_is_noted(profile: bytes, bits: int) -> None:
    pixels = levels(16, 20)
    if bits == 8:
        picture = load_picture(
            io.BytesIO(encoded(Image.fromarray(pixels), "TIFF", icc_profile=profile))
        )
    else:
        file = io.BytesIO()
        tifffile.imwrite(file, pixels.astype(np.uint16) * 257, photometric="rgb",
                         iccprofile=profile)  # fmt: skip
        picture = load_picture(file)
    np.testing.assert_allclose(picture.rgb, pixels / 255, atol=1e-6)
    assert "cannot be used" in " ".join(picture.notes)
