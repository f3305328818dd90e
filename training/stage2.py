"""Stage 2 of the paper (Sec. 3.3, variant CCSR): adversarial fine-tuning of the decoder."""

from pathlib import Path

import torch
from diffusers import AutoencoderKL
from torch import nn

from ccsr.models.autoencoder import Autoencoder, decode, reads_lr
from training.config import Stage2Config
from training.data import Example, enlarged
from training.discriminators import (
    DiscriminatorNorm,
    FeatureDiscriminator,
    PatchDiscriminator,
)
from training.draws import Draws
from training.latent_cache import LatentCache, Windows
from training.losses import adaptive_weight, hinge_loss
from training.perceptual import PerceptualLoss, load_lpips
from training.processes import mean_over_processes

GRADIENT_SCALE = 2**14
"""A mean over all pixels has gradients too small for float16 on their way back. A power of two
changes nothing else."""


class DecoderLosses(nn.Module):
    """Loss module of the decoder: L1 + perceptual_weight * perceptual distance + adversarial loss.

    The adversarial loss is minus the mean logit of the decoded picture, weighted by
    adversarial_weight * `adaptive_weight`. The perceptual distance joins after the share
    perceptual_from of the run, the adversarial loss after the share adversarial_from.

    Args:
        vae: Its decoder is trained, with what lies between latents and decoder; the rest is frozen.
        discriminator: Pictures [B,3,H,W] in [0,1] -> logits.
        config: The part of the recipe.
    """

    def __init__(self, vae: Autoencoder, discriminator: nn.Module, config: Stage2Config) -> None:
        super().__init__()
        self.vae, self.config = vae, config
        vae.requires_grad_(False)
        for part in decoding_parts(vae):
            part.requires_grad_(True)
        # In a tuple, so that parameters() leaves it out: it is trained by DiscriminatorLosses.
        self._discriminator = (discriminator,)
        self.perceptual = PerceptualLoss(config.perceptual)
        self.sr: torch.Tensor | None = None
        """The pictures decoded last [B,3,H,W], without their graph, for DiscriminatorLosses."""

    def forward(self, batch: Example, progress: float, draws: Draws) -> dict[str, torch.Tensor]:
        """batch["x0_hat"], "hr_latent" [B,C,h,w], "hr" and "lr" [B,3,...] in [0,1] -> losses."""
        hr = batch["hr"]
        lr_up = enlarged(batch["lr"], hr) if reads_lr(self.vae) else None
        true = (draws.uniform() < self.config.true_latents).view(-1, 1, 1, 1)
        latents = torch.where(true.to(hr.device), batch["hr_latent"], batch["x0_hat"])
        sr = decode(self.vae, latents, lr_up=lr_up)
        self.sr = sr.detach()
        losses = {"l1": (sr - hr).abs().mean()}
        reconstruction = losses["l1"]
        if progress >= self.config.perceptual_from:
            losses["perceptual"] = self.perceptual(sr, hr, draws.shared)
            reconstruction = losses["l1"] + self.config.perceptual_weight * losses["perceptual"]
        # The gradients with respect to the picture serve twice: for the weights of the two losses
        # by their gradients at the last layer, and for the backward pass through the decoder.
        gradient, value = gradient_of(reconstruction, sr), reconstruction
        if self.config.adversarial_weight > 0 and progress >= self.config.adversarial_from:
            losses["logits"] = self._discriminator[0](sr).mean()
            adversarial = gradient_of(-losses["logits"], sr)
            last = last_layer(self.vae.decoder)
            losses["weight"] = self.config.adversarial_weight * adaptive_weight(
                mean_over_processes(gradient_of(sr, last, gradient)),
                mean_over_processes(gradient_of(sr, last, adversarial)),
            )
            gradient = gradient + losses["weight"] * adversarial
            value = value - losses["weight"] * losses["logits"]
        # The weighted sum of the losses, by the gradient that is known already.
        surrogate = (sr * gradient).sum()
        losses["loss"] = surrogate + (value - surrogate).detach()
        return losses


