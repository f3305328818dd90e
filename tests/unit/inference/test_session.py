import gc
from collections.abc import Sequence
from itertools import zip_longest

import numpy as np
import pytest
import torch

from ccsr.config import SamplingConfig, Variant
from ccsr.diffusion.timesteps import timestep_plan
from ccsr.images.picture import picture_from_array
from ccsr.inference.estimate_cache import EstimateCache, PictureEstimates
from ccsr.inference.events import Progress, Restored
from ccsr.inference.memory import OutOfMemoryError
from ccsr.inference.pipeline import CCSRPipeline
from ccsr.inference.session import ConditionCache, PictureSession
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
def session(pipelines: dict[Variant, CCSRPipeline]) -> PictureSession:
    return PictureSession(pipelines.__getitem__, PICTURE)


def run(session: PictureSession, config: SamplingConfig, seed: int = 3) -> tuple[int, np.ndarray]:
    """Evaluations made, and the result; the count that was announced must be right."""
    announced = session.num_evaluations(config, seed)
    events = list(session.run(config, seed, preview=True))
    progress = [event for event in events if isinstance(event, Progress)]
    assert [(e.evaluation, e.total) for e in progress] == [
        (i, announced) for i in range(1, announced + 1)
    ]
    (restored,) = [event for event in events if isinstance(event, Restored)]
    assert (restored.seed, restored.config) == (seed, config)
    return len(progress), restored.picture.rgb


def evaluations(session: PictureSession, configs: Sequence[SamplingConfig]) -> list[int]:
    return [run(session, config)[0] for config in configs]


def test_results_are_those_of_fresh_runs_in_any_order(
    session: PictureSession, pipelines: dict[Variant, CCSRPipeline]
) -> None:
    for config in (MIDDLE, HIGHER, LOWER, FURTHER, EXTRACTED, OTHER_GRID, MIDDLE):
        _, found = run(session, config)
        fresh = pipelines["ccsr"].upscale(PICTURE, config, (3,))[0].rgb
        np.testing.assert_allclose(found, fresh, atol=1 / 255)


def test_raising_t_min_makes_no_evaluation_and_lowering_it_continues(
    session: PictureSession,
) -> None:
    full, more = (timestep_plan(config).num_evaluations for config in (MIDDLE, LOWER))
    assert evaluations(session, [MIDDLE, HIGHER, MIDDLE]) == [full, 0, 0]
    assert evaluations(session, [LOWER, MIDDLE]) == [more - full, 0]


def test_estimate_at_T_serves_every_t_max_and_grid(session: PictureSession) -> None:
    configs = (EXTRACTED, FURTHER, OTHER_GRID)
    expected = [timestep_plan(config).num_evaluations - 1 for config in configs[1:]]
    assert evaluations(session, configs) == [1, *expected]


def test_seeds_and_scales_share_no_chain(session: PictureSession) -> None:
    full = timestep_plan(MIDDLE).num_evaluations
    assert run(session, MIDDLE, seed=3)[0] == full
    assert run(session, MIDDLE, seed=4)[0] == full
    assert run(session, SamplingConfig(num_steps=9, scale=2))[0] == full


def test_prompts_share_no_chain() -> None:
    pipeline = tiny_reader()
    session = PictureSession(lambda _: pipeline, PICTURE)
    told = MIDDLE.replace(prompt="a cat")
    first, second = run(session, MIDDLE), run(session, told)
    assert first[0] == second[0] == timestep_plan(MIDDLE).num_evaluations
    assert np.abs(first[1] - second[1]).max() > 1 / 255
    assert run(session, MIDDLE)[0] == 0


def test_variants_share_what_their_networks_make(
    session: PictureSession, pipelines: dict[Variant, CCSRPipeline]
) -> None:
    full = timestep_plan(MIDDLE).num_evaluations
    variants: tuple[Variant, ...] = ("ccsr", "v2", "v1")
    made: list[int] = []
    for variant in variants:
        config = SamplingConfig(num_steps=9, variant=variant)
        count, found = run(session, config)
        made.append(count)
        fresh = pipelines[variant].upscale(PICTURE, config, (3,))[0].rgb
        np.testing.assert_allclose(found, fresh, atol=1 / 255)
    assert made == [full, 0, full]


def test_stopped_run_goes_on_where_it_was(
    session: PictureSession, pipelines: dict[Variant, CCSRPipeline]
) -> None:
    stopped = session.run(MIDDLE, 3)
    next(stopped), next(stopped)
    stopped.close()
    count, found = run(session, MIDDLE)
    assert count == timestep_plan(MIDDLE).num_evaluations - 2
    fresh = pipelines["ccsr"].upscale(PICTURE, MIDDLE, (3,))[0].rgb
    np.testing.assert_allclose(found, fresh, atol=1 / 255)


