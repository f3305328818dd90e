"""The denoising network of the compact model: UNet and ControlNet as one function."""

from pathlib import Path

import torch
from diffusers import UNet2DConditionModel
from torch import nn

from ccsr.controlnet import LatentControlNetModel
from ccsr.schedule import NonUniformScheduler
from training.config import NetworkConfig


class Denoiser(nn.Module):
    """UNet and ControlNet together, (x_t, t, lr_latent) -> prediction."""

    def __init__(self, unet: UNet2DConditionModel, controlnet: LatentControlNetModel) -> None:
        super().__init__()
        self.unet, self.controlnet = unet, controlnet

    def forward(
        self, x_t: torch.Tensor, t: torch.Tensor | int, lr_latent: torch.Tensor
    ) -> torch.Tensor:
        """Network output [B,C,h,w] for x_t and lr_latent [B,C,h,w]; t one timestep or [B]."""
        features = self.controlnet.condition_features(lr_latent)
        down, middle = self.controlnet(x_t, t, None, controlnet_cond=features, return_dict=False)
        return self.unet(
            x_t,
            t,
            None,
            down_block_additional_residuals=down,
            mid_block_additional_residual=middle,
            return_dict=False,
        )[0]

    def save(self, folder: Path) -> None:
        """Write both networks, each to its own folder."""
        self.unet.save_pretrained(folder / "unet")
        self.controlnet.save_pretrained(folder / "controlnet")

    @classmethod
    def load(cls, folder: Path) -> "Denoiser":
        """Read what `save` wrote."""
        return cls(
            UNet2DConditionModel.from_pretrained(folder / "unet"),
            LatentControlNetModel.from_pretrained(folder / "controlnet"),
        )


def build_denoiser(config: NetworkConfig, latent_channels: int) -> Denoiser:
    """An untrained network without attention."""
    levels = len(config.block_out_channels)
    unet = UNet2DConditionModel(
        in_channels=latent_channels,
        out_channels=latent_channels,
        down_block_types=("DownBlock2D",) * levels,
        mid_block_type="UNetMidBlock2D",
        up_block_types=("UpBlock2D",) * levels,
        block_out_channels=config.block_out_channels,
        layers_per_block=config.layers_per_block,
        norm_num_groups=config.norm_num_groups,
    )
    controlnet = LatentControlNetModel.from_unet(unet, conditioning_channels=latent_channels)
    return Denoiser(unet, controlnet)


def build_scheduler(config: NetworkConfig) -> NonUniformScheduler:
    """The noise schedule that the network is trained and sampled with."""
    return NonUniformScheduler(prediction_type=config.prediction_type)
