"""Reading and writing pictures: what can be read, what is refused and how, what is written."""

import io
import re
import struct
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import DTypeLike
from PIL import Image, ImageCms

from ccsr.images.picture import (
    MAX_INPUT_PIXELS,
    MAX_SIDE,
    Picture,
    PictureError,
    Size,
    picture_from_array,
)
from ccsr.images.reading import FORMATS, load_picture, read_png_text
from ccsr.images.tensors import (
    crop_to,
    pad_to_multiple,
    resize,
    to_array,
    to_tensor,
    to_uint8,
    to_uint16,
)
from ccsr.images.writing import save_png

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
ORIENTATION = 0x0112

# How a camera stores an upright picture for each value of the orientation tag.
STORED_AS: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, 1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a, -1),
}


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


def tiff_16(values: np.ndarray, order: str) -> bytes:
    """An uncompressed 16-bit RGB TIFF of values [H,W,3], order "<" or ">"."""
    height, width, _ = values.shape
    data = values.astype(f"{order}u2").tobytes()
    tags = ((256, width), (257, height), (259, 1), (262, 2), (273, 8), (277, 3), (278, height))
    after_data = 8 + len(data)
    entries = [(tag, 4, 1, value) for tag, value in tags]
    entries += [(258, 3, 3, after_data), (279, 4, 1, len(data))]
    directory = struct.pack(f"{order}H", len(entries))
    directory += b"".join(struct.pack(f"{order}HHII", *entry) for entry in sorted(entries))
    mark = b"II" if order == "<" else b"MM"
    header = mark + struct.pack(f"{order}HI", 42, after_data + 6)
    bits = struct.pack(f"{order}HHH", 16, 16, 16)
    return header + data + bits + directory + bytes(4)


def icc_profile(space: bytes, connection: bytes, tags: dict[bytes, bytes]) -> bytes:
    """A version 2 colour profile for input in `space`."""
    description = b"desc" + bytes(4) + struct.pack(">I", 5) + b"test\0" + bytes(78)
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


def profile_with_red_and_blue_swapped() -> bytes:
    """The primaries of sRGB, red and blue exchanged, with a gamma of 2.2."""
    red, green, blue = (0.4361, 0.2225, 0.0139), (0.3851, 0.7169, 0.0971), (0.1431, 0.0606, 0.7141)
    primaries = {b"rXYZ": xyz(*blue), b"gXYZ": xyz(*green), b"bXYZ": xyz(*red)}
    curves = {name: gamma(2.2) for name in (b"rTRC", b"gTRC", b"bTRC")}
    return icc_profile(b"RGB ", b"XYZ ", {**primaries, **curves})


def profile_of_black_ink_only() -> bytes:
    """A CMYK profile whose cyan, magenta and yellow are invisible."""
    identity = bytes(range(256))
    corners = b"".join(bytes([255 * (1 - corner % 2), 128, 128]) for corner in range(16))
    unit = struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 65536)
    table = b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + unit + identity * 4 + corners + identity * 3
    return icc_profile(b"CMYK", b"Lab ", {b"A2B0": table})


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


