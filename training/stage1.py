"""The denoising network: uniform training (variant V1), then stage 1 of the paper (V2).

Stage 1 minimises CCSR Eq. (3) and, with a weight above 0, l_perceptual: the perceptual distance
between HR and the decoded estimate at a random timestep of the refinement. Squared errors of
latents alone give blurred estimates, whose details the decoder of stage 2 would have to invent.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

from ccsr.degradation.draws import random_int
from ccsr.diffusion.scheduler import NonUniformScheduler
from ccsr.models.autoencoder import Autoencoder, decode
from ccsr.models.denoiser import Denoiser
from training.config import COMPRESSION, Stage1Config, UniformConfig
from training.data import Example
from training.draws import Draws
from training.latent_cache import LatentCache, Windows
from training.losses import jump_losses, l_diff, noised_estimate
from training.network import freeze_untrained, save_denoiser
from training.perceptual import PerceptualLoss


class DenoisingLosses(nn.Module):
    """Loss module of l_diff, CCSR Eq. (2).

    Args:
        denoiser: The trained network.
        scheduler: Its noise schedule and prediction type.
        timesteps: Those that are drawn.
        noise_levels: How many of them are tried on each example.
    """

    keys = ("hr_latent", "lr_latent")
    """The tensors of an example that it reads."""

    def __init__(
        self,
        denoiser: Denoiser,
        scheduler: NonUniformScheduler,
        timesteps: range,
        noise_levels: int = 1,
    ) -> None:
        super().__init__()
        self.denoiser, self.scheduler = denoiser, scheduler
        self.timesteps, self.noise_levels = timesteps, noise_levels

    def forward(self, batch: Example, progress: float, draws: Draws) -> dict[str, torch.Tensor]:
        """batch["hr_latent"], batch["lr_latent"] [B,C,h,w] -> losses."""
        x0 = batch["hr_latent"]
        predict = self.denoiser.predictor(self.denoiser.features(batch["lr_latent"]))
        losses: list[torch.Tensor] = []
        for _ in range(self.noise_levels):
            t = draws.timesteps(self.timesteps).to(x0.device)
            losses.append(l_diff(predict, self.scheduler, x0, t, draws.normal(x0)))
        return {"loss": torch.stack(losses).mean()}


class OfficialJumpLosses(nn.Module):
    """Loss module of the second optimiser of the authors' stage 1: l_T + l_t_max + l_noise_t_max.

    Args:
        denoiser: The trained network.
        scheduler: Its noise schedule and prediction type.
        t_max: Train timestep of the jump.
    """

    keys = ("hr_latent", "lr_latent")
    """The tensors of an example that it reads."""

    def __init__(self, denoiser: Denoiser, scheduler: NonUniformScheduler, t_max: int) -> None:
        super().__init__()
        self.denoiser, self.scheduler, self.t_max = denoiser, scheduler, t_max

    def forward(self, batch: Example, progress: float, draws: Draws) -> dict[str, torch.Tensor]:
        """batch["hr_latent"], batch["lr_latent"] [B,C,h,w] -> losses."""
        x0 = batch["hr_latent"]
        predict = self.denoiser.predictor(self.denoiser.features(batch["lr_latent"]))
        noises = (draws.normal(x0) for _ in range(2))
        jump = jump_losses(predict, self.scheduler, x0, self.t_max, *noises)
        return {
            "l_T": jump.l_T,
            "l_t_max": jump.l_t_max,
            "l_noise_t_max": jump.l_noise_t_max,
            "loss": jump.l_T + jump.l_t_max + jump.l_noise_t_max,
        }


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
        self.t_max, self.t_min, least = (
            train_timestep(scheduler, t) for t in (config.t_max, config.t_min, config.l_diff_t_min)
        )
        self.timesteps = range(least, self.t_max)
        self.keys: tuple[str, ...] = ("hr_latent", "lr_latent")
        """The tensors of an example that it reads."""
        if config.perceptual_weight > 0:
            self.keys += ("hr",)
            self.vae = vae.requires_grad_(False)
            self.perceptual = PerceptualLoss(config.perceptual)

    def forward(self, batch: Example, progress: float, draws: Draws) -> dict[str, torch.Tensor]:
        """batch["hr_latent"], "lr_latent" [B,C,h,w] and "hr" [B,3,H,W] in [0,1] -> losses."""
        x0 = batch["hr_latent"]
        predict = self.denoiser.predictor(self.denoiser.features(batch["lr_latent"]))
        t = draws.timesteps(self.timesteps).to(x0.device)
        noises = [draws.normal(x0) for _ in range(3)]
        denoising = l_diff(predict, self.scheduler, x0, t, noises[0])
        jump = jump_losses(predict, self.scheduler, x0, self.t_max, noises[1], noises[2])
        losses = {
            "l_diff": denoising,
            "l_T": jump.l_T,
            "l_t_max": jump.l_t_max,
            "loss": denoising + jump.l_T + jump.l_t_max,
        }
        if self.config.perceptual_weight > 0:
            # The estimate at t_max is noised, not x0, whose details remain visible in x_t.
            t = draws.timesteps(range(self.t_min, self.t_max)).to(x0.device)
            start = jump.x0_hat_t_max.detach()
            x0_hat = noised_estimate(predict, self.scheduler, start, t, draws.normal(x0))
            losses["l_perceptual"] = self._l_perceptual(x0_hat, batch["hr"], draws)
            losses["loss"] = losses["loss"] + self.config.perceptual_weight * losses["l_perceptual"]
        return losses

    def _l_perceptual(self, x0_hat: torch.Tensor, hr: torch.Tensor, draws: Draws) -> torch.Tensor:
        """Distance, a scalar, of a random crop of decoded x0_hat [B,C,h,w] to that of HR."""
        side = min(self.config.perceptual_crop_px // COMPRESSION, *x0_hat.shape[2:])
        top, left = (random_int(draws.shared, 0, length - side) for length in x0_hat.shape[2:])
        chosen = draws.some(self.config.perceptual_crops)
        if not chosen:
            return x0_hat.new_zeros(())
        sr = decode(self.vae, x0_hat[chosen, :, top : top + side, left : left + side])
        rows, columns = (
            slice(COMPRESSION * first, COMPRESSION * (first + side)) for first in (top, left)
        )
        distance = self.perceptual(sr, hr[chosen, :, rows, columns], draws.shared)
        # The mean over the parts of a batch is then the mean over all chosen examples.
        count = min(self.config.perceptual_crops, draws.batch_size)
        return distance * (len(chosen) * draws.parts / count)


DenoiserLosses = DenoisingLosses | StructureRefinementLosses | OfficialJumpLosses


class DenoiserObjective:
    """Trains a denoiser on cached pairs of latents.

    Args:
        denoiser: The trained network.
        modules: Its loss modules by name; each has an optimiser of its own.
        config: The part of the recipe.
        pairs: Folder of the latent cache.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        modules: Mapping[str, DenoiserLosses],
        config: UniformConfig | Stage1Config,
        pairs: Path,
    ) -> None:
        self.denoiser, self.modules, self.config = denoiser, modules, config
        loop = config.loop
        keys = tuple(dict.fromkeys(key for losses in modules.values() for key in losses.keys))
        self.dataset = LatentCache(pairs, keys, Windows.of(loop), loop.seed, length=2**62)

    def learning_rate(self, module: str) -> float:
        """Peak learning rate."""
        return self.config.loop.learning_rate

    def export(self, folder: Path) -> None:
        """Save UNet and ControlNet."""
        save_denoiser(self.denoiser, folder)


