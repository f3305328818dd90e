"""The denoising network of the compact model: UNet and ControlNet together."""

import json
from pathlib import Path

import torch
from diffusers import UNet2DConditionModel
from diffusers.utils import CONFIG_NAME
from torch import nn

from ccsr.diffusion.scheduler import NonUniformScheduler
from ccsr.models.controlnet import LatentControlNetModel
from ccsr.models.lr_adapter import LRAdapter
from training.config import NetworkConfig
from training.losses import PredictBatch

AnyControlNet = LatentControlNetModel | LRAdapter


class Denoiser(nn.Module):
    """UNet and ControlNet together."""

    def __init__(self, unet: UNet2DConditionModel, controlnet: AnyControlNet) -> None:
        super().__init__()
        self.unet, self.controlnet = unet, controlnet

    def predictor(self, lr_latent: torch.Tensor) -> PredictBatch:
        """The network with a condition [B,C,h,w]: a function of x_t [B,C,h,w] and t.

        The features of the condition are computed once, here.
        """
        features = self.controlnet.condition_features(lr_latent)

        def predict(x_t: torch.Tensor, t: torch.Tensor | int) -> torch.Tensor:
            down, middle = self.controlnet(
                x_t, t, None, controlnet_cond=features, return_dict=False
            )
            return self.unet(
                x_t,
                t,
                None,
                down_block_additional_residuals=down,
                mid_block_additional_residual=middle,
                return_dict=False,
            )[0]

        return predict

    def save(self, folder: Path) -> None:
        """Write both networks, each to its own folder."""
        self.unet.save_pretrained(folder / "unet")
        self.controlnet.save_pretrained(folder / "controlnet")

    @classmethod
    def load(cls, folder: Path) -> "Denoiser":
        """Read what `save` wrote."""
        config = json.loads((folder / "controlnet" / CONFIG_NAME).read_text())
        kinds = {kind.__name__: kind for kind in (LRAdapter, LatentControlNetModel)}
        return cls(
            UNet2DConditionModel.from_pretrained(folder / "unet"),
            kinds[config["_class_name"]].from_pretrained(folder / "controlnet"),
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
    return Denoiser(unet, _build_controlnet(config, unet, latent_channels))


def _build_controlnet(
    config: NetworkConfig, unet: UNet2DConditionModel, latent_channels: int
) -> AnyControlNet:
    if config.controlnet == "latent":
        return LatentControlNetModel.from_unet(unet, conditioning_channels=latent_channels)
    return LRAdapter(
        conditioning_channels=latent_channels,
        unet_channels=config.block_out_channels,
        unet_layers_per_block=config.layers_per_block,
        block_out_channels=config.controlnet_channels,
        layers_per_block=config.controlnet_layers,
        norm_num_groups=config.norm_num_groups,
    )


def build_scheduler(config: NetworkConfig) -> NonUniformScheduler:
    """The noise schedule that the network is trained and sampled with."""
    return NonUniformScheduler(prediction_type=config.prediction_type)
