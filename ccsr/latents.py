"""Pixels <-> latents, the same for both kinds of autoencoder.

Pixels are in [0,1] here and everywhere in the engine; that autoencoders want [-1,1] and raw latents
want scaling is known to this module only.
"""

import math
from fractions import Fraction

import torch
from diffusers import AutoencoderDC, AutoencoderKL

from ccsr.tiling import in_tiles

Autoencoder = AutoencoderKL | AutoencoderDC

TILE = 128
"""Latents along a side of a piece; of 1024 pixels at a compression of 8."""


def compression(vae: Autoencoder) -> int:
    """Pixels per latent along each side: 8 for Stable Diffusion and for the compact model."""
    config = dict(vae.config)
    key = "block_out_channels" if "block_out_channels" in config else "encoder_block_out_channels"
    channels = config[key]
    return 2 ** (len(channels) - 1)


def encode(vae: Autoencoder, pixels: torch.Tensor, tile: int = TILE) -> torch.Tensor:
    """Pixels [B,3,H,W] in [0,1] -> scaled latents [B,C,h,w], float32; no random draw.

    Args:
        vae: The autoencoder.
        pixels: Sides are multiples of its compression.
        tile: An autoencoder that sees only so far works on pieces of so many latents a side, which
            takes less memory and changes nothing.
    """

    def encode_at_once(pixels: torch.Tensor) -> torch.Tensor:
        (encoded,) = vae.encode((2 * pixels - 1).to(vae.dtype), return_dict=False)
        # AutoencoderKL knows a distribution, of which the mode is taken; AutoencoderDC a point.
        raw = encoded if isinstance(encoded, torch.Tensor) else encoded.mode()
        return raw.float() * vae.config["scaling_factor"]

    if isinstance(vae, AutoencoderKL):
        return encode_at_once(pixels)
    f = compression(vae)
    return in_tiles(encode_at_once, pixels, f * tile, f * reach(vae), Fraction(1, f))


def decode(vae: Autoencoder, latents: torch.Tensor, tile: int = TILE) -> torch.Tensor:
    """Scaled latents [B,C,h,w] -> pixels [B,3,H,W], float32, about [0,1] but not clamped.

    Args:
        vae: The autoencoder.
        latents: What to decode.
        tile: As for `encode`.
    """

    def decode_at_once(latents: torch.Tensor) -> torch.Tensor:
        raw = latents / vae.config["scaling_factor"]
        (decoded,) = vae.decode(raw.to(vae.dtype), return_dict=False)
        return (decoded.float() + 1) / 2

    if isinstance(vae, AutoencoderKL):
        return decode_at_once(latents)
    return in_tiles(decode_at_once, latents, tile, reach(vae), Fraction(compression(vae)))


def reach(vae: AutoencoderDC) -> int:
    """How many latents around one the autoencoder sees, each way, at most.

    Its norms are those of single positions and it has no attention, so it sees no further than its
    convolutions of 3x3 carry: two a block, and one into, out of and between resolutions.
    """
    reaches = []
    for part in ("encoder", "decoder"):
        layers = vae.config[f"{part}_layers_per_block"]
        distances = (
            Fraction(2 * count + 2, 2 ** (len(layers) - 1 - level))
            for level, count in enumerate(layers)
        )
        reaches.append(sum(distances, Fraction(0)))
    return math.ceil(max(reaches))
