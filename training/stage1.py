"""The denoising network: uniform training (variant V1), then stage 1 of the paper (V2)."""

from pathlib import Path

import torch
from torch import nn

from ccsr.schedule import NonUniformScheduler
from training.config import COMPRESSION, Stage1Config, UniformConfig
from training.data import Example, Stored
from training.losses import l_diff, l_T_and_l_t_max
from training.network import Denoiser


class Uniform(nn.Module):
    """Player: the denoising loss at any timestep, CCSR Eq. (2)."""

    def __init__(
        self, denoiser: Denoiser, scheduler: NonUniformScheduler, config: UniformConfig
    ) -> None:
        super().__init__()
        self.denoiser, self.scheduler = denoiser, scheduler
        self.noise_levels = config.noise_levels

    def forward(
        self, batch: Example, progress: float, generator: torch.Generator
    ) -> dict[str, torch.Tensor]:
        """batch["hr_latent"], batch["lr_latent"] [B,C,h,w] -> losses."""
        x0 = batch["hr_latent"]
        predict = self.denoiser.predictor(batch["lr_latent"])
        below = self.scheduler.last_timestep + 1
        losses = [
            l_diff(
                predict,
                self.scheduler,
                x0,
                random_timesteps(x0, below, generator),
                noise_like(x0, generator),
            )
            for _ in range(self.noise_levels)
        ]
        return {"loss": torch.stack(losses).mean()}


class NonUniform(nn.Module):
    """Player: the losses of stage 1, CCSR Eq. (3), in equal parts."""

    def __init__(
        self, denoiser: Denoiser, scheduler: NonUniformScheduler, config: Stage1Config
    ) -> None:
        super().__init__()
        self.denoiser, self.scheduler = denoiser, scheduler
        self.t_max = round(config.t_max * (scheduler.last_timestep + 1))

    def forward(
        self, batch: Example, progress: float, generator: torch.Generator
    ) -> dict[str, torch.Tensor]:
        """batch["hr_latent"], batch["lr_latent"] [B,C,h,w] -> losses."""
        x0 = batch["hr_latent"]
        predict = self.denoiser.predictor(batch["lr_latent"])
        # Between T and t_max the sampler visits nothing, so nothing is learned there.
        t = random_timesteps(x0, self.t_max, generator)
        losses = {"l_diff": l_diff(predict, self.scheduler, x0, t, noise_like(x0, generator))}
        losses["l_T"], losses["l_t_max"] = l_T_and_l_t_max(
            predict,
            self.scheduler,
            x0,
            self.t_max,
            noise_like(x0, generator),
            noise_like(x0, generator),
        )
        losses["loss"] = sum(losses.values(), start=torch.zeros((), device=x0.device))
        return losses


class DenoiserObjective:
    """Trains a denoiser on stored pairs of latents."""

    def __init__(
        self,
        denoiser: Denoiser,
        player: Uniform | NonUniform,
        config: UniformConfig | Stage1Config,
        pairs: Path,
    ) -> None:
        self.denoiser, self.config = denoiser, config
        self.players = {"denoiser": player}
        loop = config.loop
        self.dataset = Stored(pairs, loop.crop_px // COMPRESSION, loop.seed, length=2**62)

    def learning_rate(self, player: str) -> float:
        """Peak learning rate."""
        return self.config.loop.learning_rate

    def export(self, folder: Path) -> None:
        """Save both networks."""
        self.denoiser.save(folder)


def uniform_objective(
    denoiser: Denoiser, scheduler: NonUniformScheduler, config: UniformConfig, pairs: Path
) -> DenoiserObjective:
    """Variant V1: UNet and ControlNet learn together, at all timesteps."""
    return DenoiserObjective(denoiser, Uniform(denoiser, scheduler, config), config, pairs)


def stage1_objective(
    denoiser: Denoiser, scheduler: NonUniformScheduler, config: Stage1Config, pairs: Path
) -> DenoiserObjective:
    """Variant V2, starting from V1's networks."""
    if config.trained == "controlnet":
        denoiser.unet.requires_grad_(False)
    return DenoiserObjective(denoiser, NonUniform(denoiser, scheduler, config), config, pairs)


def random_timesteps(x0: torch.Tensor, below: int, generator: torch.Generator) -> torch.Tensor:
    """Timesteps [B] from 0 to `below` - 1, one from each of B equal parts of that range.

    Spread evenly they make the loss of a small batch less noisy; each is uniform.
    """
    parts = torch.arange(len(x0)) + torch.rand(len(x0), generator=generator)
    order = torch.randperm(len(x0), generator=generator)
    return (parts / len(x0) * below).long().clamp(max=below - 1)[order].to(x0.device)


def noise_like(x0: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Standard normal noise of the shape of x0."""
    return torch.randn(x0.shape, generator=generator).to(x0.device)
