import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest

from ccsr.config import SamplingConfig, Variant
from ccsr.events import Progress, Restored
from ccsr.exploration import Exploration
from ccsr.images import picture_from_array
from ccsr.pipeline import CCSRPipeline
from ccsr.schedule import path_for
from tests.tiny import tiny_pipeline, tiny_reader

PICTURE = picture_from_array(np.random.default_rng(0).integers(0, 256, (16, 20, 3), dtype=np.uint8))
MIDDLE = SamplingConfig(num_steps=9)
HIGHER = SamplingConfig(num_steps=9, t_min=0.5)
LOWER = SamplingConfig(num_steps=9, t_min=0.0)
FURTHER = SamplingConfig(num_steps=9, t_max=0.9)
EXTRACTED = SamplingConfig(num_steps=9, t_max=0.5, t_min=0.5)
OTHER_GRID = SamplingConfig(num_steps=5)


@pytest.fixture(scope="module")
def pipelines() -> dict[Variant, CCSRPipeline]:
    """V2 and CCSR share all but the decoder."""
    ccsr, vae = tiny_pipeline(), tiny_pipeline(seed=2).vae
    vae.encoder = ccsr.vae.encoder
    v2 = CCSRPipeline(ccsr.unet, ccsr.controlnet, vae, ccsr.scheduler)
    return {"ccsr": ccsr, "v2": v2, "v1": tiny_pipeline(seed=1)}


@pytest.fixture
def exploration(pipelines: dict[Variant, CCSRPipeline]) -> Exploration:
    return Exploration(pipelines.__getitem__, PICTURE)


def run(exploration: Exploration, config: SamplingConfig, seed: int = 3) -> tuple[int, np.ndarray]:
    """Evaluations made, and the result; the count that was announced must be right."""
    announced = exploration.num_evaluations(config, seed)
    events = list(exploration.run(config, seed, preview=True))
    progress = [event for event in events if isinstance(event, Progress)]
    assert [(e.evaluation, e.total) for e in progress] == [
        (i, announced) for i in range(1, announced + 1)
    ]
    (restored,) = [event for event in events if isinstance(event, Restored)]
    assert (restored.seed, restored.config) == (seed, config)
    return len(progress), restored.picture.rgb


def evaluations(exploration: Exploration, configs: Sequence[SamplingConfig]) -> list[int]:
    return [run(exploration, config)[0] for config in configs]


def test_results_are_those_of_fresh_runs_in_any_order(
    exploration: Exploration, pipelines: dict[Variant, CCSRPipeline]
) -> None:
    for config in (MIDDLE, HIGHER, LOWER, FURTHER, EXTRACTED, OTHER_GRID, MIDDLE):
        _, found = run(exploration, config)
        fresh = pipelines["ccsr"](PICTURE, config, (3,)).pictures[0].rgb
        np.testing.assert_allclose(found, fresh, atol=1 / 255)


def test_raising_t_min_makes_no_evaluation_and_lowering_it_continues(
    exploration: Exploration,
) -> None:
    full, more = (path_for(config).num_evaluations for config in (MIDDLE, LOWER))
    assert evaluations(exploration, [MIDDLE, HIGHER, MIDDLE]) == [full, 0, 0]
    assert evaluations(exploration, [LOWER, MIDDLE]) == [more - full, 0]


def test_estimate_at_T_serves_every_t_max_and_grid(exploration: Exploration) -> None:
    configs = (EXTRACTED, FURTHER, OTHER_GRID)
    expected = [path_for(config).num_evaluations - 1 for config in configs[1:]]
    assert evaluations(exploration, configs) == [1, *expected]


def test_seeds_and_scales_share_no_chain(exploration: Exploration) -> None:
    full = path_for(MIDDLE).num_evaluations
    assert run(exploration, MIDDLE, seed=3)[0] == full
    assert run(exploration, MIDDLE, seed=4)[0] == full
    assert run(exploration, SamplingConfig(num_steps=9, scale=2))[0] == full


def test_prompts_share_no_chain() -> None:
    pipeline = tiny_reader()
    exploration = Exploration(lambda _: pipeline, PICTURE)
    told = dataclasses.replace(MIDDLE, prompt="a cat")
    first, second = run(exploration, MIDDLE), run(exploration, told)
    assert first[0] == second[0] == path_for(MIDDLE).num_evaluations
    assert np.abs(first[1] - second[1]).max() > 1 / 255
    assert run(exploration, MIDDLE)[0] == 0


def test_variants_share_what_their_networks_make(
    exploration: Exploration, pipelines: dict[Variant, CCSRPipeline]
) -> None:
    full = path_for(MIDDLE).num_evaluations
    variants: tuple[Variant, ...] = ("ccsr", "v2", "v1")
    made: list[int] = []
    for variant in variants:
        config = SamplingConfig(num_steps=9, variant=variant)
        count, found = run(exploration, config)
        made.append(count)
        fresh = pipelines[variant](PICTURE, config, (3,)).pictures[0].rgb
        np.testing.assert_allclose(found, fresh, atol=1 / 255)
    assert made == [full, 0, full]


