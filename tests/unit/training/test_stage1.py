from collections.abc import Callable

import pytest
import torch
from torch import nn

from ccsr.diffusion.scheduler import NonUniformScheduler
from tests.tiny import tiny_unet
from training.config import (
    LoopConfig,
    PairsConfig,
    Stage1Config,
)
from training.draws import Draws
from training.stage1 import StructureRefinementLosses, official_stage1_losses


class AbsoluteDifference(nn.Module):
    def forward(
        self, sr: torch.Tensor, hr: torch.Tensor, generator: torch.Generator
    ) -> torch.Tensor:
        return (sr - hr).abs().mean()


class Oracle(nn.Module):
    """A denoiser whose prediction is its condition."""

    def features(self, lr_latent: torch.Tensor) -> torch.Tensor:
        return lr_latent

    def predictor(self, features: torch.Tensor) -> Callable[..., torch.Tensor]:
        return lambda x_t, t: features


def test_l_perceptual_compares_the_same_place_of_estimate_and_hr(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def enlarge(vae: nn.Module, latents: torch.Tensor) -> torch.Tensor:
        return latents.repeat_interleave(8, 2).repeat_interleave(8, 3)

    monkeypatch.setattr("training.stage1.decode", enlarge)
    loop = LoopConfig(max_steps=1, batch_size=2, learning_rate=1e-3, crop_px=64, warmup_steps=0)
    config = Stage1Config(
        loop=loop,
        pairs=PairsConfig(count=2),
        perceptual="alex",
        perceptual_weight=2.0,
        perceptual_crop_px=40,
    )
    scheduler = NonUniformScheduler(prediction_type="sample")
    losses_of = StructureRefinementLosses(Oracle(), scheduler, nn.Identity(), config)  # type: ignore[arg-type]
    losses_of.perceptual = AbsoluteDifference()  # type: ignore[assignment]
    x0 = torch.rand(2, 3, 8, 8)
    batch = {"hr_latent": x0, "lr_latent": x0, "hr": enlarge(losses_of, x0)}
    for seed in range(5):
        losses = losses_of(batch, 0.0, Draws(seed, 0, range(2), 2))
        assert {key: float(value) for key, value in losses.items()} == dict.fromkeys(losses, 0.0)
    batch["hr"] = batch["hr"] + 0.25
    losses = losses_of(batch, 0.0, Draws(0, 0, range(2), 2))
    assert float(losses["l_perceptual"]) == pytest.approx(0.25)
    assert float(losses["loss"]) == pytest.approx(0.5)


class Recorder(nn.Module):
    """A denoiser that records the timesteps it is evaluated at, and predicts 0."""

    def __init__(self) -> None:
        super().__init__()
        self.timesteps: list[torch.Tensor] = []

    def features(self, lr_latent: torch.Tensor) -> torch.Tensor:
        return lr_latent

    def predictor(self, features: torch.Tensor) -> Callable[..., torch.Tensor]:
        def predict(x_t: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
            self.timesteps.append(t)
            return torch.zeros_like(x_t)

        return predict


def test_stage_1_evaluates_timesteps_below_t_max_then_999_then_667_then_the_refinement(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("training.stage1.decode", lambda vae, x: torch.zeros(len(x), 3, 64, 64))
    loop = LoopConfig(max_steps=1, batch_size=4, learning_rate=1e-3, crop_px=64, warmup_steps=0)
    config = Stage1Config(
        loop=loop, pairs=PairsConfig(count=4), perceptual="alex", perceptual_weight=1.0
    )
    denoiser, scheduler = Recorder(), NonUniformScheduler(prediction_type="sample")
    losses_of = StructureRefinementLosses(denoiser, scheduler, nn.Identity(), config)  # type: ignore[arg-type]
    losses_of.perceptual = AbsoluteDifference()  # type: ignore[assignment]
    latent = torch.rand(4, 3, 8, 8)
    batch = {"hr_latent": latent, "lr_latent": latent, "hr": torch.rand(4, 3, 64, 64)}
    for seed in range(50):
        losses_of(batch, 0.0, Draws(seed, 0, range(4), 4))
    denoising, at_T, at_t_max, refinement = (
        torch.cat(denoiser.timesteps[term::4]) for term in range(4)
    )
    assert 0 <= denoising.min() < 25
    assert 640 < denoising.max() < 667
    assert set(at_T.tolist()) == {999}
    assert set(at_t_max.tolist()) == {667}
    assert 333 <= refinement.min() < 350
    assert 650 < refinement.max() < 667


def config_of(**others: float) -> Stage1Config:
    loop = LoopConfig(max_steps=1, batch_size=4, learning_rate=1e-3, crop_px=64, warmup_steps=0)
    return Stage1Config(loop=loop, pairs=PairsConfig(count=4), **others)  # type: ignore[arg-type]


def test_l_diff_of_the_paper_has_timesteps_from_t_min_to_t_max() -> None:
    denoiser, scheduler = Recorder(), NonUniformScheduler()
    losses_of = StructureRefinementLosses(
        denoiser,  # type: ignore[arg-type]
        scheduler,
        nn.Identity(),  # type: ignore[arg-type]
        config_of(l_diff_t_min=0.3333),
    )
    latent = torch.rand(4, 3, 8, 8)
    for seed in range(50):
        losses_of({"hr_latent": latent, "lr_latent": latent}, 0.0, Draws(seed, 0, range(4), 4))
    denoising = torch.cat(denoiser.timesteps[::3])
    assert 333 <= denoising.min() < 345
    assert 655 < denoising.max() < 667


def test_official_stage_1_takes_two_optimisers_for_three_evaluations() -> None:
    denoiser, scheduler = Recorder(), NonUniformScheduler()
    denoiser.unet = tiny_unet(attention=False)  # type: ignore[assignment]
    modules = official_stage1_losses(denoiser, scheduler, config_of())  # type: ignore[arg-type]
    latent = torch.rand(4, 3, 8, 8)
    batch = {"hr_latent": latent, "lr_latent": latent}
    found = [module(batch, 0.0, Draws(0, 0, range(4), 4)) for module in modules.values()]
    assert [t.max() <= 666 for t in denoiser.timesteps] == [True, False, False]
    assert [set(t.tolist()) for t in denoiser.timesteps[1:]] == [{999}, {667}]
    terms = {key: float(value) for key, value in found[1].items()}
    assert terms.pop("loss") == pytest.approx(sum(terms.values()))
    assert terms.keys() == {"l_T", "l_t_max", "l_noise_t_max"}
    x = torch.rand(1, 4, 8, 8, requires_grad=True)
    assert not denoiser.unet.conv_in(x).requires_grad
    # It predicts that there is no noise.
    assert terms["l_noise_t_max"] == pytest.approx(1, abs=0.2)
    assert float(found[0]["loss"]) == pytest.approx(1, abs=0.2)
