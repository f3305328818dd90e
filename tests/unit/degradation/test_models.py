import pytest
import torch
from skimage import data

from ccsr.config import DegradationModel
from ccsr.degradation.draws import generator_for
from ccsr.degradation.models import draw, mixture
from ccsr.degradation.operations import Degradation
from tests.unit.degradation.counting import assert_share

MODELS: tuple[DegradationModel, ...] = ("real-esrgan", "bsrgan", "camera", "bicubic")


@pytest.fixture(scope="module")
def hr() -> torch.Tensor:
    return torch.from_numpy(data.coffee()[:128, :160].copy()).permute(2, 0, 1)[None].float() / 255


def degraded(hr: torch.Tensor, model: DegradationModel, *key: int) -> torch.Tensor:
    return draw(model, 4, generator_for(*key)).apply(hr)


@pytest.mark.parametrize("model", ["real-esrgan", "bsrgan", "camera"])
def test_sample_is_a_function_of_seed_and_index(hr: torch.Tensor, model: DegradationModel) -> None:
    keys = ((1, 0), (1, 0), (2, 0), (1, 1))
    first, again, other_seed, other_index = (degraded(hr, model, *key) for key in keys)
    assert torch.equal(first, again)
    assert not torch.equal(first, other_seed)
    assert not torch.equal(first, other_index)


@pytest.mark.parametrize("model", MODELS)
def test_global_random_state_is_neither_read_nor_changed(
    hr: torch.Tensor, model: DegradationModel
) -> None:
    torch.manual_seed(0)
    before = torch.random.get_rng_state()
    first = degraded(hr, model, 0)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(1)
    assert torch.equal(degraded(hr, model, 0), first)


@pytest.mark.parametrize("model", MODELS)
def test_results_are_8_bit_pictures_a_quarter_as_large(
    hr: torch.Tensor, model: DegradationModel
) -> None:
    for seed in range(12):
        lr = degraded(hr, model, seed)
        assert lr.shape == (1, 3, 32, 40)
        assert lr.min() >= 0
        assert lr.max() <= 1
        torch.testing.assert_close(lr * 255, (lr * 255).round(), atol=1e-3, rtol=0)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("shape", [(4, 4), (8, 40), (40, 40), (30, 5)])
def test_small_pictures_are_degraded_too(model: DegradationModel, shape: tuple[int, int]) -> None:
    hr = torch.rand(1, 3, *shape, generator=torch.Generator().manual_seed(0))
    for seed in range(20):
        lr = degraded(hr, model, seed)
        assert lr.shape == (1, 3, shape[0] // 4, shape[1] // 4)
        assert lr.isfinite().all()


@pytest.mark.parametrize(("model", "most"), [("real-esrgan", 0.25), ("bsrgan", 0.3)])
def test_models_damage_more_than_bicubic_reduction_but_keep_the_picture(
    hr: torch.Tensor, model: DegradationModel, most: float
) -> None:
    clean = degraded(hr, "bicubic", 0)
    errors = [
        float((degraded(hr, model, seed) - clean).square().mean().sqrt()) for seed in range(12)
    ]
    assert min(errors) > 1 / 255
    assert max(errors) < most


def test_camera_damages_less_than_the_models_of_two_rounds(hr: torch.Tensor) -> None:
    clean = degraded(hr, "bicubic", 0)

    def mean_error(model: DegradationModel) -> float:
        draws = [degraded(hr, model, seed) for seed in range(12)]
        return sum(float((lr - clean).square().mean().sqrt()) for lr in draws) / len(draws)

    assert 0 < mean_error("camera") < mean_error("real-esrgan") / 1.5


def test_mixture_draws_each_chain_with_its_share(
    hr: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[DegradationModel, int]] = []

    def recorded(model: DegradationModel, scale: int, generator: torch.Generator) -> Degradation:
        asked.append((model, scale))
        return draw("bicubic", scale, generator)

    monkeypatch.setattr("ccsr.degradation.models.draw", recorded)
    degrade = mixture({"bicubic": 0.5, "camera": 0.2, "bsrgan": 0.3}, 2)
    for seed in range(400):
        degrade(hr, generator_for(seed))
    for model, share in (("bicubic", 0.5), ("camera", 0.2), ("bsrgan", 0.3)):
        assert_share((drawn == (model, 2) for drawn in asked), share)
