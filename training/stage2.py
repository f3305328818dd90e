"""Stage 2 of the paper: the decoder learns to add detail, adversarially (variant CCSR)."""

from pathlib import Path

import torch
from torch import nn

from ccsr.models.autoencoder import Autoencoder, decode
from training.config import COMPRESSION, Stage2Config
from training.data import Example, Stored
from training.losses import (
    FeatureDiscriminator,
    PatchDiscriminator,
    adaptive_weight,
    hinge_loss,
)
from training.perceptual import PerceptualLoss, load_lpips


class Decoder(nn.Module):
    """Player: L1, perceptual distances and the discriminator's logits on decoded estimates."""

    def __init__(self, vae: Autoencoder, discriminator: nn.Module, config: Stage2Config) -> None:
        super().__init__()
        self.vae, self.config = vae, config
        vae.requires_grad_(False)
        vae.decoder.requires_grad_(True)
        # Out of reach of parameters(): the discriminator is trained by its own player.
        self._discriminator = (discriminator,)
        self.perceptual = PerceptualLoss(config.perceptual)
        self.sr: torch.Tensor | None = None
        """What was decoded last [B,3,H,W], for the discriminator, without its graph."""

    def forward(
        self, batch: Example, progress: float, generator: torch.Generator
    ) -> dict[str, torch.Tensor]:
        """batch["x0_hat"] [B,C,h,w] and batch["hr"] [B,3,H,W] in [0,1] -> losses."""
        hr = batch["hr"]
        sr = decode(self.vae, batch["x0_hat"])
        self.sr = sr.detach()
        losses = {"l1": (sr - hr).abs().mean(), "perceptual": self.perceptual(sr, hr, generator)}
        reconstruction = losses["l1"] + self.config.perceptual_weight * losses["perceptual"]
        # The gradients with respect to the picture are taken once and used twice: to balance the
        # two losses on the last layer, then to train the rest.
        gradient = _gradient(reconstruction, sr)
        if self.config.adversarial_weight > 0 and progress >= self.config.adversarial_from:
            losses["logits"] = self._discriminator[0](sr).mean()
            adversarial = _gradient(-losses["logits"], sr)
            last = last_layer(self.vae.decoder)
            losses["weight"] = self.config.adversarial_weight * adaptive_weight(
                _gradient(sr, last, gradient), _gradient(sr, last, adversarial)
            )
            gradient = gradient + losses["weight"] * adversarial
        # Its value says nothing; its gradient is that of the sum of all losses.
        losses["loss"] = (sr * gradient).sum()
        return losses


class Discriminator(nn.Module):
    """Player: tells true pictures from those that the decoder has just made."""

    def __init__(self, discriminator: nn.Module, decoder: Decoder) -> None:
        super().__init__()
        self.discriminator = discriminator
        self._decoder = (decoder,)

    def forward(
        self, batch: Example, progress: float, generator: torch.Generator
    ) -> dict[str, torch.Tensor]:
        """batch["hr"] [B,3,H,W] in [0,1] -> the hinge loss."""
        sr = self._decoder[0].sr
        assert sr is not None  # the decoder has its turn first
        return {"loss": hinge_loss(self.discriminator(batch["hr"]), self.discriminator(sr))}


class DecoderObjective:
    """Trains a decoder on stored roll-outs."""

    def __init__(self, vae: Autoencoder, config: Stage2Config, rollouts: Path) -> None:
        self.vae, self.config = vae, config
        discriminator = build_discriminator(config)
        decoder = Decoder(vae, discriminator, config)
        self.modules: dict[str, nn.Module] = {"decoder": decoder}
        if config.adversarial_weight > 0:
            self.modules["discriminator"] = Discriminator(discriminator, decoder)
        loop = config.loop
        window = loop.crop_px // COMPRESSION
        self.dataset = Stored(rollouts, ("x0_hat", "hr"), window, loop.seed, length=2**62)

    def learning_rate(self, player: str) -> float:
        """Peak learning rate of a player."""
        own = self.config.discriminator_learning_rate
        if player == "discriminator" and own is not None:
            return own
        return self.config.loop.learning_rate

    def export(self, folder: Path) -> None:
        """Save the autoencoder with the new decoder."""
        self.vae.save_pretrained(folder)


def build_discriminator(config: Stage2Config) -> PatchDiscriminator | FeatureDiscriminator:
    """An untrained discriminator."""
    if config.discriminator == "features":
        return FeatureDiscriminator(load_lpips("vgg"), config.discriminator_channels)
    return PatchDiscriminator(config.discriminator_channels)


def last_layer(decoder: nn.Module) -> torch.Tensor:
    """Weight of the convolution that makes the picture."""
    return [m for m in decoder.modules() if isinstance(m, nn.Conv2d)][-1].weight


def _gradient(
    output: torch.Tensor, of: torch.Tensor, weights: torch.Tensor | None = None
) -> torch.Tensor:
    return torch.autograd.grad(output, of, weights, retain_graph=True)[0].detach()
