"""How much memory a run takes beside the loaded model, and the tiles by which it takes no more.

Bytes are estimates from counts of feature maps. Pixels, latents and the feature maps of the compact
UNet are held whole; the autoencoder works in tiles.
"""

import math

from diffusers import AutoencoderKL

from ccsr.images.picture import Size
from ccsr.inference.memory import OutOfMemoryError
from ccsr.models.autoencoder import SMALLEST_TILE, Autoencoder, compression, receptive_field
from ccsr.models.compact_autoencoder import OUTPUT_PATCH, CompactAutoencoder
from ccsr.models.denoiser import Denoiser
from ccsr.models.lr_adapter import LRAdapter

GIB = 2**30
RGB_BYTES = 12
"""Of a pixel in float32."""
PICTURES = 3
"""Pictures of the working size at once: the enlarged input, the result, and one that is made of
them."""
TILE_MAPS = 5
"""Feature maps of the finest resolution that the autoencoder holds of a tile at once."""
STAGE_MAPS = 2
"""Whole feature maps that `AutoencoderKL` holds between its stages."""
NETWORK_MAPS = 20
"""Feature maps of the finest resolution that UNet and LR adapter hold at once."""
LATENTS = 4
"""Latents in float32 at once."""


def held_bytes(vae: Autoencoder, denoiser: Denoiser, size: Size) -> int:
    """Memory of what is held of a whole picture while it is encoded, refined or decoded.

    Args:
        vae: The autoencoder.
        denoiser: UNet and condition network.
        size: Of the picture that the networks work on.
    """
    unet, pixels = denoiser.unet, size.height * size.width
    refining = LATENTS * 4 * unet.config["in_channels"]
    if isinstance(denoiser.controlnet, LRAdapter):
        refining += NETWORK_MAPS * unet.config["block_out_channels"][0] * unet.dtype.itemsize
    coding = PICTURES * RGB_BYTES
    if isinstance(vae, AutoencoderKL):
        coding += STAGE_MAPS * vae.config["block_out_channels"][0] * vae.dtype.itemsize
    return math.ceil(max(refining / compression(vae) ** 2, coding) * pixels)


def tile_bytes(vae: Autoencoder, tile: int) -> int:
    """Memory of encoding or decoding one tile; `tile` is its side in latents without margins."""
    config = dict(vae.config)
    key = "block_out_channels" if "block_out_channels" in config else "decoder_block_out_channels"
    # Pixels per position of the finest feature maps, along each side.
    finest = OUTPUT_PATCH if isinstance(vae, CompactAutoencoder) else 1
    margin = 0 if isinstance(vae, AutoencoderKL) else receptive_field(vae, "decoder")
    positions = ((tile + 2 * margin) * compression(vae) // finest) ** 2
    return TILE_MAPS * config[key][0] * vae.dtype.itemsize * positions


def tile_within(
    vae: Autoencoder, denoiser: Denoiser, size: Size, max_memory: float, largest: int
) -> int:
    """Side of the tiles, in latents, by which a picture is worked on within `max_memory`.

    Args:
        vae: The autoencoder.
        denoiser: UNet and condition network.
        size: Of the picture that the networks work on.
        max_memory: In GiB, beside the loaded model.
        largest: The largest side that is wanted.

    Returns:
        From SMALLEST_TILE to `largest`.

    Raises:
        OutOfMemoryError: If not even the smallest tiles fit.
    """
    held = held_bytes(vae, denoiser, size)
    fitting = [
        side
        for side in range(min(SMALLEST_TILE, largest), largest + 1)
        if held + tile_bytes(vae, side) <= max_memory * GIB
    ]
    if not fitting:
        least = (held + tile_bytes(vae, SMALLEST_TILE)) / GIB
        raise OutOfMemoryError(
            f"{size} pixels take about {least:.2f} GiB of memory beside the model, and max_memory "
            f"is {max_memory:g}; raise it, lower the scale, or cut out a part"
        )
    return fitting[-1]
