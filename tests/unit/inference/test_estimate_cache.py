import threading
from typing import get_args

import numpy as np
import pytest
import torch

from ccsr.config import SamplingConfig
from ccsr.diffusion.sampler import Step
from ccsr.diffusion.timesteps import LoopStart, TimestepPlan
from ccsr.images.picture import Picture
from ccsr.inference import estimate_cache
from ccsr.inference.estimate_cache import ChainKey, EstimateCache, PictureEstimates, to_the_end

PLAN = TimestepPlan(num_steps=4, jump=3, indices=(3, 2, 1, 0))
SIZE = torch.zeros(1, 2, 4, 4).nbytes


def key(seed: int, owner: str = "") -> ChainKey:
    return ChainKey(owner, "picture", "networks", 4.0, ("", "", 1.0), seed, PLAN)


def steps(count: int, value: float = 0.0) -> list[Step]:
    return [
        Step(i, count, 999, torch.full((1, 2, 4, 4), float(value + i))) for i in range(1, count + 1)
    ]


def fill(cache: EstimateCache, seed: int, count: int = 2, owner: str = "") -> None:
    with cache.using(key(seed, owner)) as chain:
        cache.extend(chain, steps(count, 10 * seed))


def values(cache: EstimateCache, seed: int) -> list[float]:
    return [float(step.x0_hat.mean()) for step in cache.steps(key(seed))]


def test_chain_is_kept_in_memory_up_to_its_bound_and_then_on_disk() -> None:
    cache = EstimateCache(max_memory_bytes=4 * SIZE)
    for seed in (1, 2):
        fill(cache, seed)
    assert (cache.memory_bytes, cache.disk_bytes) == (4 * SIZE, 0)
    cache.steps(key(1))  # so that the other is the least recently used
    fill(cache, 3)
    assert (cache.memory_bytes, cache.disk_bytes) == (4 * SIZE, 2 * SIZE)
    for seed in (1, 2, 3):
        assert values(cache, seed) == [10 * seed + 1, 10 * seed + 2]


def test_least_recently_used_chain_on_disk_is_dropped_beyond_its_bound() -> None:
    cache = EstimateCache(max_memory_bytes=0, max_disk_bytes=4 * SIZE)
    for seed in (1, 2):
        fill(cache, seed)
    cache.steps(key(1))
    fill(cache, 3)
    assert [len(cache.steps(key(seed))) for seed in (1, 2, 3)] == [2, 0, 2]
    assert cache.disk_bytes == 4 * SIZE


@pytest.mark.parametrize("bound", ["bytes", "files"])
def test_who_has_little_keeps_it_whatever_others_make(
    bound: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if bound == "files":
        monkeypatch.setattr(estimate_cache, "MAX_FILES", 4)
    disk = 8 * SIZE if bound == "bytes" else 10**6
    cache = EstimateCache(max_memory_bytes=0, max_disk_bytes=disk)
    fill(cache, 0, owner="idle")
    for seed in range(1, 9):
        fill(cache, seed, owner="busy")
        fill(cache, seed, count=1, owner="other")
    assert cache.steps(key(0, "idle"))
    for seed in range(1, 6):
        assert not cache.steps(key(seed, "busy"))
    # They have at least their share of the room.
    assert cache.steps(key(8, "busy"))
    assert cache.steps(key(8, "other"))


def test_number_of_files_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimate_cache, "MAX_FILES", 3)
    cache = EstimateCache(max_memory_bytes=0)
    for seed in range(5):
        fill(cache, seed)
    assert len(cache) == 3


def test_chains_in_use_and_the_latest_are_never_dropped() -> None:
    cache = EstimateCache(max_memory_bytes=0, max_disk_bytes=0)
    with cache.using(key(1)) as chain:
        cache.extend(chain, steps(2))
        for seed in (2, 3):
            fill(cache, seed)
        assert [len(cache.steps(key(seed))) for seed in (1, 2, 3)] == [2, 0, 2]
        cache.extend(chain, steps(3))
    assert len(cache.steps(key(1))) == 3
    fill(cache, 4)
    assert [len(cache.steps(key(seed))) for seed in (1, 3, 4)] == [0, 0, 2]