def test_run_that_failed_can_be_tried_again(
    pipelines: dict[Variant, CCSRPipeline], monkeypatch: pytest.MonkeyPatch
) -> None:
    session = PictureSession(pipelines.__getitem__, PICTURE)
    unet, calls = pipelines["ccsr"].unet, 0
    forward = unet.forward

    def fail_once(*args: object, **kwargs: object) -> object:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise MemoryError
        return forward(*args, **kwargs)

    monkeypatch.setattr(unet, "forward", fail_once)
    with pytest.raises(OutOfMemoryError, match=r"a result of .* pixels; lower the scale"):
        run(session, MIDDLE)
    _, found = run(session, MIDDLE)
    fresh = pipelines["ccsr"].upscale(PICTURE, MIDDLE, (3,))[0].rgb
    np.testing.assert_array_equal(found, fresh)


def test_another_session_of_the_same_cache_reuses_the_estimates(
    pipelines: dict[Variant, CCSRPipeline],
) -> None:
    cache = EstimateCache()

    def session(owner: str) -> PictureSession:
        return PictureSession(
            pipelines.__getitem__, PICTURE, PictureEstimates(PICTURE, cache, owner)
        )

    _, expected = run(session("a"), MIDDLE)
    count, found = run(session("a"), MIDDLE)
    assert count == 0
    np.testing.assert_array_equal(found, expected)
    assert session("b").num_evaluations(MIDDLE, 3) == timestep_plan(MIDDLE).num_evaluations


def test_estimates_on_disk_give_the_same_results(pipelines: dict[Variant, CCSRPipeline]) -> None:
    cache = EstimateCache(max_memory_bytes=0)
    session = PictureSession(pipelines.__getitem__, PICTURE, PictureEstimates(PICTURE, cache))
    for config in (MIDDLE, LOWER, FURTHER, HIGHER):
        _, found = run(session, config)
        fresh = pipelines["ccsr"].upscale(PICTURE, config, (3,))[0].rgb
        np.testing.assert_array_equal(found, fresh)
    assert cache.disk_bytes > 0 == cache.memory_bytes


def test_dropped_estimates_are_made_again_when_they_are_asked_for(
    session: PictureSession,
) -> None:
    run(session, MIDDLE)
    expected = [step.x0_hat.clone() for step in session.steps(MIDDLE, 3)]
    session.estimates.cache.discard(session.estimates.owner)
    for found, x0_hat in zip(session.steps(MIDDLE, 3), expected, strict=True):
        torch.testing.assert_close(found.x0_hat, x0_hat, rtol=0, atol=0)


def test_interleaved_runs_of_one_setting_give_the_result_of_one(
    session: PictureSession, pipelines: dict[Variant, CCSRPipeline]
) -> None:
    results: list[np.ndarray] = []
    for pair in zip_longest(session.run(MIDDLE, 3), session.run(MIDDLE, 3)):
        results += [event.picture.rgb for event in pair if isinstance(event, Restored)]
    fresh = pipelines["ccsr"].upscale(PICTURE, MIDDLE, (3,))[0].rgb
    for found in results:
        np.testing.assert_array_equal(found, fresh)
    assert len(session.steps(MIDDLE, 3)) == timestep_plan(MIDDLE).num_evaluations


def test_picture_is_encoded_once(
    session: PictureSession,
    pipelines: dict[Variant, CCSRPipeline],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    vae, encoded = pipelines["ccsr"].vae, []
    original = vae.encode
    monkeypatch.setattr(vae, "encode", lambda *a, **k: (encoded.append(a), original(*a, **k))[1])
    for config in (MIDDLE, LOWER, FURTHER):
        run(session, config)
    assert len(encoded) == 1


def test_conditions_are_bounded_and_freed_with_their_session(
    pipelines: dict[Variant, CCSRPipeline],
) -> None:
    def session(conditions: ConditionCache) -> PictureSession:
        return PictureSession(pipelines.__getitem__, PICTURE, conditions=conditions)

    conditions = ConditionCache()
    first, second = session(conditions), session(conditions)
    run(first, MIDDLE)
    one = conditions.num_bytes
    run(second, MIDDLE)
    assert conditions.num_bytes == 2 * one
    del second
    gc.collect()
    assert conditions.num_bytes == one

    bounded = ConditionCache(max_bytes=0)
    sessions = session(bounded), session(bounded)
    for each in sessions:
        run(each, MIDDLE)
    assert bounded.num_bytes == one
