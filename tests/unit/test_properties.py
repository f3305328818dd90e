"""Properties that hold for any input: of schedule, padding, tiling, colour, stability, files."""

import io
from contextlib import suppress
from fractions import Fraction
from typing import get_args

import numpy as np
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from ccsr.config import ColorAlignment, SamplingConfig, parse_seeds
from ccsr.diffusion.timesteps import timestep_plan
from ccsr.evaluation.stability import PixelStatistics
from ccsr.images.color import aligner
from ccsr.images.picture import Picture, PictureError, Size
from ccsr.images.reading import load_picture
from ccsr.images.tensors import crop_to, pad_to_multiple, resize, to_array, to_uint8
from ccsr.models.tiling import in_tiles

many = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)
sides = st.integers(1, 40)
fractions = st.floats(0, 1, allow_nan=False)
seeds = st.integers(0, 2**32 - 1)


def noise(seed: int, *shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


@many
@given(st.integers(1, 200), fractions, fractions)
def test_a_plan_goes_down_from_t_max_to_t_min(num_steps: int, one: float, two: float) -> None:
    t_min, t_max = sorted((one, two))
    plan = timestep_plan(SamplingConfig(num_steps=num_steps, t_max=t_max, t_min=t_min), "paper")
    indices = list(plan.indices)
    assert indices == sorted(set(indices), reverse=True)
    assert all(0 <= index < num_steps for index in indices)
    # The evaluation at T, and one a grid point.
    assert plan.num_evaluations == len(indices) + 1


@many
@given(sides, sides, st.integers(1, 64), seeds)
def test_padding_is_undone_and_adds_no_new_values(
    height: int, width: int, multiple: int, seed: int
) -> None:
    x = noise(seed, 1, 2, height, width)
    padded, size = pad_to_multiple(x, multiple)
    assert size == Size(height, width)
    assert all(side % multiple == 0 for side in padded.shape[2:])
    assert torch.equal(crop_to(padded, size), x)
    assert set(padded.unique().tolist()) <= set(x.unique().tolist())


@many
@given(sides, sides, st.integers(4, 20), seeds)
def test_tiles_with_margins_give_what_the_whole_gives(
    height: int, width: int, tile: int, seed: int
) -> None:
    x, kernel = noise(seed, 1, 1, height, width), noise(seed + 1, 1, 1, 3, 3)

    def blur(x: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.conv2d(x, kernel, padding=1)

    found = in_tiles(blur, x, tile, 1, Fraction(1))
    torch.testing.assert_close(found, blur(x), atol=1e-5, rtol=1e-5)


@many
@given(sides, sides, sides, sides, seeds)
def test_resizing_stays_in_range_and_keeps_what_is_flat(
    height: int, width: int, new_height: int, new_width: int, seed: int
) -> None:
    size = Size(new_height, new_width)
    resized = resize(noise(seed, 1, 3, height, width), size)
    assert resized.shape == (1, 3, new_height, new_width)
    assert 0 <= float(resized.min()) <= float(resized.max()) <= 1
    flat = resize(torch.full((1, 3, height, width), 0.3), size)
    torch.testing.assert_close(flat, torch.full_like(flat, 0.3), atol=1e-5, rtol=0)


@many
@given(st.sampled_from(get_args(ColorAlignment)), st.integers(2, 40), st.integers(2, 40), seeds)
def test_colours_that_agree_already_stay(
    method: ColorAlignment, height: int, width: int, seed: int
) -> None:
    x = noise(seed, 1, 3, height, width)
    aligned = aligner(x, method)(x)
    torch.testing.assert_close(aligned, x, atol=1e-4, rtol=0)
    assert bool(aligned.isfinite().all())


@many
@given(st.integers(1, 12), seeds, st.floats(0, 1e-3))
def test_stability_agrees_with_two_passes(count: int, seed: int, spread: float) -> None:
    stack = 0.9 + spread * noise(seed, count, 12, 14, 3).numpy()
    pixels = PixelStatistics()
    for each in stack:
        pixels.add(each)
    np.testing.assert_allclose(pixels.mean, stack.mean(0), atol=1e-7)
    np.testing.assert_allclose(pixels.l_std_map, stack.astype(float).std(0).mean(2), atol=1e-7)


@many
@given(sides, sides, seeds)
def test_rounding_loses_at_most_half_a_level(height: int, width: int, seed: int) -> None:
    pixels = to_array(3 * noise(seed, 1, 3, height, width) - 1)
    assert 0 <= pixels.min() <= pixels.max() <= 1
    assert np.abs(to_uint8(pixels) / 255 - pixels).max() <= 0.5 / 255 + 1e-6


@many
@given(st.text("0123456789,-", max_size=12))
def test_lists_of_seeds_are_read_or_refused(text: str) -> None:
    try:
        found = parse_seeds(text)
    except ValueError:
        return
    assert found
    assert len(set(found)) == len(found)


@settings(many, max_examples=300)
@given(st.binary(max_size=300), st.sampled_from([b"", b"II*\0", b"MM\0*", b"\x89PNG\r\n\x1a\n",
                                                 b"\xff\xd8\xff", b"GIF89a", b"BM", b"P6 ",
                                                 b"RIFF\x20\0\0\0WEBP"]))  # fmt: skip
def test_any_bytes_are_read_or_refused(content: bytes, beginning: bytes) -> None:
    with suppress(PictureError):
        load_picture(io.BytesIO(beginning + content))


@many
@given(st.integers(16, 40), st.integers(16, 40), st.booleans(), seeds)
def test_hidden_colours_never_change_visible_ones(
    height: int, width: int, grey: bool, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    rgb = rng.random((height, width, 1 if grey else 3), np.float32).repeat(3 if grey else 1, 2)
    alpha = rng.integers(0, 2, (height, width)).astype(np.float32)
    picture = Picture(rgb, alpha)
    changed = np.where(alpha[..., None] > 0, rgb, rng.random(rgb.shape, np.float32))
    other = Picture(changed, alpha)
    visible = alpha > 0
    np.testing.assert_array_equal(picture.visible_rgb[visible], rgb[visible])
    if visible.any():
        np.testing.assert_array_equal(picture.visible_rgb, other.visible_rgb)
        assert picture.is_grey == other.is_grey


def test_the_strategies_make_pictures_too() -> None:
    """Bytes of any kind are hardly ever one."""
    file = io.BytesIO()
    Image.new("RGB", (16, 16)).save(file, "PNG")
    assert load_picture(file).size == (16, 16)