def test_full_disk_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(array: np.ndarray) -> np.ndarray:
        raise OSError("No space left on device")

    monkeypatch.setattr(estimate_cache, "memory_mapped", fail)
    cache = EstimateCache(max_memory_bytes=2 * SIZE)
    for seed in (1, 2):
        fill(cache, seed)
    assert [len(cache.steps(key(seed))) for seed in (1, 2)] == [0, 2]
    with cache.using(key(3)) as chain:
        cache.extend(chain, steps(5))
    assert values(cache, 3) == [1, 2, 3, 4, 5]


def test_estimate_that_is_there_already_is_not_added_again() -> None:
    cache = EstimateCache()
    with cache.using(key(0)) as first, cache.using(key(0)) as second:
        assert first is second
        cache.extend(first, steps(2))
        cache.extend(second, steps(3, value=0.0))
    assert values(cache, 0) == [1, 2, 3]


def test_what_belongs_to_an_owner_is_discarded_and_a_run_keeps_what_it_uses() -> None:
    cache = EstimateCache()
    fill(cache, 1, owner="leaving")
    fill(cache, 1, owner="staying")
    with cache.using(key(2, "leaving")) as chain:
        cache.extend(chain, steps(1))
        cache.discard("leaving")
        cache.extend(chain, steps(2))
        assert len(chain.steps) == 2
    assert len(cache) == 1
    assert cache.memory_bytes == 2 * SIZE
    assert len(cache.steps(key(1, "staying"))) == 2


def test_threads_share_a_cache() -> None:
    cache = EstimateCache(max_memory_bytes=8 * SIZE, max_disk_bytes=8 * SIZE)
    failed: list[BaseException] = []

    def work(first: int) -> None:
        try:
            for seed in range(first, first + 40):
                fill(cache, seed, count=3)
                assert values(cache, seed) in ([], [10 * seed + i for i in (1, 2, 3)])
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(first,)) for first in (0, 20, 40, 60)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert cache.memory_bytes <= 8 * SIZE
    assert cache.disk_bytes <= 8 * SIZE


def picture(value: float, size: int = 4) -> Picture:
    return Picture(np.full((size, 16 // size, 3), value, np.float32))


def test_estimates_belong_to_pixels_owner_and_what_the_networks_read() -> None:
    cache, config = EstimateCache(), SamplingConfig(num_steps=9)
    made = PictureEstimates(picture(0.5), cache, "a")
    with made.recording(config, 0) as record:
        record(steps(2))
    assert len(PictureEstimates(picture(0.5), cache, "a").made(config, 0)) == 2
    for estimates in (
        PictureEstimates(picture(0.6), cache, "a"),
        PictureEstimates(picture(0.5, size=2), cache, "a"),
        PictureEstimates(picture(0.5), cache, "b"),
    ):
        assert not estimates.made(config, 0)
    for change in ({"variant": "v1"}, {"scale": 2.0}, {"prompt": "a cat"}):
        assert not made.made(config.replace(**change), 0)
    assert len(made.made(config.replace(variant="v2", color="none"), 0)) == 2


def test_steps_are_counted_from_where_the_model_starts_its_loop() -> None:
    config = SamplingConfig(num_steps=45, t_max=0.5)
    paper, official = (
        PictureEstimates(picture(0.5), loop_start=start) for start in get_args(LoopStart)
    )
    assert official.num_missing(config, 0) == paper.num_missing(config, 0) - 1


def test_plan_goes_on_to_the_end() -> None:
    assert to_the_end(TimestepPlan(9, 5, (5, 4))).indices == (5, 4, 3, 2, 1, 0)
    assert to_the_end(TimestepPlan(9, 5, ())).indices == (5, 4, 3, 2, 1, 0)
    uniform = TimestepPlan(3, None, (2, 1, 0))
    assert to_the_end(uniform) == uniform
