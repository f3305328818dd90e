"""Tiles by which a run stays within the memory that it may take."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from ccsr.config import SamplingConfig
from ccsr.images.picture import Picture, Size
from ccsr.inference import stages
from ccsr.inference.memory import OutOfMemoryError
from ccsr.inference.memory_budget import GIB, held_bytes, tile_bytes, tile_within
from ccsr.models.autoencoder import SMALLEST_TILE
from tests.tiny import tiny_pipeline

SIZE = Size(1024, 2048)
PICTURE = Picture(np.random.default_rng(0).random((80, 80, 3), np.float32))
FAST = SamplingConfig(num_steps=4, t_max=0.5, t_min=0.5)


@pytest.fixture(params=["compact", "kl"])
def networks(request: pytest.FixtureRequest) -> tuple[Any, Any]:
    pipeline = tiny_pipeline(request.param)
    return pipeline.vae, pipeline.denoiser


def test_what_is_held_grows_with_the_pixels_and_a_tile_with_its_area(
    networks: tuple[Any, Any],
) -> None:
    vae, denoiser = networks
    four = held_bytes(vae, denoiser, Size(2 * SIZE.height, 2 * SIZE.width))
    assert four == pytest.approx(4 * held_bytes(vae, denoiser, SIZE), rel=1e-6)
    # At least the enlarged input and the result.
    assert held_bytes(vae, denoiser, SIZE) >= 2 * 12 * SIZE.height * SIZE.width
    assert tile_bytes(vae, 128) > tile_bytes(vae, 64) > 0


def test_tiles_are_the_largest_that_fit(networks: tuple[Any, Any]) -> None:
    vae, denoiser = networks
    held = held_bytes(vae, denoiser, SIZE)
    for tile in (SMALLEST_TILE, 40, 127):
        for slack, expected in ((1, tile), (0, tile), (-1, tile - 1)):
            memory = (held + tile_bytes(vae, tile) + slack) / GIB
            if expected >= SMALLEST_TILE:
                assert tile_within(vae, denoiser, SIZE, memory, 128) == expected
    assert tile_within(vae, denoiser, SIZE, 1024, 128) == 128


def test_less_than_the_smallest_tiles_take_is_refused_with_what_they_take(
    networks: tuple[Any, Any],
) -> None:
    vae, denoiser = networks
    least = (held_bytes(vae, denoiser, SIZE) + tile_bytes(vae, SMALLEST_TILE)) / GIB
    message = f"2048x1024 pixels take about {least:.2f} GiB of memory.*raise it, lower the scale"
    with pytest.raises(OutOfMemoryError, match=message):
        tile_within(vae, denoiser, SIZE, least - 1 / GIB, 128)


def test_a_run_beyond_the_memory_ends_before_the_networks_work(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pipeline, worked = tiny_pipeline(), []
    monkeypatch.setattr(stages, "encode", lambda *arguments: worked.append(arguments))
    pipeline.max_memory = 0.0001
    with pytest.raises(OutOfMemoryError, match=r"max_memory is 0\.0001"):
        pipeline.upscale(PICTURE, FAST)
    assert not worked


def test_a_run_within_little_memory_gives_the_same_picture(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    picture, pipeline = PICTURE, tiny_pipeline()
    (expected,) = pipeline.upscale(picture, FAST)
    tiles = []
    for part in ("encode", "decode"):
        whole = getattr(stages, part)

        def recorded(
            vae: object,
            x: torch.Tensor,
            tile: int,
            *others: torch.Tensor,
            whole: Callable[..., torch.Tensor] = whole,
        ) -> torch.Tensor:
            tiles.append(tile)
            return whole(vae, x, tile, *others)

        monkeypatch.setattr(stages, part, recorded)
    size = Size(320, 320)
    held = held_bytes(pipeline.vae, pipeline.denoiser, size)
    pipeline.max_memory = (held + tile_bytes(pipeline.vae, 20)) / GIB
    (result,) = pipeline.upscale(picture, FAST)
    assert tiles == [20, 20]
    assert abs(result.rgb - expected.rgb).max() < 1e-4
