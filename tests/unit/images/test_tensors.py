"""Arrays and tensors: rounding, resampling, padding and cropping."""

import re

import numpy as np
import pytest
import torch
from PIL import Image

from ccsr.images.picture import Size
from ccsr.images.tensors import (
    crop_to,
    pad_to_multiple,
    resize,
    to_array,
    to_tensor,
    to_uint8,
    to_uint16,
)
from tests.unit.images.picture_files import levels, smooth


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
    def test_to_array_shares_memory_only_with_overwrite(self, channels_last: bool) -> None:
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
    @pytest.mark.parametrize("multiple", [1, 8, 64, 200])
    def test_cutting_undoes_padding_for_every_size(self, multiple: int) -> None:
        for length in range(1, 131):
            other = 131 - length
            x = torch.rand(1, 1, length, other)
            padded, size = pad_to_multiple(x, multiple)
            assert size == Size(length, other)
            for side, padded_side in zip(size, padded.shape[2:], strict=True):
                assert padded_side % multiple == 0
                assert side <= padded_side < side + multiple
            assert torch.equal(crop_to(padded, size), x)

    @pytest.mark.parametrize("size", [Size(1, 1), Size(1, 7), Size(2, 3), Size(5, 40)], ids=str)
    def test_what_is_added_mirrors_the_picture_without_its_edge(self, size: Size) -> None:
        x = torch.rand(2, 3, *size)
        padded, _ = pad_to_multiple(x, 64)
        added = ((0, 0), (0, 0), (0, 64 - size.height), (0, 64 - size.width))
        np.testing.assert_array_equal(padded.numpy(), np.pad(x.numpy(), added, mode="reflect"))

    def test_border_is_padded_around_and_cropped_away(self) -> None:
        x = torch.arange(3.0)[None, None, None].expand(1, 1, 3, 3)
        padded, size = pad_to_multiple(x, 4, border=2)
        assert padded.shape == (1, 1, 8, 8)
        assert padded[0, 0, 0].tolist() == [2, 1, 0, 1, 2, 1, 0, 1]
        assert torch.equal(crop_to(padded, size, border=2), x)
        with pytest.raises(ValueError, match="cannot cut 3x3 with a border of 6 out of 8x8"):
            crop_to(padded, size, border=6)

    def test_a_picture_that_fits_is_not_copied(self) -> None:
        x = torch.rand(1, 3, 64, 128)
        assert pad_to_multiple(x, 64)[0] is x

    @pytest.mark.parametrize("size", [Size(9, 8), Size(8, 9)], ids=str)
    def test_cutting_more_than_there_is_raises(self, size: Size) -> None:
        with pytest.raises(ValueError, match=f"cannot cut {size} out of 8x8"):
            crop_to(torch.zeros(1, 3, 8, 8), size)
