"""The networks of the full size: those of Stable Diffusion 2.1, and a ControlNet like its UNet."""

from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import nn

from ccsr.diffusion.scheduler import NonUniformScheduler
from ccsr.inference.pipeline import CCSRPipeline
from ccsr.models.controlnet import LatentControlNetModel
from ccsr.models.prompt import EmptyPrompt

HEAD_CHANNELS = 64
"""Channels of an attention head; weights do not tell."""
SCALING_FACTOR = 0.18215
WORKING_SIZE = 512
"""Pixels of the shorter side that the authors enlarge small inputs to."""
UNET_CHANNELS, TEXT_WIDTH, VAE_CHANNELS = 320, 1024, 128
"""At the finest resolution, of a text state, and at the finest resolution."""
FACTORS = (1, 2, 4, 4)
"""Channels at each resolution, in units of those at the finest."""
RANDOM_STD = 0.02
"""Of random weights: small enough for activations to stay finite in any number format."""


def unet_config(
    channels: int = UNET_CHANNELS, text_width: int = TEXT_WIDTH, head_channels: int = HEAD_CHANNELS
) -> dict[str, Any]:
    """Configuration of the UNet, or of one like it of another width."""
    widths = tuple(channels * factor for factor in FACTORS)
    return {
        "in_channels": 4,
        "out_channels": 4,
        "block_out_channels": widths,
        "down_block_types": ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
        "up_block_types": ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
        "layers_per_block": 2,
        "cross_attention_dim": text_width,
        # The number of heads, whatever diffusers calls it.
        "attention_head_dim": tuple(max(width // head_channels, 1) for width in widths),
        "use_linear_projection": True,
    }


def vae_config(channels: int = VAE_CHANNELS) -> dict[str, Any]:
    """Configuration of the autoencoder, or of one like it of another width."""
    return {
        "down_block_types": ("DownEncoderBlock2D",) * 4,
        "up_block_types": ("UpDecoderBlock2D",) * 4,
        "block_out_channels": tuple(channels * factor for factor in FACTORS),
        "layers_per_block": 2,
        "latent_channels": 4,
        "scaling_factor": SCALING_FACTOR,
    }


def random_pipeline(
    dtype: torch.dtype, channels: int = UNET_CHANNELS, vae_channels: int = VAE_CHANNELS
) -> CCSRPipeline:
    """A pipeline with random weights, to measure what the full size costs without having it.

    Args:
        dtype: Its number format.
        channels: Of UNet and ControlNet at the finest resolution.
        vae_channels: Of the autoencoder there.
    """
    with torch.device("meta"):
        unet = UNet2DConditionModel(**unet_config(channels))
        controlnet = LatentControlNetModel.from_unet(
            unet, conditioning_channels=4, load_weights_from_unet=False
        )
        vae = AutoencoderKL(**vae_config(vae_channels))
    prompt = EmptyPrompt(width=TEXT_WIDTH)
    for network in (unet, controlnet, vae, prompt):
        _fill(network, dtype)
    pipeline = CCSRPipeline(
        unet, controlnet, vae, NonUniformScheduler(), prompt, working_size=WORKING_SIZE
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def _fill(network: nn.Module, dtype: torch.dtype) -> None:
    """Give a network, which may be on the meta device, random weights in memory."""
    # Not diffusers' own `to`, which asks to be told at loading.
    nn.Module.to(network, dtype)
    network.to_empty(device="cpu").eval().requires_grad_(False)
    for weight in network.parameters():
        weight.normal_(std=RANDOM_STD)
