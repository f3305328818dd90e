"""Pixels <-> latents, the same for both kinds of autoencoder.

Pixels are in [0,1] here and everywhere in the engine; that autoencoders want [-1,1] and raw latents
want scaling is known to this module only.
"""

import torch
from diffusers import AutoencoderDC, AutoencoderKL

Autoencoder = AutoencoderKL | AutoencoderDC


def compression(vae: Autoencoder) -> int:
    """Pixels per latent along each side: 8 for Stable Diffusion and for the compact model."""
    config = dict(vae.config)
    key = "block_out_channels" if "block_out_channels" in config else "encoder_block_out_channels"
    channels = config[key]
    return 2 ** (len(channels) - 1)


def encode(vae: Autoencoder, pixels: torch.Tensor) -> torch.Tensor:
    """Pixels [B,3,H,W] in [0,1] -> scaled latents [B,C,h,w], float32; no random draw."""
    (encoded,) = vae.encode((2 * pixels - 1).to(vae.dtype), return_dict=False)
    # AutoencoderKL knows a distribution, of which the mode is taken; AutoencoderDC a point.
    raw = encoded if isinstance(encoded, torch.Tensor) else encoded.mode()
    return raw.float() * vae.config["scaling_factor"]


def decode(vae: Autoencoder, latents: torch.Tensor) -> torch.Tensor:
    """Scaled latents [B,C,h,w] -> pixels [B,3,H,W], float32, about [0,1] but not clamped."""
    raw = latents / vae.config["scaling_factor"]
    (decoded,) = vae.decode(raw.to(vae.dtype), return_dict=False)
    return (decoded.float() + 1) / 2
