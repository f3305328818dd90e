"""The denoising network: built, saved and loaded."""

from pathlib import Path
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from diffusers.utils import CONFIG_NAME

from ccsr.inference.hub import json_object
from ccsr.models.controlnet import LatentControlNetModel
from ccsr.models.denoiser import ConditionNetwork, Denoiser
from ccsr.models.lr_adapter import LRAdapter
from ccsr.models.prompt_embeds import EmptyPrompt
from training.config import NetworkConfig, Trained


def save_denoiser(denoiser: Denoiser, folder: Path) -> None:
    """Write both networks, each to its own folder."""
    denoiser.unet.save_pretrained(folder / "unet")
    denoiser.controlnet.save_pretrained(folder / "controlnet")


def load_denoiser(folder: Path, empty_prompt: EmptyPrompt | None = None) -> Denoiser:
    """Read what `save_denoiser` has written, or a model folder holds, in float32.

    Args:
        folder: Has the subfolders "unet" and "controlnet".
        empty_prompt: For a UNet with cross-attention.

    Raises:
        ModelError: If the config of the condition network is damaged.
    """
    name = json_object(folder / "controlnet" / CONFIG_NAME).get("_class_name")
    # Runs of earlier versions have the LR adapter under its former name.
    kind = LatentControlNetModel if name == LatentControlNetModel.__name__ else LRAdapter
    return Denoiser(
        UNet2DConditionModel.from_pretrained(folder / "unet", torch_dtype=torch.float32),
        kind.from_pretrained(folder / "controlnet", torch_dtype=torch.float32),
        empty_prompt,
    )


def freeze_untrained(
    denoiser: Denoiser, trained: Trained, *, encoder_gradient: bool = True
) -> None:
    """Freeze what is not trained.

    Args:
        denoiser: The network.
        trained: Its part that is trained.
        encoder_gradient: Without it, no gradient passes through the UNet's encoder and middle
            block, a frozen UNet's, as in the authors' code. From the loss at t_max it then reaches
            x_t, and so the estimate at T, by other ways only.
    """
    denoiser.unet.requires_grad_(trained == "both")
    if not encoder_gradient:
        unet = denoiser.unet
        parts: tuple[Any, ...] = (unet.conv_in, *unet.down_blocks, unet.mid_block)
        for part in parts:
            part.forward = torch.no_grad()(part.forward)


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
) -> ConditionNetwork:
    if config.condition_network == "controlnet":
        return LatentControlNetModel.from_unet(unet, conditioning_channels=latent_channels)
    return LRAdapter(
        conditioning_channels=latent_channels,
        unet_channels=config.block_out_channels,
        unet_layers_per_block=config.layers_per_block,
        block_out_channels=config.lr_adapter_channels,
        layers_per_block=config.lr_adapter_layers,
        norm_num_groups=config.norm_num_groups,
    )
