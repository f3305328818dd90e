"""Reading picture files: formats, 16 bits, colour profiles, frames, and what is refused."""

import io
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from ccsr.images.formats import FIRST_FRAME, FORMATS
from ccsr.images.picture import MAX_INPUT_PIXELS, MAX_SIDE, PictureError, Size
from ccsr.images.reading import is_picture_file, load_picture, read_size
from tests.unit.images.picture_files import (
    ORIENTATION,
    as_bytes,
    as_words,
    encoded,
    gamma,
    icc_profile,
    levels,
    png_16,
    png_bytes,
    png_chunk,
    profile_of_black_ink_only,
    profile_with_red_and_blue_swapped,
    smooth,
    tiff_16,
    unfiltered,
    written,
)

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
        assert read_size(path) == Size(20, 33)

    def test_jpeg_from_a_camera_held_upright_is_turned(self, tmp_path: Path) -> None:
        upright = smooth(48, 32)
        exif = Image.Exif()
        exif[ORIENTATION] = 6
        stored = Image.fromarray(np.ascontiguousarray(STORED_AS[6](upright)))
        path = written(tmp_path / "a.jpg", encoded(stored, "JPEG", exif=exif, quality=95))
        picture = load_picture(path)
        assert picture.size == read_size(path) == Size(48, 32)
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
        assert read_size(path) == Size(20, 33)

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

    def test_16_bit_grey_with_alpha_keeps_every_level(self, tmp_path: Path) -> None:
        values = levels(20, 33, 2, np.uint16)
        picture = load_picture(written(tmp_path / "a.png", png_16(values)))
        assert picture.bits == 16
        np.testing.assert_array_equal(as_words(picture), values[..., [0, 0, 0, 1]])

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

    def test_profile_of_16_bit_colour_is_applied_at_16_bits(self, tmp_path: Path) -> None:
        values = np.full((20, 20, 3), (65535, 0, 0), np.uint16)
        profile = zlib.compress(profile_with_red_and_blue_swapped())
        chunk = png_chunk(b"iCCP", b"test\0\0" + profile)
        picture = load_picture(written(tmp_path / "a.png", png_16(values, [chunk])))
        np.testing.assert_allclose(picture.rgb[0, 0], (0, 0, 1), atol=0.02)
        assert (picture.bits, picture.notes) == (16, ())

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
        np.testing.assert_allclose(picture.rgb[0, 0] * 255, 188, atol=0.5)
        assert picture.alpha is not None
        np.testing.assert_allclose(picture.alpha * 255, 77, atol=1e-4)

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
        assert picture.notes == (FIRST_FRAME,)

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


@pytest.mark.parametrize("name", ["reading.to_srgb", "metadata.IMAGE_TAGS", "formats.ImageOps"])
def test_a_fault_of_the_program_is_not_called_damage(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    content = encoded(Image.fromarray(smooth()), "PNG")
    monkeypatch.delattr(f"ccsr.images.{name}")
    with pytest.raises(NameError):
        load_picture(io.BytesIO(content))


def test_a_picture_does_not_lie_on_its_side_because_memory_is_short(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def turn(image: Image.Image) -> Image.Image:
        raise MemoryError

    monkeypatch.setattr("ccsr.images.formats.ImageOps.exif_transpose", turn)
    with pytest.raises(MemoryError):
        load_picture(io.BytesIO(encoded(Image.fromarray(smooth()), "PNG")))


def test_only_open_formats_are_enabled() -> None:
    """EPS would start Ghostscript on what a stranger uploads."""
    assert "EPS" not in FORMATS


def test_heic_is_read_where_its_plugin_is(tmp_path: Path) -> None:
    pytest.importorskip("pillow_heif")
    pixels = smooth()
    content = encoded(Image.fromarray(pixels), "HEIF", quality=95)
    picture = load_picture(written(tmp_path / "a.heic", content))
    np.testing.assert_allclose(picture.rgb, pixels / 255, atol=0.05)


def test_a_picture_is_known_by_its_content_or_its_name(tmp_path: Path) -> None:
    content = encoded(Image.new("RGB", (20, 20)), "JPEG")
    for name in ("a.jfif", "a.jpe", "a", "a.txt", "a.JPG"):
        assert is_picture_file(written(tmp_path / name, content))
    assert is_picture_file(written(tmp_path / "broken.png", b"Dear diary,"))
    for name in ("notes.txt", "a.safetensors"):
        assert not is_picture_file(written(tmp_path / name, b"Dear diary,"))


def test_a_jpeg_of_endless_scans_is_refused_at_once(tmp_path: Path) -> None:
    """Each scan takes the time of a whole decoding: 100,000 of them once took 34 s."""
    content = encoded(Image.new("RGB", (64, 64)), "JPEG", progressive=True)
    scan = content.index(b"\xff\xda")
    end = content.index(b"\xff", scan + 2)
    many = content[:scan] + content[scan:end] * 100_000 + content[scan:]
    with pytest.raises(PictureError, match="more than 500 scans"):
        load_picture(written(tmp_path / "a.jpg", many))


@pytest.mark.parametrize("format", ["GIF", "TIFF"])
def test_frames_are_not_counted(tmp_path: Path, format: str) -> None:
    """Counting took longer than decoding the first."""
    frames = [Image.new("L", (16, 16), shade % 256) for shade in range(1000)]
    content = encoded(frames[0], format, save_all=True, append_images=frames[1:])
    path = written(tmp_path / "many", content)
    reads = 0

    class Counted(io.FileIO):
        def read(self, size: int | None = -1) -> bytes:
            nonlocal reads
            reads += 1
            return super().read(-1 if size is None else size)

    with Counted(path) as file:
        assert load_picture(file).notes == (FIRST_FRAME,)
    assert reads < 300