class TestReading:
    @pytest.mark.parametrize("format", ["PNG", "TIFF", "BMP", "PPM"])
    def test_lossless_formats_give_the_pixels_of_the_file(
        self, tmp_path: Path, format: str
    ) -> None:
        pixels = levels(20, 33)
        picture = load_picture(
            written(tmp_path / "picture", encoded(Image.fromarray(pixels), format))
        )
        np.testing.assert_array_equal(as_bytes(picture), pixels)
        assert picture.alpha is None
        assert picture.bits == 8
        assert picture.notes == ()
        assert picture.size == Size(height=20, width=33)

    @pytest.mark.parametrize("format", ["JPEG", "WEBP", "AVIF"])
    def test_lossy_formats_give_nearly_the_pixels_of_the_file(
        self, tmp_path: Path, format: str
    ) -> None:
        pixels = smooth()
        content = encoded(Image.fromarray(pixels), format, quality=95)
        picture = load_picture(written(tmp_path / "picture", content))
        np.testing.assert_allclose(picture.rgb, pixels / 255, atol=0.04)

    @pytest.mark.parametrize("name", ["picture.xyz", "picture", "picture.jpg", "Bild ü 图.PNG"])
    def test_the_content_counts_and_not_the_name(self, tmp_path: Path, name: str) -> None:
        pixels = levels(16, 16)
        path = written(tmp_path / name, encoded(Image.fromarray(pixels), "PNG"))
        np.testing.assert_array_equal(as_bytes(load_picture(path)), pixels)
        np.testing.assert_array_equal(as_bytes(load_picture(str(path))), pixels)

    @pytest.mark.parametrize("orientation", STORED_AS)
    def test_pictures_are_turned_upright(self, tmp_path: Path, orientation: int) -> None:
        upright = levels(20, 33)
        stored = np.ascontiguousarray(STORED_AS[orientation](upright))
        exif = Image.Exif()
        exif[ORIENTATION] = orientation
        path = written(tmp_path / "a.png", encoded(Image.fromarray(stored), "PNG", exif=exif))
        np.testing.assert_array_equal(as_bytes(load_picture(path)), upright)

    def test_jpeg_from_a_camera_held_upright_is_turned(self, tmp_path: Path) -> None:
        upright = smooth(48, 32)
        exif = Image.Exif()
        exif[ORIENTATION] = 6
        stored = Image.fromarray(np.ascontiguousarray(STORED_AS[6](upright)))
        path = written(tmp_path / "a.jpg", encoded(stored, "JPEG", exif=exif, quality=95))
        picture = load_picture(path)
        assert picture.size == Size(48, 32)
        np.testing.assert_allclose(picture.rgb, upright / 255, atol=0.04)

    @pytest.mark.parametrize("channels", [3, 4])
    @pytest.mark.parametrize("orientation", [5, 6, 8])
    def test_16_bit_pictures_are_turned_upright(
        self, tmp_path: Path, orientation: int, channels: int
    ) -> None:
        upright = levels(20, 33, channels, np.uint16)
        exif = Image.Exif()
        exif[ORIENTATION] = orientation
        chunk = png_chunk(b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0"))
        path = written(tmp_path / "a.png", png_16(STORED_AS[orientation](upright), [chunk]))
        np.testing.assert_array_equal(as_words(load_picture(path)), upright)

    def test_grey_becomes_three_equal_channels(self, tmp_path: Path) -> None:
        grey = levels(16, 20, 1)
        path = written(tmp_path / "a.png", encoded(Image.fromarray(grey[..., 0]), "PNG"))
        np.testing.assert_array_equal(as_bytes(load_picture(path)), np.repeat(grey, 3, axis=2))

    def test_black_and_white_is_read(self, tmp_path: Path) -> None:
        bits = levels(16, 20, 1)[..., 0] > 127
        path = written(tmp_path / "a.png", encoded(Image.fromarray(bits), "PNG"))
        expected = np.repeat(bits[..., None], 3, axis=2) * np.uint8(255)
        np.testing.assert_array_equal(as_bytes(load_picture(path)), expected)

    @pytest.mark.parametrize("format", ["PNG", "TIFF"])
    def test_alpha_is_kept_apart_and_does_not_touch_the_colour(
        self, tmp_path: Path, format: str
    ) -> None:
        pixels = levels(16, 20, 4)
        pixels[:8, :, 3] = 0
        path = written(tmp_path / "picture", encoded(Image.fromarray(pixels), format))
        np.testing.assert_array_equal(as_bytes(load_picture(path)), pixels)

    def test_lossless_webp_keeps_alpha(self, tmp_path: Path) -> None:
        pixels = levels(16, 20, 4)
        content = encoded(Image.fromarray(pixels), "WEBP", lossless=True, exact=True)
        np.testing.assert_array_equal(
            as_bytes(load_picture(written(tmp_path / "a", content))), pixels
        )

    def test_alpha_of_grey_pictures_is_kept(self, tmp_path: Path) -> None:
        pixels = levels(16, 20, 2)
        path = written(tmp_path / "a.png", encoded(Image.fromarray(pixels), "PNG"))
        expected = np.dstack([pixels[..., [0, 0, 0]], pixels[..., 1]])
        np.testing.assert_array_equal(as_bytes(load_picture(path)), expected)

    def test_transparent_entries_of_a_palette_become_alpha(self, tmp_path: Path) -> None:
        indices = levels(16, 20, 1)[..., 0] % 3
        image = Image.fromarray(indices, "L").copy()
        image.putpalette([255, 0, 0, 0, 255, 0, 10, 20, 30])
        content = encoded(image, "PNG", transparency=bytes([255, 0, 100]))
        colours = np.array([[255, 0, 0, 255], [0, 255, 0, 0], [10, 20, 30, 100]], np.uint8)
        picture = load_picture(written(tmp_path / "a.png", content))
        np.testing.assert_array_equal(as_bytes(picture), colours[indices])

    def test_the_transparent_colour_of_an_rgb_png_becomes_alpha(self, tmp_path: Path) -> None:
        pixels = levels(16, 20)
        pixels[3, 4] = (1, 2, 3)
        content = encoded(Image.fromarray(pixels), "PNG", transparency=(1, 2, 3))
        picture = load_picture(written(tmp_path / "a.png", content))
        expected = np.full((16, 20), 255)
        expected[3, 4] = 0
        np.testing.assert_array_equal(as_bytes(picture)[..., 3], expected)


class TestSixteenBits:
    def test_16_bit_grey_keeps_every_level(self, tmp_path: Path) -> None:
        grey = np.arange(65536, dtype=np.uint16).reshape(256, 256, 1)
        picture = load_picture(written(tmp_path / "a.png", png_16(grey)))
        assert picture.bits == 16
        np.testing.assert_array_equal(as_words(picture), np.repeat(grey, 3, axis=2))

    @pytest.mark.parametrize("channels", [3, 4])
    def test_16_bit_colour_keeps_every_level(self, tmp_path: Path, channels: int) -> None:
        values = levels(40, 50, channels, np.uint16)
        picture = load_picture(written(tmp_path / "a.png", png_16(values)))
        assert picture.bits == 16
        assert picture.notes == ()
        np.testing.assert_array_equal(as_words(picture), values)

    def test_interlaced_16_bit_png_keeps_every_level(self, tmp_path: Path) -> None:
        values = levels(19, 21, 3, np.uint16)
        passes = ((0, 0, 8), (0, 4, 8), (4, 0, 8), (0, 2, 4), (2, 0, 4), (0, 1, 2), (1, 0, 2))
        steps = ((8, 8), (8, 8), (8, 4), (4, 4), (4, 2), (2, 2), (2, 1))
        rows = b"".join(
            unfiltered(values[top::down, left::across])
            for (top, left, _), (down, across) in zip(passes, steps, strict=True)
        )
        content = png_bytes(Size(19, 21), rows, bits=16, colour_type=2, interlaced=True)
        picture = load_picture(written(tmp_path / "a.png", content))
        np.testing.assert_array_equal(as_words(picture), values)

    @pytest.mark.parametrize("order", ["<", ">"])
    def test_16_bit_tiff_keeps_every_level_in_both_byte_orders(
        self, tmp_path: Path, order: str
    ) -> None:
        values = levels(20, 33, 3, np.uint16)
        picture = load_picture(written(tmp_path / "a.tif", tiff_16(values, order)))
        assert picture.bits == 16
        np.testing.assert_array_equal(as_words(picture), values)

    def test_16_bit_grey_tiff_keeps_every_level(self, tmp_path: Path) -> None:
        grey = levels(20, 33, 1, np.uint16)
        content = encoded(Image.fromarray(grey[..., 0]), "TIFF")
        picture = load_picture(written(tmp_path / "a.tif", content))
        np.testing.assert_array_equal(as_words(picture), np.repeat(grey, 3, axis=2))

    def test_16_bit_grey_with_alpha_is_read_as_8_with_a_note(self, tmp_path: Path) -> None:
        values = levels(20, 33, 2, np.uint16)
        picture = load_picture(written(tmp_path / "a.png", png_16(values)))
        assert picture.alpha is not None
        assert "16 bits" in " ".join(picture.notes)
        np.testing.assert_allclose(picture.rgb[..., 1], values[..., 0] / 65535, atol=1 / 255)
        np.testing.assert_allclose(picture.alpha, values[..., 1] / 65535, atol=1 / 255)

    @pytest.mark.parametrize("channels", [1, 3])
    def test_the_transparent_colour_of_a_16_bit_png_becomes_alpha(
        self, tmp_path: Path, channels: int
    ) -> None:
        values = levels(20, 33, channels, np.uint16)
        clear = values[3, 4]
        # Differs in the lower byte of one channel, so it is another colour and stays visible.
        values[5, 6] = clear
        values[5, 6, -1] ^= 1
        chunk = png_chunk(b"tRNS", clear.astype(">u2").tobytes())
        picture = load_picture(written(tmp_path / "a.png", png_16(values, [chunk])))
        expected = np.ones((20, 33))
        expected[3, 4] = 0
        assert picture.alpha is not None
        np.testing.assert_array_equal(picture.alpha, expected)
        np.testing.assert_array_equal(
            as_words(picture)[..., :3], np.broadcast_to(values, (20, 33, 3))
        )

    def test_float_tiff_in_range_is_read_as_it_is(self, tmp_path: Path) -> None:
        values = np.random.default_rng(0).random((20, 33), dtype=np.float32)
        path = written(tmp_path / "a.tif", encoded(Image.fromarray(values), "TIFF"))
        picture = load_picture(path)
        np.testing.assert_array_equal(picture.rgb, np.repeat(values[..., None], 3, axis=2))
        assert picture.bits == 16

    @pytest.mark.parametrize("bad", [-0.5, 1.5, 255.0, np.nan, np.inf])
    def test_float_tiff_out_of_range_is_refused_with_advice(
        self, tmp_path: Path, bad: float
    ) -> None:
        values = np.full((16, 16), 0.5, np.float32)
        values[3, 4] = bad
        path = written(tmp_path / "a.tif", encoded(Image.fromarray(values), "TIFF"))
        with pytest.raises(PictureError, match=r"a\.tif has values .*scale it"):
            load_picture(path)


class TestColourProfiles:
    def test_rgb_profile_is_applied(self, tmp_path: Path) -> None:
        image = Image.new("RGB", (20, 20), (255, 0, 0))
        content = encoded(image, "PNG", icc_profile=profile_with_red_and_blue_swapped())
        picture = load_picture(written(tmp_path / "a.png", content))
        np.testing.assert_allclose(picture.rgb[0, 0], (0, 0, 1), atol=0.02)

    def test_profile_leaves_alpha_alone(self, tmp_path: Path) -> None:
        image = Image.new("RGBA", (20, 20), (255, 0, 0, 77))
        content = encoded(image, "PNG", icc_profile=profile_with_red_and_blue_swapped())
        picture = load_picture(written(tmp_path / "a.png", content))
        np.testing.assert_allclose(picture.rgb[0, 0], (0, 0, 1), atol=0.02)
        assert picture.alpha is not None
        np.testing.assert_allclose(picture.alpha, 77 / 255)

    def test_profile_of_16_bit_colour_is_applied_at_8_bits_with_a_note(
        self, tmp_path: Path
    ) -> None:
        values = np.full((20, 20, 3), (65535, 0, 0), np.uint16)
        profile = zlib.compress(profile_with_red_and_blue_swapped())
        chunk = png_chunk(b"iCCP", b"test\0\0" + profile)
        picture = load_picture(written(tmp_path / "a.png", png_16(values, [chunk])))
        np.testing.assert_allclose(picture.rgb[0, 0], (0, 0, 1), atol=0.02)
        assert "16 bits" in " ".join(picture.notes)

    def test_linear_grey_profile_is_applied(self, tmp_path: Path) -> None:
        profile = icc_profile(b"GRAY", b"XYZ ", {b"kTRC": gamma(1.0)})
        content = encoded(Image.new("L", (20, 20), 128), "PNG", icc_profile=profile)
        picture = load_picture(written(tmp_path / "a.png", content))
        # The sRGB value of half the light, by the formula of the standard.
        expected = 1.055 * (128 / 255) ** (1 / 2.4) - 0.055
        np.testing.assert_allclose(picture.rgb[0, 0], expected, atol=0.01)

    def test_grey_profile_applies_to_grey_with_alpha(self, tmp_path: Path) -> None:
        profile = icc_profile(b"GRAY", b"XYZ ", {b"kTRC": gamma(1.0)})
        content = encoded(Image.new("LA", (20, 20), (128, 77)), "PNG", icc_profile=profile)
        picture = load_picture(written(tmp_path / "a.png", content))
        np.testing.assert_allclose(as_bytes(picture)[0, 0], (188, 188, 188, 77), atol=2)

    def test_rgb_profile_applies_to_a_grey_picture(self, tmp_path: Path) -> None:
        image = Image.new("L", (20, 20), 128)
        content = encoded(image, "PNG", icc_profile=profile_with_red_and_blue_swapped())
        picture = load_picture(written(tmp_path / "a.png", content))
        np.testing.assert_allclose(picture.rgb[0, 0], 128 / 255, atol=0.02)

    @pytest.mark.parametrize(
        "profile",
        [
            ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(),
            b"not a profile",
            icc_profile(b"RGB ", b"XYZ ", {}),
        ],
        ids=["srgb", "broken", "no primaries"],
    )
    def test_srgb_and_broken_profiles_change_nothing(self, tmp_path: Path, profile: bytes) -> None:
        pixels = levels(16, 20)
        content = encoded(Image.fromarray(pixels), "PNG", icc_profile=profile)
        picture = load_picture(written(tmp_path / "a.png", content))
        np.testing.assert_array_equal(as_bytes(picture), pixels)

    def test_cmyk_jpeg_without_profile_is_approximated_with_a_note(self, tmp_path: Path) -> None:
        cyan = Image.new("CMYK", (32, 32), (255, 0, 0, 0))
        picture = load_picture(written(tmp_path / "a.jpg", encoded(cyan, "JPEG", quality=95)))
        np.testing.assert_allclose(picture.rgb[16, 16], (0, 1, 1), atol=0.03)
        assert "CMYK" in " ".join(picture.notes)

    def test_cmyk_jpeg_with_profile_goes_through_it(self, tmp_path: Path) -> None:
        image = Image.new("CMYK", (32, 32), (255, 0, 0, 0))
        image.paste((255, 0, 0, 255), (0, 0, 32, 16))
        content = encoded(image, "JPEG", quality=95, icc_profile=profile_of_black_ink_only())
        picture = load_picture(written(tmp_path / "a.jpg", content))
        np.testing.assert_allclose(picture.rgb[24, 16], 1, atol=0.03)
        np.testing.assert_allclose(picture.rgb[4, 16], 0, atol=0.03)
        assert picture.notes == ()

    def test_cmyk_jpeg_with_an_rgb_profile_is_approximated(self, tmp_path: Path) -> None:
        cyan = Image.new("CMYK", (32, 32), (255, 0, 0, 0))
        profile = profile_with_red_and_blue_swapped()
        content = encoded(cyan, "JPEG", quality=95, icc_profile=profile)
        picture = load_picture(written(tmp_path / "a.jpg", content))
        np.testing.assert_allclose(picture.rgb[16, 16], (0, 1, 1), atol=0.03)
        assert "CMYK" in " ".join(picture.notes)


class TestFrames:
    @pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG", "TIFF"])
    def test_first_frame_of_several_is_used_with_a_note(self, tmp_path: Path, format: str) -> None:
        first = Image.new("RGB", (24, 20), (200, 30, 30))
        later = [Image.new("RGB", (24, 20), colour) for colour in ("green", "blue")]
        content = encoded(first, format, save_all=True, append_images=later)
        picture = load_picture(written(tmp_path / "animated", content))
        np.testing.assert_allclose(picture.rgb[10, 12], np.array([200, 30, 30]) / 255, atol=0.03)
        assert picture.notes == ("only the first of its 3 frames is used",)

    def test_further_pictures_of_a_phones_jpeg_have_no_note(self, tmp_path: Path) -> None:
        """They are maps of depth or of gain, which nobody expects to be upscaled."""
        photo, depth = Image.fromarray(smooth()), Image.new("L", (24, 20), 99)
        content = encoded(photo, "MPO", save_all=True, append_images=[depth], quality=95)
        path = written(tmp_path / "a.jpg", content)
        with Image.open(path) as image:
            assert image.format == "MPO"
        picture = load_picture(path)
        np.testing.assert_allclose(picture.rgb, smooth() / 255, atol=0.04)
        assert picture.notes == ()

    @pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG", "TIFF"])
    def test_one_frame_has_no_note(self, tmp_path: Path, format: str) -> None:
        content = encoded(Image.new("RGB", (24, 20), "green"), format)
        assert load_picture(written(tmp_path / "still", content)).notes == ()


class TestRefusals:
    @pytest.mark.parametrize("size", [Size(1, 1), Size(15, 16), Size(16, 15)], ids=str)
    def test_too_small_a_picture_is_refused_with_its_size(self, tmp_path: Path, size: Size) -> None:
        content = encoded(Image.new("RGB", (size.width, size.height)), "PNG")
        with pytest.raises(PictureError, match=rf"a\.png is {size} pixels"):
            load_picture(written(tmp_path / "a.png", content))

    def test_the_smallest_picture_is_accepted(self, tmp_path: Path) -> None:
        content = encoded(Image.new("RGB", (16, 16)), "PNG")
        assert load_picture(written(tmp_path / "a.png", content)).size == Size(16, 16)

    @pytest.mark.parametrize(
        "size",
        [Size(300, 20_000), Size(16, MAX_SIDE + 1), Size(MAX_SIDE + 1, 16), Size(2048, 2049)],
        ids=str,
    )
    def test_too_large_a_picture_is_refused_before_it_is_decoded(
        self, tmp_path: Path, size: Size
    ) -> None:
        """Its pixels are rubbish: decoding them would give the message for damaged files."""
        content = png_bytes(size, b"rubbish", bits=8, colour_type=2)
        with pytest.raises(PictureError, match=rf"is {size} pixels; the limit is {4_194_304:,}"):
            load_picture(written(tmp_path / "a.png", content))

    def test_rubbish_of_an_acceptable_size_is_called_damaged(self, tmp_path: Path) -> None:
        content = png_bytes(Size(300, 200), b"rubbish", bits=8, colour_type=2)
        with pytest.raises(PictureError, match="damaged or incomplete"):
            load_picture(written(tmp_path / "a.png", content))

    def test_a_decompression_bomb_is_refused(self, tmp_path: Path) -> None:
        content = png_bytes(Size(100_000, 100_000), b"", bits=8, colour_type=2)
        with pytest.raises(PictureError, match="too many pixels"):
            load_picture(written(tmp_path / "a.png", content))

    def test_the_limit_of_pixels_can_be_chosen(self, tmp_path: Path) -> None:
        path = written(tmp_path / "a.png", encoded(Image.new("L", (20, 30)), "PNG"))
        assert load_picture(path, max_pixels=600).size == Size(30, 20)
        with pytest.raises(PictureError, match="the limit is 599 pixels"):
            load_picture(path, max_pixels=599)
        assert MAX_INPUT_PIXELS == 4_194_304

    def test_missing_file_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(PictureError, match=r"no file .*none\.png"):
            load_picture(tmp_path / "none.png")

    def test_folder_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(PictureError, match="is not a file"):
            load_picture(tmp_path)

    def test_empty_file_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(PictureError, match=r"a\.png is empty"):
            load_picture(written(tmp_path / "a.png", b""))

    @pytest.mark.parametrize(
        "content",
        [b"Dear diary,\n", b"\0" * 100, b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n"],
        ids=["text", "zeros", "eps"],
    )
    def test_what_is_not_a_picture_is_refused_whatever_its_name(
        self, tmp_path: Path, content: bytes
    ) -> None:
        with pytest.raises(PictureError, match=r"a\.png is not a picture.*save it as PNG"):
            load_picture(written(tmp_path / "a.png", content))

    @pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "AVIF", "BMP", "TIFF"])
    @pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
    def test_truncated_file_is_refused(self, tmp_path: Path, format: str, share: float) -> None:
        content = encoded(Image.fromarray(levels(64, 64)), format)
        path = written(tmp_path / "a", content[: int(len(content) * share)])
        with pytest.raises(PictureError, match=r"^a is (damaged or incomplete|not a picture)"):
            load_picture(path)

    @pytest.mark.filterwarnings("ignore")
    @pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "AVIF", "GIF", "TIFF"])
    def test_no_damage_raises_anything_but_picture_error(self, tmp_path: Path, format: str) -> None:
        """A broken AVIF once raised a RuntimeError of its decoder."""
        whole = encoded(Image.fromarray(levels(24, 20)), format)
        rng = np.random.default_rng(0)
        refused = 0
        for _ in range(60):
            content = np.frombuffer(whole, np.uint8).copy()
            content[rng.integers(0, min(len(content), 400), 3)] = rng.integers(0, 256, 3)
            try:
                load_picture(written(tmp_path / "a", content.tobytes()))
            except PictureError:
                refused += 1
        assert refused > 0


