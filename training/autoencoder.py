"""The compact autoencoder: pixels [B,3,H,W] <-> latents [B,C,H/8,W/8]."""

from pathlib import Path

import torch
from diffusers import AutoencoderDC
from torch import nn

from ccsr.evaluation.metrics import LPIPS
from training.config import AutoencoderConfig, DataConfig
from training.data import Crops, Example, PictureFolder


def build_autoencoder(config: AutoencoderConfig) -> AutoencoderDC:
    """An untrained autoencoder of residual blocks, pixel-shuffle shortcuts across resolutions."""
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


class ReconstructionLosses(nn.Module):
    """Loss module: L1 + perceptual_weight * LPIPS of a reconstruction from noised latents.

    LPIPS joins after the share perceptual_from of the run.
    """

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
        # Noise makes the decoder smooth in its latents, since estimates of the diffusion network
        # are never exact. It is relative to the latents' sigma: against noise of a fixed sigma the
        # encoder would only scale its latents up.
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
        self.modules = {"autoencoder": ReconstructionLosses(self.autoencoder, config)}
        loop = config.loop
        self.crops = Crops(PictureFolder(pictures), loop.crop_px, data, loop.seed, length=2**62)
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
        latents = [self.autoencoder.encode(x, return_dict=False)[0] for x in pixels]
        root_mean_square = torch.cat(latents).square().mean().sqrt()
        return float(self.config.latent_rms / root_mean_square)
