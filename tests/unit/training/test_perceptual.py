import pytest
import torch
from torch import nn

from ccsr.degradation.draws import generator_for
from ccsr.evaluation.metrics import LPIPS
from training.config import Perceptual, PerceptualDtype
from training.perceptual import DISTS, PerceptualLoss, distance_names


@pytest.mark.parametrize(
    ("kind", "names"),
    [("vgg", ("vgg",)), ("both", ("vgg", "alex")), ("all", ("vgg", "alex", "dists"))],
)
def test_recipe_names_the_distances(kind: Perceptual, names: tuple[str, ...]) -> None:
    assert distance_names(kind) == names


class Constant(nn.Module):
    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return torch.full((len(a),), self.value)


def test_each_call_draws_one_distance() -> None:
    loss, x = PerceptualLoss("alex"), torch.zeros(1, 3, 64, 64)
    loss.distances = nn.ModuleDict({"one": Constant(1.0), "two": Constant(2.0)})
    found = [float(loss(x, x, generator_for(i))) for i in range(20)]
    assert set(found) == {1.0, 2.0}
    assert found == [float(loss(x, x, generator_for(i))) for i in range(20)]


def test_dists_is_zero_for_equal_pictures_and_grows_with_noise() -> None:
    """With an untrained trunk: its weights do not ship."""
    channels = 3 + 64 + 128 + 256 + 512 + 512
    dists = DISTS(LPIPS("vgg"), torch.ones(channels), torch.ones(channels))
    generator = torch.Generator().manual_seed(0)
    picture = torch.rand(1, 3, 32, 32, generator=generator)
    noise = torch.randn(picture.shape, generator=generator)
    distances = [float(dists(picture, picture + sigma * noise)) for sigma in (0, 0.1, 0.5)]
    assert distances[0] == pytest.approx(0, abs=1e-5)
    assert distances == sorted(distances)
    assert distances[1] > 1e-4


def test_gradient_of_dists_is_finite_under_autocast_to_float16() -> None:
    channels = 3 + 64 + 128 + 256 + 512 + 512
    dists = DISTS(LPIPS("vgg"), torch.ones(channels), torch.ones(channels))
    loss, draws = PerceptualLoss("alex"), generator_for(0)
    loss.distances = nn.ModuleDict({"dists": dists})
    hr = torch.zeros(1, 3, 64, 64)
    sr = torch.full_like(hr, 1e-3).requires_grad_()
    with torch.autocast("cpu", torch.float16):
        distance = loss(sr, hr, draws)
    distance.backward()
    assert distance.dtype == torch.float32
    assert sr.grad is not None
    assert bool(sr.grad.isfinite().all())


@pytest.mark.parametrize(
    ("number_format", "autocast", "least_agreement"),
    [
        ("float32", torch.bfloat16, 1 - 1e-5),
        ("auto", torch.bfloat16, 0.9),
        ("bfloat16", None, 0.9),
        ("auto", None, 1 - 1e-5),
    ],
)
def test_value_and_gradient_agree_with_those_in_float32(
    number_format: PerceptualDtype, autocast: torch.dtype | None, least_agreement: float
) -> None:
    """Which were measured by LPIPS without this class; the agreement of gradients is a cosine."""
    lpips = LPIPS.alex()
    hr = torch.nn.functional.interpolate(torch.rand(2, 3, 9, 9, generator=generator_for(0)), 72)
    blurred = torch.nn.functional.avg_pool2d(hr, 5, 1, 2)
    values: list[float] = []
    gradients: list[torch.Tensor] = []
    loss = PerceptualLoss("alex", number_format)
    for exact in (True, False):
        sr = blurred.clone().requires_grad_()
        draws = generator_for(1)
        if exact:
            torch.randint(1, (1,), generator=draws)
            top, left = torch.randint(8, (2,), generator=draws).tolist()
            distance = lpips(sr[..., top:, left:], hr[..., top:, left:]).mean()
        else:
            enabled = autocast is not None
            with torch.autocast("cpu", autocast or torch.bfloat16, enabled=enabled):
                distance = loss(sr, hr, draws)
        distance.backward()
        assert sr.grad is not None
        values.append(float(distance.detach()))
        gradients.append(sr.grad.flatten())
    in_float32 = least_agreement > 0.99
    assert values[1] == pytest.approx(values[0], rel=1e-5 if in_float32 else 2e-2)
    agreement = float(torch.cosine_similarity(*gradients, dim=0))
    assert agreement > least_agreement
    # Rounding shows, or the number format was not taken.
    assert (agreement > 0.9999) == in_float32


def test_perceptual_losses_are_laid_out_as_their_convolutions_compute() -> None:
    trunk = PerceptualLoss("alex").distances["alex"]
    weights = [p for p in trunk.parameters() if p.dim() == 4 and min(p.shape[1:]) > 1]
    assert weights
    assert all(w.is_contiguous(memory_format=torch.channels_last) for w in weights)
