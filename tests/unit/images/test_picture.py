"""Pictures in memory: which arrays are accepted, and what is refused."""

import numpy as np
import pytest
from numpy.typing import DTypeLike

from ccsr.images.picture import MAX_SIDE, Picture, PictureError, picture_from_array
from tests.unit.images.picture_files import as_words, levels


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


class TestVisibleColours:
    def test_hidden_pixels_take_the_colour_of_the_nearest_visible_one(self) -> None:
        rgb = np.full((16, 20, 3), 0.5, np.float32)
        rgb[:, 3], rgb[:, 16] = (1, 0, 0), (0, 0, 1)
        alpha = np.zeros((16, 20), np.float32)
        alpha[:, [3, 16]] = 0.1
        visible = Picture(rgb, alpha).visible_rgb
        np.testing.assert_array_equal(visible[:, :10], np.broadcast_to([1, 0, 0], (16, 10, 3)))
        np.testing.assert_array_equal(visible[:, 10:], np.broadcast_to([0, 0, 1], (16, 10, 3)))

    @pytest.mark.parametrize("alpha", [None, 0.0, 1.0, 0.5])
    def test_there_is_nothing_to_change_if_all_or_nothing_is_visible(
        self, alpha: float | None
    ) -> None:
        rgb = levels(16, 20).astype(np.float32) / 255
        picture = Picture(rgb, None if alpha is None else np.full((16, 20), alpha, np.float32))
        np.testing.assert_array_equal(picture.visible_rgb, rgb)

    def test_a_picture_is_grey_if_its_visible_pixels_are(self) -> None:
        rgb = np.repeat(levels(16, 20, 1).astype(np.float32) / 255, 3, axis=2)
        assert Picture(rgb).is_grey
        alpha = np.ones((16, 20), np.float32)
        rgb[4, 5], alpha[4, 5] = (1, 0, 0), 0
        assert not Picture(rgb).is_grey
        assert Picture(rgb, alpha).is_grey
