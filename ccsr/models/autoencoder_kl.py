"""`AutoencoderKL`, the autoencoder of Stable Diffusion, in tiles with exact results.

It is computed stage by stage, a residual block each, and each stage tile by tile: between stages
the whole feature map is in memory, inside a stage that of one tile. The result is that of the
whole picture. The blocks at the resolution of the latents have attention and are not tiled.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import torch
from diffusers import AutoencoderKL
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from diffusers.utils.accelerate_utils import apply_forward_hook
from torch import nn

from ccsr.models.group_norm import Function, in_normalised_tiles

BLOCK_MARGIN = 2
"""Radius of the receptive field of a residual block: two 3x3 convolutions."""


@dataclass(frozen=True)
class Stage:
    """A part of the network that is computed for all tiles before the next one begins."""

    function: Function
    norms: tuple[nn.GroupNorm, ...]
    """All GroupNorms of `function`."""
    margin: int
    """Radius of its receptive field, in positions of its input."""
    factor: Fraction = Fraction(1)
    """Side of its result divided by the side of its input."""


@apply_forward_hook
def encode_kl(vae: AutoencoderKL, pixels: torch.Tensor, side: int) -> torch.Tensor:
    """The mode of the raw latents [1,C,h,w] of a picture [1,3,H,W] in [-1,1].

    Args:
        vae: The autoencoder.
        pixels: One picture.
        side: Side of a tile in pixels; even.
    """
    encoder = vae.encoder
    x = encoder.mid_block(_in_stages(_encoder_stages(encoder), pixels, side))
    x = encoder.conv_out(encoder.conv_act(encoder.conv_norm_out(x)))
    assert vae.quant_conv is not None  # Stable Diffusion 2.1 has it
    return DiagonalGaussianDistribution(vae.quant_conv(x)).mode()


@apply_forward_hook
def decode_kl(vae: AutoencoderKL, raw: torch.Tensor, side: int) -> torch.Tensor:
    """The picture [1,3,H,W], about [-1,1], of raw latents [1,C,h,w]; see `encode_kl`."""
    decoder = vae.decoder
    assert vae.post_quant_conv is not None
    x = decoder.mid_block(decoder.conv_in(vae.post_quant_conv(raw)))
    return _in_stages(_decoder_stages(decoder), x, side)


def _in_stages(stages: Iterable[Stage], x: torch.Tensor, side: int) -> torch.Tensor:
    for stage in stages:
        # Neither the input nor the result of a tile is larger than `side`.
        size = int(side / max(stage.factor, 1))
        x = in_normalised_tiles(stage.function, stage.norms, x, size, stage.margin, stage.factor)
    return x


def _encoder_stages(encoder: Any) -> Iterator[Stage]:  # noqa: ANN401 - diffusers has no types
    """From the picture to the resolution of the latents."""
    before, margin, factor = encoder.conv_in, 1, Fraction(1)
    for block in encoder.down_blocks:
        for resnet in block.resnets:
            yield _stage(before, resnet, margin + int(BLOCK_MARGIN / factor), factor)
            before, margin, factor = nn.Identity(), 0, Fraction(1)
        for downsampler in block.downsamplers or ():
            before, margin, factor = downsampler, 2, Fraction(1, 2)


def _decoder_stages(decoder: Any) -> Iterator[Stage]:  # noqa: ANN401 - diffusers has no types
    """From the resolution of the latents to the picture."""
    before, factor = nn.Identity(), Fraction(1)
    for block in decoder.up_blocks:
        for resnet in block.resnets:
            # An upsampler turns a margin of two positions into four: enough for the block's two
            # convolutions and the upsampler's one.
            yield _stage(before, resnet, BLOCK_MARGIN, factor)
            before, factor = nn.Identity(), Fraction(1)
        for upsampler in block.upsamplers or ():
            before, factor = upsampler, Fraction(2)
    last = nn.Sequential(decoder.conv_norm_out, decoder.conv_act, decoder.conv_out)
    yield Stage(last, (decoder.conv_norm_out,), margin=1)


def _stage(before: nn.Module, resnet: Any, margin: int, factor: Fraction) -> Stage:  # noqa: ANN401
    """A residual block, together with the change of resolution `before` it."""

    def function(x: torch.Tensor) -> torch.Tensor:
        return resnet(before(x), None)

    return Stage(function, (resnet.norm1, resnet.norm2), margin, factor)
