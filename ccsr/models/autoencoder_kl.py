"""`AutoencoderKL`, the autoencoder of Stable Diffusion, for pictures that are too large at once.

It is run stage by stage, a residual block each, and each stage piece by piece: between stages the
whole is kept, but what a block needs inside is kept of one piece only. The result is that of the
whole. At the latents' resolution all positions attend to each other, so there nothing is cut.
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

BLOCK_REACH = 2
"""How far a residual block sees, by two convolutions of 3x3."""


@dataclass(frozen=True)
class Stage:
    """What is run on all pieces before the next begins."""

    function: Function
    norms: tuple[nn.GroupNorm, ...]
    margin: int
    """How far it sees, in positions of its input."""
    factor: Fraction = Fraction(1)
    """How many times larger its result is than its input."""


@apply_forward_hook
def encode_kl(vae: AutoencoderKL, pixels: torch.Tensor, side: int) -> torch.Tensor:
    """The mode of the raw latents [1,C,h,w] of a picture [1,3,H,W] in [-1,1].

    Args:
        vae: The autoencoder.
        pixels: One picture.
        side: Of a piece, in pixels; even.
    """
    encoder = vae.encoder
    x = encoder.mid_block(_through(_down(encoder), pixels, side))
    x = encoder.conv_out(encoder.conv_act(encoder.conv_norm_out(x)))
    assert vae.quant_conv is not None  # Stable Diffusion 2.1 has it
    return DiagonalGaussianDistribution(vae.quant_conv(x)).mode()


@apply_forward_hook
def decode_kl(vae: AutoencoderKL, raw: torch.Tensor, side: int) -> torch.Tensor:
    """The picture [1,3,H,W], about [-1,1], of raw latents [1,C,h,w]; see `encode_kl`."""
    decoder = vae.decoder
    assert vae.post_quant_conv is not None
    x = decoder.mid_block(decoder.conv_in(vae.post_quant_conv(raw)))
    return _through(_up(decoder), x, side)


def _through(stages: Iterable[Stage], x: torch.Tensor, side: int) -> torch.Tensor:
    for stage in stages:
        # Neither what goes into a stage nor what comes out is larger than `side`.
        size = int(side / max(stage.factor, 1))
        x = in_normalised_tiles(stage.function, stage.norms, x, size, stage.margin, stage.factor)
    return x


def _down(encoder: Any) -> Iterator[Stage]:  # noqa: ANN401 - diffusers' Encoder has no types
    """Down to the latents' resolution."""
    before, margin, factor = encoder.conv_in, 1, Fraction(1)
    for block in encoder.down_blocks:
        for resnet in block.resnets:
            yield _stage(before, resnet, margin + int(BLOCK_REACH / factor), factor)
            before, margin, factor = nn.Identity(), 0, Fraction(1)
        for downsampler in block.downsamplers or ():
            before, margin, factor = downsampler, 2, Fraction(1, 2)


def _up(decoder: Any) -> Iterator[Stage]:  # noqa: ANN401 - diffusers' Decoder has no types
    """From the latents' resolution to the picture."""
    before, factor = nn.Identity(), Fraction(1)
    for block in decoder.up_blocks:
        for resnet in block.resnets:
            # After enlarging by two, twice as many positions are as far away; with them goes one
            # of the convolution that follows it.
            yield _stage(before, resnet, BLOCK_REACH, factor)
            before, factor = nn.Identity(), Fraction(1)
        for upsampler in block.upsamplers or ():
            before, factor = upsampler, Fraction(2)
    last = nn.Sequential(decoder.conv_norm_out, decoder.conv_act, decoder.conv_out)
    yield Stage(last, (decoder.conv_norm_out,), margin=1)


def _stage(before: nn.Module, resnet: Any, margin: int, factor: Fraction) -> Stage:  # noqa: ANN401
    """A residual block, together with what changes the resolution before it."""

    def function(x: torch.Tensor) -> torch.Tensor:
        return resnet(before(x), None)

    return Stage(function, (resnet.norm1, resnet.norm2), margin, factor)
