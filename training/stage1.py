"""The denoising network: uniform training (variant V1), then stage 1 of the paper (V2).

To the three losses of the paper stage 1 may add a fourth: how unlike HR the estimates of the
refinement look once decoded. Mean squares in latents alone leave them soft, and what is soft there
the decoder of stage 2 must invent.
"""

from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

from ccsr.diffusion.scheduler import NonUniformScheduler
from ccsr.models.autoencoder import Autoencoder, decode
from training.config import COMPRESSION, Stage1Config, UniformConfig
from training.data import Example, Stored, random_int
from training.losses import jump, l_diff, refine
from training.network import Denoiser
from training.perceptual import PerceptualLoss


class Uniform(nn.Module):
    """Player: the denoising loss at any timestep, CCSR Eq. (2)."""

    keys = ("hr_latent", "lr_latent")
    """What it wants of a pair."""

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
    """Player: the losses of stage 1, CCSR Eq. (3), in equal parts; and l_perceptual, weighted."""

    def __init__(
        self,
        denoiser: Denoiser,
        scheduler: NonUniformScheduler,
        vae: Autoencoder,
        config: Stage1Config,
    ) -> None:
        super().__init__()
        self.denoiser, self.scheduler, self.config = denoiser, scheduler, config
        timesteps = scheduler.last_timestep + 1
        self.t_max, self.t_min = (round(t * timesteps) for t in (config.t_max, config.t_min))
        self.keys: tuple[str, ...] = ("hr_latent", "lr_latent")
        """What it wants of a pair."""
        if config.perceptual_weight > 0:
            self.keys += ("hr",)
            self.vae = vae.requires_grad_(False)
            self.perceptual = PerceptualLoss(config.perceptual)

    def forward(
        self, batch: Example, progress: float, generator: torch.Generator
    ) -> dict[str, torch.Tensor]:
        """batch["hr_latent"], "lr_latent" [B,C,h,w] and "hr" [B,3,H,W] in [0,1] -> losses."""
        x0 = batch["hr_latent"]
        predict = self.denoiser.predictor(batch["lr_latent"])
        # Between T and t_max the sampler visits nothing, so nothing is learned there.
        t = random_timesteps(x0, self.t_max, generator)
        losses = {"l_diff": l_diff(predict, self.scheduler, x0, t, noise_like(x0, generator))}
        noises = noise_like(x0, generator), noise_like(x0, generator)
        x0_hat_T, x0_hat_t_max = jump(predict, self.scheduler, x0, self.t_max, *noises)
        losses["l_T"] = functional.mse_loss(x0_hat_T, x0)
        losses["l_t_max"] = functional.mse_loss(x0_hat_t_max, x0)
        losses["loss"] = losses["l_diff"] + losses["l_T"] + losses["l_t_max"]
        if self.config.perceptual_weight > 0:
            # From where the model itself has come: noised HR would give its details away.
            t = self.t_min + random_timesteps(x0, self.t_max - self.t_min, generator)
            noise = noise_like(x0, generator)
            x0_hat = refine(predict, self.scheduler, x0_hat_t_max.detach(), t, noise)
            losses["l_perceptual"] = self._l_perceptual(x0_hat, batch["hr"], generator)
            losses["loss"] = losses["loss"] + self.config.perceptual_weight * losses["l_perceptual"]
        return losses

    def _l_perceptual(
        self, x0_hat: torch.Tensor, hr: torch.Tensor, generator: torch.Generator
    ) -> torch.Tensor:
        """Distance between crops of the decoded estimate and of HR."""
        count, side = self.config.perceptual_crops, self.config.perceptual_crop_px // COMPRESSION
        side = min(side, *x0_hat.shape[2:])
        top, left = (random_int(generator, 0, length - side) for length in x0_hat.shape[2:])
        sr = decode(self.vae, x0_hat[:count, :, top : top + side, left : left + side])
        rows, columns = (
            slice(COMPRESSION * first, COMPRESSION * (first + side)) for first in (top, left)
        )
        return self.perceptual(sr, hr[:count, :, rows, columns], generator)


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
        self.modules = {"denoiser": player}
        loop = config.loop
        window = loop.crop_px // COMPRESSION
        self.dataset = Stored(pairs, player.keys, window, loop.seed, length=2**62)

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
    denoiser: Denoiser,
    scheduler: NonUniformScheduler,
    vae: Autoencoder,
    config: Stage1Config,
    pairs: Path,
) -> DenoiserObjective:
    """Variant V2, starting from V1's networks."""
    if config.trained == "controlnet":
        denoiser.unet.requires_grad_(False)
    player = NonUniform(denoiser, scheduler, vae, config)
    return DenoiserObjective(denoiser, player, config, pairs)


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
