"""Configurations of the full-size networks: those of Stable Diffusion 2.1."""

from typing import Any

HEAD_CHANNELS = 64
"""Channels of an attention head, which the weights do not show."""
SCALING_FACTOR = 0.18215
WORKING_SIZE = 512
"""The authors enlarge small inputs until the shorter side of the result has so many pixels."""
UNET_CHANNELS, VAE_CHANNELS = 320, 128
"""Channels at the finest resolution."""
TEXT_WIDTH = 1024
"""Features of a token."""
FACTORS = (1, 2, 4, 4)
"""Channels at each resolution, in units of those at the finest."""


def unet_config(
    channels: int = UNET_CHANNELS, text_width: int = TEXT_WIDTH, head_channels: int = HEAD_CHANNELS
) -> dict[str, Any]:
    """Configuration of the UNet; other widths make a smaller network of the same structure."""
    widths = tuple(channels * factor for factor in FACTORS)
    return {
        "in_channels": 4,
        "out_channels": 4,
        "block_out_channels": widths,
        "down_block_types": ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
        "up_block_types": ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
        "layers_per_block": 2,
        "cross_attention_dim": text_width,
        # Despite its name, diffusers takes the number of heads here.
        "attention_head_dim": tuple(max(width // head_channels, 1) for width in widths),
        "use_linear_projection": True,
    }


def vae_config(channels: int = VAE_CHANNELS) -> dict[str, Any]:
    """Configuration of the autoencoder; see `unet_config`."""
    return {
        "down_block_types": ("DownEncoderBlock2D",) * 4,
        "up_block_types": ("UpDecoderBlock2D",) * 4,
        "block_out_channels": tuple(channels * factor for factor in FACTORS),
        "layers_per_block": 2,
        "latent_channels": 4,
        "scaling_factor": SCALING_FACTOR,
    }
