"""ZeroGPU is simulated by a decorator that copies arguments and results, as processes do."""

import inspect
import pickle
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from ccsr.config import SamplingConfig
from ccsr.diffusion.timesteps import timestep_plan
from ccsr.evaluation.tradeoff import grid, sweep
from ccsr.images.picture import Picture, picture_from_array
from ccsr.inference.estimate_cache import EstimateCache, PictureEstimates
from ccsr.inference.events import Progress, Restored
from ccsr.inference.pipeline import CCSRPipeline
from ccsr.inference.session import PictureSession
from ccsr.ui.zerogpu import ZeroGpuEngine, gpu_seconds, spaces_gpu
from tests.fakes import FakeEngine
from tests.tiny import tiny_pipeline

CONFIG = SamplingConfig(num_steps=9)
GUIDED = SamplingConfig(num_steps=9, prompt="cat", guidance_scale=2.0)


class FakeGpu:
    """Stands in for `spaces.GPU`; records the names of the functions and the seconds asked for."""

    def __init__(self) -> None:
        self.borrowed: list[tuple[str, int]] = []

    def __call__(
        self, *, duration: Callable[..., int]
    ) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
            def called(*arguments: Any) -> Any:  # noqa: ANN401
                self.borrowed.append((function.__name__, duration(*arguments)))
                return _copied(function(*_copied(arguments)))

            def generated(*arguments: Any) -> Iterator[Any]:  # noqa: ANN401
                self.borrowed.append((function.__name__, duration(*arguments)))
                for event in function(*_copied(arguments)):
                    yield _copied(event)

            return generated if inspect.isgeneratorfunction(function) else called

        return decorate


def _copied(value: Any) -> Any:  # noqa: ANN401
    return pickle.loads(pickle.dumps(value))


class TinyEngine(FakeEngine):
    """With a tiny model instead of noise, so that estimates count."""

    pipeline: CCSRPipeline = tiny_pipeline()

    def session(  # type: ignore[override]
        self, picture: Picture, cache: EstimateCache | None = None, owner: str = ""
    ) -> PictureSession:
        estimates = PictureEstimates(picture, cache, owner)
        return PictureSession(lambda variant: self.pipeline, picture, estimates)


def picture() -> Picture:
    pixels = np.random.default_rng(0).integers(0, 256, (16, 20, 3), dtype=np.uint8)
    return picture_from_array(pixels)


def test_run_of_seeds_is_one_call() -> None:
    gpu = FakeGpu()
    engine = ZeroGpuEngine(FakeEngine(), gpu)
    assert engine.info == FakeEngine().info
    events = list(engine.run(picture(), CONFIG, (3, 4)))
    assert [event.seed for event in events if isinstance(event, Restored)] == [3, 4]
    assert [name for name, _ in gpu.borrowed] == ["run"]


def test_estimates_come_back_and_serve_what_needs_no_network() -> None:
    gpu = FakeGpu()
    session = ZeroGpuEngine(TinyEngine(), gpu).session(picture())
    full = timestep_plan(CONFIG).num_evaluations
    assert session.num_evaluations(CONFIG, 0) == full
    events = list(session.run(CONFIG, 0, preview=True))
    assert sum(isinstance(event, Progress) for event in events) == full

    earlier = SamplingConfig(num_steps=9, t_min=0.5)
    assert session.num_evaluations(earlier, 0) == 0
    (result,) = session.run(earlier, 0)
    assert [name for name, _ in gpu.borrowed] == ["refine", "restore"]
    (*_, expected) = PictureSession(lambda variant: TinyEngine.pipeline, picture()).run(earlier, 0)
    assert isinstance(result, Restored)
    assert isinstance(expected, Restored)
    np.testing.assert_allclose(result.picture.rgb, expected.picture.rgb, atol=1e-5)


def test_call_continues_the_chain_that_earlier_calls_have_made() -> None:
    gpu = FakeGpu()
    session = ZeroGpuEngine(TinyEngine(), gpu).session(picture())
    for _ in session.refine(CONFIG, 0):
        pass
    lower = SamplingConfig(num_steps=9, t_min=0.0)
    missing = len(session.steps(CONFIG, 0))
    missing = timestep_plan(lower).num_evaluations - missing
    assert session.num_evaluations(lower, 0) == missing
    events = list(session.run(lower, 0))
    assert sum(isinstance(event, Progress) for event in events) == missing
    (*_, expected) = PictureSession(lambda variant: TinyEngine.pipeline, picture()).run(lower, 0)
    np.testing.assert_allclose(events[-1].picture.rgb, expected.picture.rgb, atol=1e-5)


def test_time_asked_for_counts_the_missing_evaluations_only() -> None:
    gpu = FakeGpu()
    session = ZeroGpuEngine(TinyEngine(), gpu).session(picture())
    for t_min in (0.5, 0.2):
        list(session.refine(SamplingConfig(num_steps=90, t_min=t_min), 0))
    whole = ZeroGpuEngine(TinyEngine(), gpu).session(picture())
    list(whole.refine(SamplingConfig(num_steps=90, t_min=0.2), 0))
    first, second, both = (seconds for _, seconds in gpu.borrowed)
    assert first < both
    assert second < both


def test_sweep_works_in_calls() -> None:
    gpu = FakeGpu()
    configs = grid(CONFIG, (0.6667, 0.8), (0.3333, 0.5))
    session = ZeroGpuEngine(TinyEngine(), gpu).session(picture())
    events = sweep(session, configs, (0, 1), lambda rgb: {}, "paper")
    points = [event for event in events if hasattr(event, "point")]
    assert len(points) == len(configs)
    assert sum(name == "refine" for name, _ in gpu.borrowed) == 4


def test_time_asked_for_grows_with_the_work() -> None:
    small = gpu_seconds(picture(), CONFIG, 1, 4)
    assert 10 < small < 60
    assert gpu_seconds(picture(), CONFIG, 10, 4) > small
    assert gpu_seconds(picture(), CONFIG, 1, 40) > small
    assert gpu_seconds(picture(), GUIDED, 1, 4) > small
    large = Picture(np.zeros((512, 512, 3), np.float32))
    assert gpu_seconds(large, CONFIG, 1, 4) > 3 * small


def test_only_a_space_on_zerogpu_lends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SPACES_ZERO_GPU", raising=False)
    assert spaces_gpu() is None
    monkeypatch.setenv("SPACES_ZERO_GPU", "true")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert spaces_gpu() is None
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    package = SimpleNamespace(GPU=FakeGpu())
    monkeypatch.setattr("importlib.import_module", lambda name: package)
    assert spaces_gpu() is package.GPU
