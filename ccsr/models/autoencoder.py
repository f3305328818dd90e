"""Pixels to latents and back, with either class of autoencoder.

Pixels are in [0,1] and latents are scaled, here and everywhere else. Autoencoders work on pixels in
[-1,1] and on raw latents; only this module converts.
"""

import math
from fractions import Fraction
from typing import Any, Literal

import torch
from diffusers import AutoencoderDC, AutoencoderKL

from ccsr.errors import InputError
from ccsr.models.autoencoder_kl import decode_kl, encode_kl
from ccsr.models.compact_autoencoder import CompactAutoencoder
from ccsr.models.tiling import assembled, in_tiles, tiles

Autoencoder = AutoencoderKL | AutoencoderDC | CompactAutoencoder

VAE_TILE = 128
"""Default side of a tile in latents."""
SMALLEST_TILE = 16
"""Side of a tile in latents: with smaller ones most of the time would go into margins."""


def compression(vae: Autoencoder) -> int:
    """Pixels per latent along each side: 8 for Stable Diffusion and for the compact model."""
    config = dict(vae.config)
    if isinstance(vae, CompactAutoencoder):
        return 2 ** len(config["encoder_block_out_channels"])
    key = "block_out_channels" if "block_out_channels" in config else "encoder_block_out_channels"
    return 2 ** (len(config[key]) - 1)


def reads_lr(vae: Autoencoder) -> bool:
    """Whether `decode` needs the enlarged LR picture."""
    return isinstance(vae, CompactAutoencoder) and vae.reads_lr


def encode(vae: Autoencoder, pixels: torch.Tensor, tile: int | None = None) -> torch.Tensor:
    """Pixels [B,3,H,W] in [0,1] -> scaled latents [B,C,h,w], float32; deterministic.

    Args:
        vae: The autoencoder.
        pixels: Pictures whose sides are multiples of its compression.
        tile: Side of a tile in latents. A larger picture is encoded in tiles of this size, with the
            same result in less memory; with None every picture is encoded at once.
    """
    f = compression(vae)

    def encode_at_once(pixels: torch.Tensor) -> torch.Tensor:
        x = (2 * pixels - 1).to(vae.dtype)
        if isinstance(vae, CompactAutoencoder):
            return vae.encode(x)
        (encoded,) = vae.encode(x, return_dict=False)
        # AutoencoderKL gives a distribution, whose mode is taken; AutoencoderDC gives a latent.
        return encoded if isinstance(encoded, torch.Tensor) else encoded.mode()

    if tile is None or max(pixels.shape[2:]) <= f * tile:
        raw = encode_at_once(pixels)
    elif isinstance(vae, AutoencoderKL):
        pictures = (2 * pixels - 1).to(vae.dtype).split(1)
        raw = torch.cat([encode_kl(vae, picture, f * tile) for picture in pictures])
    else:
        margin = f * receptive_field(vae, "encoder")
        raw = in_tiles(encode_at_once, pixels, f * tile, margin, Fraction(1, f))
    return raw.float() * vae.config["scaling_factor"]


def decode(
    vae: Autoencoder,
    latents: torch.Tensor,
    tile: int | None = None,
    lr_up: torch.Tensor | None = None,
) -> torch.Tensor:
    """Scaled latents [B,C,h,w] -> pixels [B,3,H,W], float32, about [0,1] but not clamped.

    Args:
        vae: The autoencoder.
        latents: Latents of any size.
        tile: See `encode`.
        lr_up: The enlarged LR picture [B,3,H,W] in [0,1], or one for all, [1,3,H,W]; needed if the
            decoder `reads_lr`, and else not used.

    Raises:
        InputError: If the decoder reads the LR picture and there is none.
    """
    f, raw = compression(vae), (latents / vae.config["scaling_factor"]).to(vae.dtype)
    if isinstance(vae, CompactAutoencoder):
        return _decode_compact(vae, raw, tile, lr_up)

    def decode_at_once(raw: Any) -> torch.Tensor:  # noqa: ANN401 - a FloatTensor to diffusers
        (decoded,) = vae.decode(raw, return_dict=False)
        return (decoded.float() + 1) / 2

    if tile is None or max(raw.shape[2:]) <= tile:
        return decode_at_once(raw)
    if isinstance(vae, AutoencoderKL):
        decoded = torch.cat([decode_kl(vae, latent, f * tile) for latent in raw.split(1)])
        return (decoded.float() + 1) / 2
    return in_tiles(decode_at_once, raw, tile, receptive_field(vae, "decoder"), Fraction(f))


def _decode_compact(
    vae: CompactAutoencoder, raw: torch.Tensor, tile: int | None, lr_up: torch.Tensor | None
) -> torch.Tensor:
    if vae.reads_lr and lr_up is None:
        raise InputError(
            "this decoder reads the enlarged LR picture too; give it as `lr_up`, [B,3,H,W] in [0,1]"
        )
    f = compression(vae)

    def decode_part(raw: torch.Tensor, pixels: torch.Tensor | None) -> torch.Tensor:
        if pixels is not None:
            pixels = (2 * pixels - 1).to(raw).expand(len(raw), -1, -1, -1)
        return (vae.decode(raw, pixels).float() + 1) / 2

    pixels = lr_up if vae.reads_lr else None
    if tile is None or max(raw.shape[2:]) <= tile:
        return decode_part(raw, pixels)
    results = (
        (cut, decode_part(cut.x, None if pixels is None else cut.beside(pixels, f)))
        for cut in tiles(raw, tile, receptive_field(vae, "decoder"))
    )
    return assembled(results, raw, Fraction(f))


def receptive_field(
    vae: AutoencoderDC | CompactAutoencoder, part: Literal["encoder", "decoder"]
) -> int:
    """Radius of the receptive field of encoder or decoder, in latents, rounded up.

    Norms act on single positions and there is no attention, so that only the convolutions count:
    two a block, and one into, out of and between resolutions.
    """
    layers = vae.config[f"{part}_layers_per_block"]
    # From the finest resolution; that of the latents is the last.
    sizes = [Fraction(1, 2 ** (len(layers) - 1 - level)) for level in range(len(layers))]
    radii = [(2 * count + 2) * size for count, size in zip(layers, sizes, strict=True)]
    if part == "decoder" and reads_lr(vae):
        # The LR branch takes the place of the coarsest resolution if it reaches further.
        radii[-1] = max(radii[-1], (2 * vae.config["lr_blocks"] + 2) * sizes[-2])
    return math.ceil(sum(radii, Fraction(0)))
