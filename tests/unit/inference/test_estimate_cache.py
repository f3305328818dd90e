import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest

from ccsr.config import SamplingConfig, Variant
from ccsr.diffusion.timesteps import timestep_plan
from ccsr.images.picture import picture_from_array
from ccsr.inference.estimate_cache import PictureSession
from ccsr.inference.events import Progress, Restored
from ccsr.inference.pipeline import CCSRPipeline
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
        fresh = pipelines["ccsr"](PICTURE, config, (3,)).pictures[0].rgb
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
    told = dataclasses.replace(MIDDLE, prompt="a cat")
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
        fresh = pipelines[variant](PICTURE, config, (3,)).pictures[0].rgb
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
    fresh = pipelines["ccsr"](PICTURE, MIDDLE, (3,)).pictures[0].rgb
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
    with pytest.raises(MemoryError):
        run(session, MIDDLE)
    _, found = run(session, MIDDLE)
    fresh = pipelines["ccsr"](PICTURE, MIDDLE, (3,)).pictures[0].rgb
    np.testing.assert_array_equal(found, fresh)


def test_memory_is_bounded_and_the_longest_unused_goes_first(
    pipelines: dict[Variant, CCSRPipeline],
) -> None:
    unbounded = PictureSession(pipelines.__getitem__, PICTURE)
    run(unbounded, MIDDLE)
    one_run = sum(step.x0_hat.nbytes for step in unbounded.steps(MIDDLE, 3))
    session = PictureSession(pipelines.__getitem__, PICTURE, max_kept_bytes=2 * one_run)
    for seed in (1, 2, 1, 3):
        run(session, MIDDLE, seed)
    assert session.num_evaluations(MIDDLE, 1) == session.num_evaluations(MIDDLE, 3) == 0
    assert session.num_evaluations(MIDDLE, 2) == timestep_plan(MIDDLE).num_evaluations


def test_large_estimates_lie_in_files_and_are_the_same(
    pipelines: dict[Variant, CCSRPipeline], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ccsr.inference.estimate_cache.LARGE_BYTES", 1)
    mapped: list[np.memmap] = []
    original = np.memmap
    monkeypatch.setattr(
        np, "memmap", lambda *a, **k: mapped.append(original(*a, **k)) or mapped[-1]
    )
    session = PictureSession(pipelines.__getitem__, PICTURE, max_kept_bytes=0)
    for config in (MIDDLE, LOWER, FURTHER, HIGHER):
        _, found = run(session, config)
        fresh = pipelines["ccsr"](PICTURE, config, (3,)).pictures[0].rgb
        np.testing.assert_array_equal(found, fresh)
    addresses = {array.ctypes.data for array in mapped}
    assert {step.x0_hat.data_ptr() for step in session.steps(LOWER, 3)[1:]} <= addresses


def test_files_are_bounded_too(
    pipelines: dict[Variant, CCSRPipeline], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ccsr.inference.estimate_cache.LARGE_BYTES", 1)
    session = PictureSession(pipelines.__getitem__, PICTURE)
    run(session, MIDDLE, 1)
    size = sum(step.x0_hat.nbytes for step in session.steps(MIDDLE, 1))
    monkeypatch.setattr("ccsr.inference.estimate_cache.MAX_FILE_BYTES", size)
    run(session, MIDDLE, 2)
    assert session.num_evaluations(MIDDLE, 2) == 0
    assert session.num_evaluations(MIDDLE, 1) == timestep_plan(MIDDLE).num_evaluations


def test_large_condition_does_not_drive_out_what_lies_in_files(
    pipelines: dict[Variant, CCSRPipeline], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ccsr.inference.estimate_cache.LARGE_BYTES", 1)
    session = PictureSession(pipelines.__getitem__, PICTURE, max_kept_bytes=0)
    for seed in (1, 2):
        run(session, MIDDLE, seed)
    assert session.num_evaluations(MIDDLE, 1) == 0


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
