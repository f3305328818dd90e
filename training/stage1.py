"""The denoising network: uniform training (variant V1), then stage 1 of the paper (V2).

Stage 1 minimises CCSR Eq. (3) and, with a weight above 0, l_perceptual: the perceptual distance
between HR and the decoded estimate at a random timestep of the refinement. Squared errors of
latents alone give blurred estimates, whose details the decoder of stage 2 would have to invent.
"""

from pathlib import Path

import torch
from torch import nn

from ccsr.degradation.draws import random_int
from ccsr.diffusion.scheduler import NonUniformScheduler
from ccsr.models.autoencoder import Autoencoder, decode
from ccsr.models.denoiser import Denoiser
from training.config import COMPRESSION, Stage1Config, UniformConfig
from training.data import Example
from training.latent_cache import LatentCache
from training.losses import Stage1Noise, l_diff, noised_estimate, structure_refinement_loss
from training.network import save_denoiser
from training.perceptual import PerceptualLoss


class UniformLosses(nn.Module):
    """Loss module of uniform training: l_diff at timesteps in [0, T), CCSR Eq. (2)."""

    keys = ("hr_latent", "lr_latent")
    """The tensors of an example that it reads."""

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
        predict = self.denoiser.predictor(self.denoiser.features(batch["lr_latent"]))
        num_train_timesteps = self.scheduler.last_timestep + 1
        losses: list[torch.Tensor] = []
        for _ in range(self.noise_levels):
            t = random_timesteps(x0, num_train_timesteps, generator)
            losses.append(l_diff(predict, self.scheduler, x0, t, noise_like(x0, generator)))
        return {"loss": torch.stack(losses).mean()}


class StructureRefinementLosses(nn.Module):
    """Loss module of stage 1: CCSR Eq. (3) + perceptual_weight * l_perceptual.

    Args:
        denoiser: The trained network.
        scheduler: Its noise schedule and prediction type.
        vae: Decodes estimates for l_perceptual; frozen.
        config: t_max and t_min as fractions of T, and l_perceptual.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        scheduler: NonUniformScheduler,
        vae: Autoencoder,
        config: Stage1Config,
    ) -> None:
        super().__init__()
        self.denoiser, self.scheduler, self.config = denoiser, scheduler, config
        num_train_timesteps = scheduler.last_timestep + 1
        # 667 and 333 with the defaults, as in the authors' training. A sampling grid has its own
        # points near them: 658 and 341 with 45 steps.
        self.t_max, self.t_min = (
            round(t * num_train_timesteps) for t in (config.t_max, config.t_min)
        )
        self.keys: tuple[str, ...] = ("hr_latent", "lr_latent")
        """The tensors of an example that it reads."""
        if config.perceptual_weight > 0:
            self.keys += ("hr",)
            self.vae = vae.requires_grad_(False)
            self.perceptual = PerceptualLoss(config.perceptual)

    def forward(
        self, batch: Example, progress: float, generator: torch.Generator
    ) -> dict[str, torch.Tensor]:
        """batch["hr_latent"], "lr_latent" [B,C,h,w] and "hr" [B,3,H,W] in [0,1] -> losses."""
        x0 = batch["hr_latent"]
        predict = self.denoiser.predictor(self.denoiser.features(batch["lr_latent"]))
        t = random_timesteps(x0, self.t_max, generator)
        noise = Stage1Noise(*(noise_like(x0, generator) for _ in Stage1Noise._fields))
        eq3 = structure_refinement_loss(predict, self.scheduler, x0, t, self.t_max, noise)
        losses = {
            "l_diff": eq3.l_diff,
            "l_T": eq3.l_T,
            "l_t_max": eq3.l_t_max,
            "loss": eq3.total,
        }
        if self.config.perceptual_weight > 0:
            # The estimate at t_max is noised, not x0, whose details remain visible in x_t.
            t = self.t_min + random_timesteps(x0, self.t_max - self.t_min, generator)
            start = eq3.x0_hat_t_max.detach()
            x0_hat = noised_estimate(predict, self.scheduler, start, t, noise_like(x0, generator))
            losses["l_perceptual"] = self._l_perceptual(x0_hat, batch["hr"], generator)
            losses["loss"] = losses["loss"] + self.config.perceptual_weight * losses["l_perceptual"]
        return losses

    def _l_perceptual(
        self, x0_hat: torch.Tensor, hr: torch.Tensor, generator: torch.Generator
    ) -> torch.Tensor:
        """Distance, a scalar, of a random crop of decoded x0_hat [B,C,h,w] to that of HR."""
        count, side = self.config.perceptual_crops, self.config.perceptual_crop_px // COMPRESSION
        side = min(side, *x0_hat.shape[2:])
        top, left = (random_int(generator, 0, length - side) for length in x0_hat.shape[2:])
        sr = decode(self.vae, x0_hat[:count, :, top : top + side, left : left + side])
        rows, columns = (
            slice(COMPRESSION * first, COMPRESSION * (first + side)) for first in (top, left)
        )
        return self.perceptual(sr, hr[:count, :, rows, columns], generator)


class DenoiserObjective:
    """Trains a denoiser on cached pairs of latents.

    Args:
        denoiser: The trained network.
        losses: Its loss module.
        config: The part of the recipe.
        pairs: Folder of the latent cache.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        losses: UniformLosses | StructureRefinementLosses,
        config: UniformConfig | Stage1Config,
        pairs: Path,
    ) -> None:
        self.denoiser, self.config = denoiser, config
        self.modules = {"denoiser": losses}
        loop = config.loop
        window = loop.crop_px // COMPRESSION
        self.dataset = LatentCache(pairs, losses.keys, window, loop.seed, length=2**62)

    def learning_rate(self, module: str) -> float:
        """Peak learning rate."""
        return self.config.loop.learning_rate

    def export(self, folder: Path) -> None:
        """Save UNet and ControlNet."""
        save_denoiser(self.denoiser, folder)


def uniform_objective(
    denoiser: Denoiser, scheduler: NonUniformScheduler, config: UniformConfig, pairs: Path
) -> DenoiserObjective:
    """Variant V1: UNet and ControlNet trained together at timesteps in [0, T)."""
    losses = UniformLosses(denoiser, scheduler, config)
    return DenoiserObjective(denoiser, losses, config, pairs)


def stage1_objective(
    denoiser: Denoiser,
    scheduler: NonUniformScheduler,
    vae: Autoencoder,
    config: Stage1Config,
    pairs: Path,
) -> DenoiserObjective:
    """Variant V2: the networks of V1 trained on CCSR Eq. (3)."""
    if config.trained == "controlnet":
        denoiser.unet.requires_grad_(False)
    losses = StructureRefinementLosses(denoiser, scheduler, vae, config)
    return DenoiserObjective(denoiser, losses, config, pairs)


def random_timesteps(x0: torch.Tensor, below: int, generator: torch.Generator) -> torch.Tensor:
    """Timesteps [B] in [0, `below`), stratified: one from each of B equal parts, in random order.

    Each is uniform by itself; stratification lowers the variance of the loss of a small batch.
    """
    parts = torch.arange(len(x0)) + torch.rand(len(x0), generator=generator)
    order = torch.randperm(len(x0), generator=generator)
    return (parts / len(x0) * below).long().clamp(max=below - 1)[order].to(x0.device)


def noise_like(x0: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Standard normal noise of the shape of x0."""
    return torch.randn(x0.shape, generator=generator).to(x0.device)