class DiscriminatorLosses(nn.Module):
    """Loss module of the discriminator: the hinge loss on HR and the pictures decoded last.

    Args:
        discriminator: The trained network.
        decoder: Called before this module on every batch.
    """

    def __init__(self, discriminator: nn.Module, decoder: DecoderLosses) -> None:
        super().__init__()
        self.discriminator = discriminator
        # In a tuple, so that parameters() leaves it out.
        self._decoder = (decoder,)

    def forward(self, batch: Example, progress: float, draws: Draws) -> dict[str, torch.Tensor]:
        """batch["hr"] [B,3,H,W] in [0,1] -> the hinge loss; nothing before `adversarial_from`.

        Trained against a decoder without adversarial loss, a discriminator saturates, and its
        gradients vanish.
        """
        if progress < self._decoder[0].config.adversarial_from:
            return {}
        sr = self._decoder[0].sr
        assert sr is not None  # the loop calls the decoder first
        return {"loss": hinge_loss(self.discriminator(batch["hr"]), self.discriminator(sr))}


class DecoderObjective:
    """Trains a decoder on cached roll-outs.

    Args:
        vae: Its decoder is trained.
        discriminator: Pictures [B,3,H,W] in [0,1] -> logits.
        config: The part of the recipe.
        rollouts: Folder of the latent cache.
    """

    def __init__(
        self, vae: Autoencoder, discriminator: nn.Module, config: Stage2Config, rollouts: Path
    ) -> None:
        self.vae, self.config = vae, config
        decoder = DecoderLosses(vae, discriminator, config)
        self.modules: dict[str, nn.Module] = {"decoder": decoder}
        if config.adversarial_weight > 0:
            self.modules["discriminator"] = DiscriminatorLosses(discriminator, decoder)
        loop = config.loop
        keys = ("x0_hat", "hr_latent", "hr", "lr")
        self.dataset = LatentCache(rollouts, keys, Windows.of(loop), loop.seed, length=2**62)

    def learning_rate(self, module: str) -> float:
        """Peak learning rate of "decoder" or "discriminator"."""
        own = self.config.discriminator_learning_rate
        if module == "discriminator" and own is not None:
            return own
        return self.config.loop.learning_rate

    def export(self, folder: Path) -> None:
        """Save the autoencoder with the new decoder."""
        self.vae.save_pretrained(folder)


def build_discriminator(
    config: Stage2Config, norm: DiscriminatorNorm = "spectral"
) -> PatchDiscriminator | FeatureDiscriminator:
    """An untrained discriminator.

    Args:
        config: The part of the recipe.
        norm: Of the one that reads pixels.
    """
    if config.discriminator == "features":
        return FeatureDiscriminator(load_lpips("vgg"), config.discriminator_channels)
    return PatchDiscriminator(config.discriminator_channels, norm)


def decoding_parts(vae: Autoencoder) -> list[nn.Module]:
    """The decoder, and in `AutoencoderKL` the convolution before it."""
    if isinstance(vae, AutoencoderKL) and vae.post_quant_conv is not None:
        return [vae.post_quant_conv, vae.decoder]
    return [vae.decoder]


def last_layer(decoder: nn.Module) -> torch.Tensor:
    """Weight [out,in,k,k] of the decoder's last convolution, whose output is the picture."""
    return [m for m in decoder.modules() if isinstance(m, nn.Conv2d)][-1].weight


def gradient_of(
    output: torch.Tensor, of: torch.Tensor, weights: torch.Tensor | None = None
) -> torch.Tensor:
    """Gradient with respect to `of` of `output`, or of (weights * output).sum()."""
    (gradient,) = torch.autograd.grad(GRADIENT_SCALE * output, of, weights, retain_graph=True)
    return gradient.detach() / GRADIENT_SCALE
