"""Autoencoders: pixels [B,3,H,W] <-> latents [B,C,H/8,W/8]. The compact one is trained here."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL
from diffusers.utils import CONFIG_NAME
from torch import nn

from ccsr.errors import InputError
from ccsr.inference.hub import json_object
from ccsr.models.compact_autoencoder import CompactAutoencoder, PaddingMode
from training.config import AutoencoderConfig, DataConfig
from training.data import Crops, Example, Pictures
from training.draws import Draws
from training.perceptual import PerceptualLoss
from training.sources import Source

TrainedAutoencoder = CompactAutoencoder | AutoencoderKL
"""Those that stage 2 can train the decoder of."""


def load_autoencoder(folder: Path) -> TrainedAutoencoder:
    """Read an autoencoder, in float32.

    Raises:
        InputError: If it is of another class than can be trained, or its config is damaged.
    """
    name = json_object(folder / CONFIG_NAME).get("_class_name")
    for kind in (CompactAutoencoder, AutoencoderKL):
        if name == kind.__name__:
            return kind.from_pretrained(folder, torch_dtype=torch.float32)
    raise InputError(
        f"{folder} holds {name}, not a CompactAutoencoder or AutoencoderKL, whose decoders can "
        "be trained; run the step 'autoencoder' first, or start from another model"
    )


def build_autoencoder(config: AutoencoderConfig) -> CompactAutoencoder:
    """An untrained autoencoder, whose decoder reads latents only."""
    return CompactAutoencoder(
        latent_channels=config.latent_channels,
        encoder_block_out_channels=config.encoder_block_out_channels,
        encoder_layers_per_block=config.encoder_layers_per_block,
        decoder_block_out_channels=config.decoder_block_out_channels,
        decoder_layers_per_block=config.decoder_layers_per_block,
        decoder_padding_mode=config.decoder_padding_mode,
    )


def stage2_autoencoder(
    vae: CompactAutoencoder, lr_blocks: int, padding_mode: PaddingMode | None
) -> CompactAutoencoder:
    """The autoencoder that stage 2 begins with: a copy of the pre-trained one.

    Args:
        vae: As pre-trained. The copy gives its results, but at the border with another padding.
        lr_blocks: Of the decoder's LR branch; 0: it has none.
        padding_mode: Of the decoder's convolutions; None: that of `vae`.
    """
    config: dict[str, Any] = {k: v for k, v in vae.config.items() if not k.startswith("_")}
    config["lr_blocks"] = lr_blocks
    if padding_mode is not None:
        config["decoder_padding_mode"] = padding_mode
    copy = CompactAutoencoder(**config)
    copy.load_state_dict(vae.state_dict(), strict=False)
    return copy


class ReconstructionLosses(nn.Module):
    """Loss module: L1 + perceptual_weight * LPIPS of a reconstruction from noised latents, + KL.

    LPIPS joins after the share perceptual_from of the run. KL concerns the encoder alone.
    """

    def __init__(self, autoencoder: CompactAutoencoder, config: AutoencoderConfig) -> None:
        super().__init__()
        self.autoencoder, self.config = autoencoder, config
        autoencoder.encoder.requires_grad_(config.trained == "both")
        self.lpips = PerceptualLoss("alex")

    def forward(self, batch: Example, progress: float, draws: Draws) -> dict[str, torch.Tensor]:
        """batch["hr"] [B,3,P,P] in [0,1] -> losses."""
        hr, config = batch["hr"], self.config
        latent = self.autoencoder.encode(2 * hr - 1)
        decoded = self.autoencoder.decode(latent + config.latent_noise * draws.normal(latent))
        reconstruction = (decoded.float() + 1) / 2
        losses = {"l1": (reconstruction - hr).abs().mean()}
        losses["loss"] = losses["l1"]
        if config.trained == "both":
            # Of a normal distribution whose sigma, that of the noise, is a constant.
            losses["kl"] = latent.float().square().mean() / 2
            losses["loss"] = losses["loss"] + config.kl_weight * losses["kl"]
        if progress >= config.perceptual_from:
            losses["lpips"] = self.lpips(reconstruction, hr, draws.shared)
            losses["loss"] = losses["loss"] + config.perceptual_weight * losses["lpips"]
        return losses


class AutoencoderObjective:
    """Trains an autoencoder on crops of pictures."""

    def __init__(
        self, config: AutoencoderConfig, data: DataConfig, sources: Sequence[Source]
    ) -> None:
        self.config = config
        self.autoencoder = build_autoencoder(config)
        self.modules = {"autoencoder": ReconstructionLosses(self.autoencoder, config)}
        loop = config.loop
        self.crops = Crops(
            Pictures(sources, loop.crop_px, data.scale),
            loop.crop_px,
            data,
            loop.seed,
            length=2**62,
        )
        self.dataset = self.crops

    def learning_rate(self, module: str) -> float:
        """Peak learning rate."""
        return self.config.loop.learning_rate

    @torch.no_grad()
    def export(self, folder: Path) -> None:
        """Save the autoencoder, with the scaling factor that gives latents the recipe's RMS.

        An encoder that was not trained keeps its scaling factor.
        """
        if self.config.trained == "both":
            self.autoencoder.register_to_config(scaling_factor=self._scaling_factor())
        self.autoencoder.save_pretrained(folder)

    def _scaling_factor(self) -> float:
        """Recipe's RMS over the RMS of the raw latents of 64 crops that training does not visit."""
        examples = (self.crops[-1 - i]["hr"] for i in range(64))
        pixels = (2 * x[None].to(self.autoencoder.device) - 1 for x in examples)
        latents = [self.autoencoder.encode(x) for x in pixels]
        root_mean_square = torch.cat(latents).square().mean().sqrt()
        return float(self.config.latent_rms / root_mean_square)