class TestArrays:
    @pytest.mark.parametrize("channels", [1, 3, 4])
    @pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
    def test_integers_are_scaled_by_their_range(self, dtype: DTypeLike, channels: int) -> None:
        array = levels(16, 20, channels, dtype)
        picture = picture_from_array(array[..., 0] if channels == 1 else array)
        expected = array / np.iinfo(dtype).max
        np.testing.assert_allclose(
            picture.rgb, np.broadcast_to(expected[..., :3], (16, 20, 3)), atol=1e-6
        )
        assert picture.bits == array.itemsize * 8
        assert (picture.alpha is not None) == (channels == 4)
        if picture.alpha is not None:
            np.testing.assert_allclose(picture.alpha, expected[..., 3], atol=1e-6)

    def test_both_byte_orders_are_read(self) -> None:
        array = levels(16, 20, 3, np.uint16)
        np.testing.assert_array_equal(as_words(picture_from_array(array.astype(">u2"))), array)

    @pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
    def test_floats_are_taken_as_they_are(self, dtype: DTypeLike) -> None:
        array = np.random.default_rng(0).random((16, 20, 3)).astype(dtype)
        picture = picture_from_array(array)
        np.testing.assert_array_equal(picture.rgb, array.astype(np.float32))
        assert picture.bits == 16

    def test_bool_is_black_and_white(self) -> None:
        picture = picture_from_array(np.eye(16, dtype=bool))
        np.testing.assert_array_equal(picture.rgb[..., 2], np.eye(16))
        assert picture.bits == 8

    @pytest.mark.parametrize("side", [MAX_SIDE, 2049])
    def test_an_array_may_have_more_pixels_than_a_file(self, side: int) -> None:
        assert picture_from_array(np.zeros((2100, side // 4), np.uint8)).size.height == 2100

    @pytest.mark.parametrize(
        ("array", "message"),
        [
            (np.zeros((16, 16, 2), np.uint8), "channels last"),
            (np.zeros((3, 16, 16), np.uint8), "channels last"),
            (np.zeros(16, np.uint8), "channels last"),
            (np.zeros((16, 16), np.int32), "convert it"),
            (np.zeros((15, 16), np.uint8), "16x15"),
            (np.zeros((0, 0, 3), np.uint8), "0x0"),
            (np.full((16, 16), 1.01), "scale it"),
            (np.full((16, 16), np.nan), "scale it"),
        ],
    )
    def test_other_arrays_are_refused_with_advice(self, array: np.ndarray, message: str) -> None:
        with pytest.raises(PictureError, match=message):
            picture_from_array(array)

    @pytest.mark.parametrize(
        ("rgb", "alpha", "bits"),
        [
            (np.zeros((16, 16, 3)), None, 8),
            (np.zeros((16, 16), np.float32), None, 8),
            (np.zeros((16, 16, 4), np.float32), None, 8),
            (np.zeros((16, 16, 3), np.float32), np.zeros((16, 17), np.float32), 8),
            (np.zeros((16, 16, 3), np.float32), np.zeros((16, 16)), 8),
            (np.zeros((16, 16, 3), np.float32), None, 12),
        ],
    )
    def test_a_picture_refuses_arrays_of_other_kinds(
        self, rgb: np.ndarray, alpha: np.ndarray | None, bits: int
    ) -> None:
        with pytest.raises(ValueError, match="must be"):
            Picture(rgb, alpha, bits)


class TestTensors:
    def test_array_and_tensor_are_inverse(self) -> None:
        rgb = np.random.default_rng(0).random((5, 7, 3), dtype=np.float32)
        tensor = to_tensor(rgb)
        assert tensor.shape == (1, 3, 5, 7)
        assert tensor[0, 2, 4, 6] == rgb[4, 6, 2]
        np.testing.assert_array_equal(to_array(tensor), rgb)
        np.testing.assert_array_equal(to_array(tensor[0]), rgb)

    def test_the_tensor_has_memory_of_its_own(self) -> None:
        rgb = np.zeros((5, 7, 3), np.float32)
        to_tensor(rgb).fill_(1)
        assert rgb.max() == 0

    @pytest.mark.parametrize("channels_last", [True, False])
    def test_to_array_takes_over_memory_only_when_told(self, channels_last: bool) -> None:
        x = torch.linspace(-1, 2, 24).reshape(1, 3, 2, 4)
        if channels_last:
            x = x.to(memory_format=torch.channels_last)
        before = x.clone()
        expected = to_array(x)
        assert torch.equal(x, before)
        found = to_array(x, overwrite=True)
        np.testing.assert_array_equal(found, expected)
        assert np.shares_memory(found, x.numpy()) == channels_last

    def test_to_array_clamps(self) -> None:
        x = torch.tensor([-0.5, 0.25, 1.5]).reshape(3, 1, 1)
        np.testing.assert_array_equal(to_array(x)[0, 0], [0, 0.25, 1])

    @pytest.mark.parametrize("shape", [(5, 7), (2, 3, 5, 7), (1, 1, 3, 5, 7)])
    def test_to_array_refuses_other_shapes(self, shape: tuple[int, ...]) -> None:
        with pytest.raises(ValueError, match=re.escape("[3,H,W]")):
            to_array(torch.zeros(shape))

    def test_every_8_bit_level_survives(self) -> None:
        all_levels = np.arange(256, dtype=np.uint8)
        np.testing.assert_array_equal(to_uint8(all_levels.astype(np.float32) / 255), all_levels)

    def test_every_16_bit_level_survives(self) -> None:
        all_levels = np.arange(65536, dtype=np.uint16)
        np.testing.assert_array_equal(to_uint16(all_levels.astype(np.float32) / 65535), all_levels)

    def test_rounding_is_to_the_nearest_and_halves_go_up(self) -> None:
        values = np.array([0.49, 0.51, 1.5, 2.5, 253.49, 254.5])
        np.testing.assert_array_equal(to_uint8(values / 255), [0, 1, 2, 3, 253, 255])
        np.testing.assert_array_equal(to_uint16(values / 65535), [0, 1, 2, 3, 253, 255])

    def test_16_bit_rounding_is_right_between_the_levels_too(self) -> None:
        values = np.random.default_rng(0).random(100_000, dtype=np.float32)
        error = np.abs(values.astype(np.float64) * 65535 - to_uint16(values))
        assert error.max() <= 0.5

    def test_values_outside_are_clamped_and_not_wrapped(self) -> None:
        values = np.array([-1, -0.001, 1.001, 2, np.inf])
        np.testing.assert_array_equal(to_uint8(values), [0, 0, 255, 255, 255])
        np.testing.assert_array_equal(to_uint16(values), [0, 0, 65535, 65535, 65535])


class TestResize:
    @pytest.mark.parametrize(
        ("size", "target"),
        [
            (Size(64, 96), Size(16, 24)),
            (Size(65, 94), Size(16, 24)),
            (Size(16, 24), Size(64, 96)),
            (Size(16, 24), Size(16, 24)),
        ],
        ids=str,
    )
    def test_agrees_with_pillows_bicubic(self, size: Size, target: Size) -> None:
        pixels = levels(*size)
        # On floats: of 8-bit images Pillow rounds and clips what is between its two passes too.
        channels = [Image.fromarray(pixels[..., i].astype(np.float32)) for i in range(3)]
        shape = (target.width, target.height)
        expected = np.dstack(
            [np.asarray(c.resize(shape, Image.Resampling.BICUBIC)) for c in channels]
        )
        ours = to_array(resize(to_tensor(pixels / 255), target))
        np.testing.assert_allclose(ours, (expected / 255).clip(0, 1), atol=2e-5)

    def test_reducing_agrees_with_pillows_bicubic_of_8_bits(self) -> None:
        pixels = smooth(64, 96)
        expected = np.asarray(Image.fromarray(pixels).resize((24, 16), Image.Resampling.BICUBIC))
        ours = to_uint8(to_array(resize(to_tensor(pixels / 255), Size(16, 24))))
        np.testing.assert_allclose(ours.astype(int), expected, atol=1)

    @pytest.mark.parametrize("target", [Size(8, 8), Size(31, 17), Size(128, 200)], ids=str)
    @pytest.mark.parametrize("value", [0.0, 0.3, 1.0])
    def test_constants_stay_constant(self, target: Size, value: float) -> None:
        x = resize(torch.full((1, 3, 32, 32), value), target)
        assert x.shape == (1, 3, *target)
        torch.testing.assert_close(x, torch.full_like(x, value), atol=1e-6, rtol=0)

    def test_overshoot_is_clamped(self) -> None:
        x = torch.zeros(1, 3, 16, 16)
        x[..., 8:] = 1
        enlarged = resize(x, Size(64, 64))
        assert enlarged.min() == 0
        assert enlarged.max() == 1


class TestPadding:
    @pytest.mark.parametrize(("multiple", "minimum"), [(1, 0), (8, 0), (64, 0), (8, 96), (64, 130)])
    def test_cutting_undoes_padding_for_every_size(self, multiple: int, minimum: int) -> None:
        for length in range(1, 131):
            other = 131 - length
            x = torch.rand(1, 1, length, other)
            padded, size = pad_to_multiple(x, multiple, minimum)
            assert size == Size(length, other)
            for side, padded_side in zip(size, padded.shape[2:], strict=True):
                assert padded_side % multiple == 0
                assert max(side, minimum) <= padded_side < max(side, minimum) + multiple
            assert torch.equal(crop_to(padded, size), x)

    @pytest.mark.parametrize("size", [Size(1, 1), Size(1, 7), Size(2, 3), Size(5, 40)], ids=str)
    def test_what_is_added_mirrors_the_picture_without_its_edge(self, size: Size) -> None:
        x = torch.rand(2, 3, *size)
        padded, _ = pad_to_multiple(x, 64)
        added = ((0, 0), (0, 0), (0, 64 - size.height), (0, 64 - size.width))
        np.testing.assert_array_equal(padded.numpy(), np.pad(x.numpy(), added, mode="reflect"))

    def test_a_picture_that_fits_is_not_copied(self) -> None:
        x = torch.rand(1, 3, 64, 128)
        assert pad_to_multiple(x, 64)[0] is x

    @pytest.mark.parametrize("size", [Size(9, 8), Size(8, 9)], ids=str)
    def test_cutting_more_than_there_is_raises(self, size: Size) -> None:
        with pytest.raises(ValueError, match=f"cannot cut {size} out of 8x8"):
            crop_to(torch.zeros(1, 3, 8, 8), size)


class TestWriting:
    @pytest.mark.parametrize("channels", [3, 4])
    @pytest.mark.parametrize("bits", [8, 16])
    def test_saving_and_reading_gives_the_same_picture(
        self, tmp_path: Path, bits: int, channels: int
    ) -> None:
        array = levels(33, 20, channels, {8: np.uint8, 16: np.uint16}[bits])
        picture = picture_from_array(array)
        save_png(tmp_path / "a.png", picture)
        again = load_picture(tmp_path / "a.png")
        assert again.bits == bits
        np.testing.assert_array_equal(again.rgb, picture.rgb)
        assert (again.alpha is None) == (picture.alpha is None)
        if again.alpha is not None:
            np.testing.assert_array_equal(again.alpha, picture.alpha)

    def test_16_bit_grey_survives_reading_and_saving(self, tmp_path: Path) -> None:
        grey = levels(33, 20, 1, np.uint16)
        picture = load_picture(written(tmp_path / "a.png", png_16(grey)))
        save_png(tmp_path / "b.png", picture)
        np.testing.assert_array_equal(
            as_words(load_picture(tmp_path / "b.png")), np.repeat(grey, 3, axis=2)
        )

    def test_other_programs_read_the_16_bit_file(self, tmp_path: Path) -> None:
        """Pillow reads it as 8 bits, by the higher byte, and finds every checksum right."""
        array = levels(33, 20, 4, np.uint16)
        save_png(tmp_path / "a.png", picture_from_array(array))
        with Image.open(tmp_path / "a.png") as image:
            image.verify()
        with Image.open(tmp_path / "a.png") as image:
            np.testing.assert_array_equal(np.asarray(image), array >> 8)

    @pytest.mark.parametrize("bits", [8, 16])
    def test_texts_are_stored_and_read(self, tmp_path: Path, bits: int) -> None:
        text = {"Software": "ccsr", "note": "größer 图 🙂\nsecond line", "long": "x" * 100_000}
        picture = Picture(np.zeros((16, 16, 3), np.float32), bits=bits)
        save_png(tmp_path / "a.png", picture, text)
        assert read_png_text(tmp_path / "a.png") == text

    def test_texts_are_read_without_decoding_the_pixels(self, tmp_path: Path) -> None:
        chunk = png_chunk(b"tEXt", b"Title\0rubbish below")
        content = png_bytes(Size(30, 30), b"rubbish", bits=8, colour_type=2, extra=[chunk])
        path = written(tmp_path / "a.png", content)
        assert read_png_text(path) == {"Title": "rubbish below"}

    def test_a_file_without_texts_has_none(self, tmp_path: Path) -> None:
        save_png(tmp_path / "a.png", Picture(np.zeros((16, 16, 3), np.float32)))
        assert read_png_text(tmp_path / "a.png") == {}

    def test_reading_texts_of_no_picture_raises(self, tmp_path: Path) -> None:
        with pytest.raises(PictureError, match="not a picture"):
            read_png_text(written(tmp_path / "a.png", b"Dear diary,"))

    def test_a_file_is_replaced_only_when_told(self, tmp_path: Path) -> None:
        path = written(tmp_path / "a.png", b"precious")
        picture = Picture(np.zeros((16, 16, 3), np.float32))
        with pytest.raises(FileExistsError, match=r"a\.png exists; choose another name"):
            save_png(path, picture)
        assert path.read_bytes() == b"precious"
        assert list(tmp_path.iterdir()) == [path]
        save_png(path, picture, overwrite=True)
        assert load_picture(path).size == Size(16, 16)
        assert list(tmp_path.iterdir()) == [path]

    @pytest.mark.parametrize("step", ["write_bytes", "replace"])
    def test_a_failed_write_leaves_nothing_behind(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
    ) -> None:
        """A failed move once left an empty file under the name of the result."""

        def full_disk(path: Path, content: object) -> None:
            if step == "write_bytes":
                with path.open("wb") as file:
                    file.write(b"half a file")
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(Path, step, full_disk)
        with pytest.raises(OSError, match="No space left"):
            save_png(tmp_path / "a.png", Picture(np.zeros((16, 16, 3), np.float32)))
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("step", ["write_bytes", "replace"])
    def test_a_failed_write_keeps_the_file_it_was_to_replace(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
    ) -> None:
        path = written(tmp_path / "a.png", b"precious")

        def full_disk(path: Path, content: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(Path, step, full_disk)
        with pytest.raises(OSError, match="No space left"):
            save_png(path, Picture(np.zeros((16, 16, 3), np.float32)), overwrite=True)
        assert list(tmp_path.iterdir()) == [path]
        assert path.read_bytes() == b"precious"

    def test_the_longest_names_can_be_written(self, tmp_path: Path) -> None:
        """The name of the unfinished file was once longer than that of the result."""
        path = tmp_path / ("x" * 251 + ".png")
        save_png(path, Picture(np.zeros((16, 16, 3), np.float32)))
        assert load_picture(path).size == Size(16, 16)

    @pytest.mark.parametrize("name", ["a.jpg", "a", "a.png.tmp"])
    def test_a_name_that_does_not_end_in_png_is_refused(self, tmp_path: Path, name: str) -> None:
        with pytest.raises(ValueError, match=r"end it in \.png"):
            save_png(tmp_path / name, Picture(np.zeros((16, 16, 3), np.float32)))
        assert list(tmp_path.iterdir()) == []

    def test_a_missing_folder_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError, match=r"no folder .*missing; make it"):
            save_png(tmp_path / "missing" / "a.png", Picture(np.zeros((16, 16, 3), np.float32)))


def test_only_open_formats_are_enabled() -> None:
    """EPS would start Ghostscript on what a stranger uploads."""
    assert "EPS" not in FORMATS