def test_stopped_run_goes_on_where_it_was(
    exploration: Exploration, pipelines: dict[Variant, CCSRPipeline]
) -> None:
    stopped = exploration.run(MIDDLE, 3)
    next(stopped), next(stopped)
    stopped.close()
    count, found = run(exploration, MIDDLE)
    assert count == path_for(MIDDLE).num_evaluations - 2
    fresh = pipelines["ccsr"](PICTURE, MIDDLE, (3,)).pictures[0].rgb
    np.testing.assert_allclose(found, fresh, atol=1 / 255)


def test_run_that_failed_can_be_tried_again(
    pipelines: dict[Variant, CCSRPipeline], monkeypatch: pytest.MonkeyPatch
) -> None:
    exploration = Exploration(pipelines.__getitem__, PICTURE)
    unet, calls = pipelines["ccsr"].unet, 0
    forward = unet.forward

    def fail_once(*args: object, **kwargs: object) -> object:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise MemoryError
        return forward(*args, **kwargs)

    monkeypatch.setattr(unet, "forward", fail_once)
    with pytest.raises(MemoryError):
        run(exploration, MIDDLE)
    _, found = run(exploration, MIDDLE)
    fresh = pipelines["ccsr"](PICTURE, MIDDLE, (3,)).pictures[0].rgb
    np.testing.assert_array_equal(found, fresh)


def test_memory_is_bounded_and_the_longest_unused_goes_first(
    pipelines: dict[Variant, CCSRPipeline],
) -> None:
    unbounded = Exploration(pipelines.__getitem__, PICTURE)
    run(unbounded, MIDDLE)
    one_run = sum(step.x0_hat.nbytes for step in unbounded.steps(MIDDLE, 3))
    exploration = Exploration(pipelines.__getitem__, PICTURE, max_kept_bytes=2 * one_run)
    for seed in (1, 2, 1, 3):
        run(exploration, MIDDLE, seed)
    assert exploration.num_evaluations(MIDDLE, 1) == exploration.num_evaluations(MIDDLE, 3) == 0
    assert exploration.num_evaluations(MIDDLE, 2) == path_for(MIDDLE).num_evaluations


def test_large_estimates_lie_in_files_and_are_the_same(
    pipelines: dict[Variant, CCSRPipeline], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ccsr.exploration.LARGE_BYTES", 1)
    mapped: list[np.memmap] = []
    original = np.memmap
    monkeypatch.setattr(
        np, "memmap", lambda *a, **k: mapped.append(original(*a, **k)) or mapped[-1]
    )
    exploration = Exploration(pipelines.__getitem__, PICTURE, max_kept_bytes=0)
    for config in (MIDDLE, LOWER, FURTHER, HIGHER):
        _, found = run(exploration, config)
        fresh = pipelines["ccsr"](PICTURE, config, (3,)).pictures[0].rgb
        np.testing.assert_array_equal(found, fresh)
    addresses = {array.ctypes.data for array in mapped}
    assert {step.x0_hat.data_ptr() for step in exploration.steps(LOWER, 3)[1:]} <= addresses


def test_files_are_bounded_too(
    pipelines: dict[Variant, CCSRPipeline], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ccsr.exploration.LARGE_BYTES", 1)
    exploration = Exploration(pipelines.__getitem__, PICTURE)
    run(exploration, MIDDLE, 1)
    size = sum(step.x0_hat.nbytes for step in exploration.steps(MIDDLE, 1))
    monkeypatch.setattr("ccsr.exploration.MAX_FILE_BYTES", size)
    run(exploration, MIDDLE, 2)
    assert exploration.num_evaluations(MIDDLE, 2) == 0
    assert exploration.num_evaluations(MIDDLE, 1) == path_for(MIDDLE).num_evaluations


def test_large_condition_does_not_drive_out_what_lies_in_files(
    pipelines: dict[Variant, CCSRPipeline], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ccsr.exploration.LARGE_BYTES", 1)
    exploration = Exploration(pipelines.__getitem__, PICTURE, max_kept_bytes=0)
    for seed in (1, 2):
        run(exploration, MIDDLE, seed)
    assert exploration.num_evaluations(MIDDLE, 1) == 0


def test_picture_is_encoded_once(
    exploration: Exploration,
    pipelines: dict[Variant, CCSRPipeline],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    vae, encoded = pipelines["ccsr"].vae, []
    original = vae.encode
    monkeypatch.setattr(vae, "encode", lambda *a, **k: (encoded.append(a), original(*a, **k))[1])
    for config in (MIDDLE, LOWER, FURTHER):
        run(exploration, config)
    assert len(encoded) == 1
