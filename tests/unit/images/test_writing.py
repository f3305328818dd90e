"""Writing PNG files: bits, texts, and files that are there already."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ccsr.images.picture import Picture, PictureError, Size, picture_from_array
from ccsr.images.reading import load_picture, read_texts
from ccsr.images.writing import save_png
from tests.unit.images.picture_files import as_words, levels, png_16, png_bytes, png_chunk, written


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
        assert read_texts(tmp_path / "a.png") == text

    def test_texts_are_read_without_decoding_the_pixels(self, tmp_path: Path) -> None:
        chunk = png_chunk(b"tEXt", b"Title\0rubbish below")
        content = png_bytes(Size(30, 30), b"rubbish", bits=8, colour_type=2, extra=[chunk])
        path = written(tmp_path / "a.png", content)
        assert read_texts(path) == {"Title": "rubbish below"}

    def test_a_file_without_texts_has_none(self, tmp_path: Path) -> None:
        save_png(tmp_path / "a.png", Picture(np.zeros((16, 16, 3), np.float32)))
        assert read_texts(tmp_path / "a.png") == {}

    def test_reading_texts_of_no_picture_raises(self, tmp_path: Path) -> None:
        with pytest.raises(PictureError, match="not a picture"):
            read_texts(written(tmp_path / "a.png", b"Dear diary,"))

    def test_a_file_is_replaced_only_with_overwrite(self, tmp_path: Path) -> None:
        path = written(tmp_path / "a.png", b"precious")
        picture = Picture(np.zeros((16, 16, 3), np.float32))
        with pytest.raises(FileExistsError, match=r"a\.png exists; choose another name"):
            save_png(path, picture)
        assert path.read_bytes() == b"precious"
        assert list(tmp_path.iterdir()) == [path]
        save_png(path, picture, overwrite=True)
        assert load_picture(path).size == Size(16, 16)
        assert list(tmp_path.iterdir()) == [path]

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
