"""The small autoencoder that the compact model works in."""

from pathlib import Path

import torch
from diffusers import AutoencoderDC
from torch import nn

from ccsr.evaluation.metrics import LPIPS
from training.config import AutoencoderConfig, DataConfig
from training.data import Crops, Example, PictureFolder


def build_autoencoder(config: AutoencoderConfig) -> AutoencoderDC:
    """An untrained f8 autoencoder; plain residual blocks, residual pixel-shuffle shortcuts."""
    levels = len(config.block_out_channels)
    return AutoencoderDC(
        latent_channels=config.latent_channels,
        encoder_block_types="ResBlock",
        decoder_block_types="ResBlock",
        encoder_block_out_channels=config.block_out_channels,
        decoder_block_out_channels=config.decoder_block_out_channels or config.block_out_channels,
        encoder_layers_per_block=config.encoder_layers_per_block,
        decoder_layers_per_block=config.decoder_layers_per_block,
        encoder_qkv_multiscales=((),) * levels,
        decoder_qkv_multiscales=((),) * levels,
        downsample_block_type="pixel_unshuffle",
        upsample_block_type="pixel_shuffle",
    )


class Reconstruction(nn.Module):
    """Player: L1, later also LPIPS, of a reconstruction from noisy latents."""

    def __init__(self, autoencoder: AutoencoderDC, config: AutoencoderConfig) -> None:
        super().__init__()
        self.autoencoder, self.config = autoencoder, config
        autoencoder.encoder.requires_grad_(config.trained == "both")
        self.lpips = LPIPS.alex()

    def forward(
        self, batch: Example, progress: float, generator: torch.Generator
    ) -> dict[str, torch.Tensor]:
        """batch["hr"] [B,3,P,P] in [0,1] -> losses."""
        hr = batch["hr"]
        (latent,) = self.autoencoder.encode(2 * hr - 1, return_dict=False)
        # Noise makes neighbouring latents decode alike, which the diffusion network needs: its
        # estimates are never exact. Relative, or the encoder would escape by growing its output.
        noise = torch.randn(latent.shape, generator=generator).to(latent)
        noisy = latent + self.config.latent_noise * latent.detach().std() * noise
        (decoded,) = self.autoencoder.decode(noisy, return_dict=False)
        reconstruction = (decoded.float() + 1) / 2
        losses = {"l1": (reconstruction - hr).abs().mean()}
        losses["loss"] = losses["l1"]
        if progress >= self.config.perceptual_from:
            losses["lpips"] = self.lpips(reconstruction, hr).mean()
            losses["loss"] = losses["l1"] + self.config.perceptual_weight * losses["lpips"]
        return losses


class AutoencoderObjective:
    """Trains an autoencoder on crops of the pictures in a folder."""

    def __init__(self, config: AutoencoderConfig, data: DataConfig, pictures: Path) -> None:
        self.config = config
        self.autoencoder = build_autoencoder(config)
        self.modules = {"autoencoder": Reconstruction(self.autoencoder, config)}
        loop = config.loop
        self.crops = Crops(PictureFolder(pictures), loop.crop_px, data, loop.seed, length=2**62)
        self.dataset = self.crops

    def learning_rate(self, player: str) -> float:
        """Peak learning rate."""
        return self.config.loop.learning_rate

    @torch.no_grad()
    def export(self, folder: Path) -> None:
        """Save the autoencoder, scaled so that latents have the spread of the recipe.

        If the encoder was not trained, its latents are scaled as they were.
        """
        if self.config.trained == "both":
            self.autoencoder.register_to_config(scaling_factor=self._scaling_factor())
        self.autoencoder.save_pretrained(folder)

    def _scaling_factor(self) -> float:
        examples = (self.crops[-1 - i]["hr"] for i in range(64))
        pixels = (2 * x[None].to(self.autoencoder.device) - 1 for x in examples)
        latents = [self.autoencoder.encode(x, return_dict=False)[0] for x in pixels]
        root_mean_square = torch.cat(latents).square().mean().sqrt()
        return float(self.config.latent_spread / root_mean_square)