def uniform_losses(
    denoiser: Denoiser, scheduler: NonUniformScheduler, config: UniformConfig
) -> dict[str, DenoiserLosses]:
    """Variant V1: the network trained at timesteps in [0, T)."""
    freeze_untrained(denoiser, config.trained)
    timesteps = range(scheduler.last_timestep + 1)
    return {"denoiser": DenoisingLosses(denoiser, scheduler, timesteps, config.noise_levels)}


def stage1_losses(
    denoiser: Denoiser, scheduler: NonUniformScheduler, vae: Autoencoder, config: Stage1Config
) -> dict[str, DenoiserLosses]:
    """Variant V2: the network trained on CCSR Eq. (3)."""
    freeze_untrained(denoiser, config.trained)
    return {"denoiser": StructureRefinementLosses(denoiser, scheduler, vae, config)}


def official_stage1_losses(
    denoiser: Denoiser, scheduler: NonUniformScheduler, config: Stage1Config
) -> dict[str, DenoiserLosses]:
    """Variant V2 as the authors' code trains it: by two optimisers in turn, on the same batch."""
    freeze_untrained(denoiser, config.trained, encoder_gradient=False)
    t_max = train_timestep(scheduler, config.t_max)
    return {
        "denoiser": DenoisingLosses(denoiser, scheduler, range(t_max)),
        "jump": OfficialJumpLosses(denoiser, scheduler, t_max),
    }


def train_timestep(scheduler: NonUniformScheduler, fraction: float) -> int:
    """The train timestep that is a fraction of T.

    667 of t_max and 333 of t_min with the defaults, as in the authors' training. A sampling grid
    has its own points near them: 658 and 341 with 45 steps.
    """
    return round(fraction * (scheduler.last_timestep + 1))
