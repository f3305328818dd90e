import itertools
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from ccsr.diffusion.sampler import SeededNoise
from training.config import LoopConfig
from training.latent_cache import LatentCache, Windows, reused_in_jump, write_latent_cache


def test_windows_of_latents_and_pixels_are_of_the_same_place(tmp_path: Path) -> None:
    latent = torch.arange(36.0).view(1, 1, 6, 6)
    pixels = latent.repeat_interleave(8, 2).repeat_interleave(8, 3).byte()
    save_file({"x0_hat": latent.half(), "hr": pixels}, tmp_path / "shard-0.safetensors")
    cache = LatentCache(tmp_path, ("x0_hat", "hr"), Windows(3), seed=0, length=20)
    seen = set()
    for example in (cache[i] for i in range(20)):
        assert example["x0_hat"].shape == (1, 3, 3)
        torch.testing.assert_close(255 * example["hr"][:, ::8, ::8], example["x0_hat"])
        seen.add(float(example["x0_hat"][0, 0, 0]))
    assert len(seen) > 5


def test_windows_of_a_batch_have_one_side_and_those_of_batches_all_sides(tmp_path: Path) -> None:
    tensors = {"x": torch.zeros(2, 1, 16, 16), "hr": torch.zeros(2, 3, 128, 128).byte()}
    save_file(tensors, tmp_path / "shard-0.safetensors")
    loop = LoopConfig(
        max_steps=60, batch_size=3, learning_rate=1e-3, crop_px=128, least_crop_px=64, seed=5
    )
    cache = LatentCache(tmp_path, ("x", "hr"), Windows.of(loop), loop.seed, length=180)
    sides = [{cache[3 * batch + place]["x"].shape[-1] for place in range(3)} for batch in range(60)]
    assert all(len(side) == 1 for side in sides)
    assert set.union(*sides) == {8, 12, 16}
    assert cache[0]["hr"].shape[-1] == 8 * cache[0]["x"].shape[-1]


def test_cache_without_the_tensors_asked_for_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no cached examples"):
        LatentCache(tmp_path, "x", Windows(3), 0, 1)
    save_file({"x": torch.zeros(1, 1, 6, 6)}, tmp_path / "shard-0.safetensors")
    with pytest.raises(ValueError, match="smaller than the window of 7"):
        LatentCache(tmp_path, "x", Windows(7), 0, 1)
    with pytest.raises(ValueError, match="holds x but no 'y'; delete the folder"):
        LatentCache(tmp_path, "y", Windows(3), 0, 1)
    assert LatentCache(tmp_path, "x", Windows(3), 0, 1)[0].keys() == {"x"}


def test_stopped_cache_continues_after_its_last_finished_shard(tmp_path: Path) -> None:
    asked: list[int] = []

    class Numbers(torch.utils.data.Dataset[dict[str, torch.Tensor]]):
        def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
            asked.append(index)
            return {"x": torch.full((1, 2, 2), float(index))}

    def compute(examples: list[dict[str, torch.Tensor]], _: list[int]) -> dict[str, torch.Tensor]:
        return {"x": torch.stack([example["x"] for example in examples])}

    def write() -> object:
        return write_latent_cache(tmp_path, Numbers(), 100, compute)

    stopped = write()
    assert list(itertools.islice(stopped, 20)) == list(range(4, 84, 4))
    stopped.close()
    assert [path.name for path in tmp_path.iterdir()] == ["shard-00000.safetensors"]
    asked.clear()
    assert list(write())[-1] == 100
    assert asked == list(range(64, 100))
    cache = LatentCache(tmp_path, "x", Windows(2), 0, 1000)
    assert {float(cache[i]["x"].mean()) for i in range(1000)} == set(range(100))


def test_noise_of_the_start_is_reused_in_the_jump_and_then_fresh() -> None:
    shape = (2, 1, 3, 3)
    plain, reused = SeededNoise([5, 6]), reused_in_jump(SeededNoise([5, 6]))
    expected = [plain(draw, shape) for draw in range(3)]
    found = [reused(draw, shape) for draw in range(4)]
    for noise, drawn in zip(found, (0, 0, 1, 2), strict=True):
        assert torch.equal(noise, expected[drawn])
