"""The autoencoder of the compact model.

Encoder and decoder have neither attention nor norms over positions, so that they give the same
result in tiles as on the whole picture. The fine-tuned decoder may also read the enlarged LR
picture: latents have an eighth of the resolution of the result, and an LR picture that is enlarged
four times has four pixels where they have one.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal, cast

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from diffusers.models.autoencoders.autoencoder_dc import ResBlock
from diffusers.utils.accelerate_utils import apply_forward_hook
from torch import nn
from torch.nn import functional

LR_PATCH = 4
"""Side of the patches of the enlarged LR picture that the decoder's LR branch reads, in pixels."""
OUTPUT_PATCH = 2
"""Side of the patches that the decoder's last convolution gives, in pixels."""

COMPACT_BORDER = 16
"""Pixels around a picture that compact models need to be as good at its sides as within."""

PaddingMode = Literal["zeros", "replicate"]
"""What convolutions see beyond the border: zeros, or the values at the border."""


def conv3x3(in_channels: int, out_channels: int, padding_mode: PaddingMode) -> nn.Conv2d:
    """A convolution that keeps the resolution."""
    return nn.Conv2d(in_channels, out_channels, 3, padding=1, padding_mode=padding_mode)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with a ReLU between them, added to their input."""

    def __init__(self, channels: int, padding_mode: PaddingMode) -> None:
        super().__init__()
        self.conv1 = conv3x3(channels, channels, padding_mode)
        self.conv2 = conv3x3(channels, channels, padding_mode)

    def branch(self, x: torch.Tensor) -> torch.Tensor:
        """What is added to x [B,C,H,W]."""
        return self.conv2(functional.relu(self.conv1(x), inplace=True))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B,C,H,W] -> the same shape."""
        return self.branch(x) + x


def residual_blocks(channels: int, count: int, padding_mode: PaddingMode) -> nn.Sequential:
    """A chain of `count` blocks."""
    return nn.Sequential(*(ResidualBlock(channels, padding_mode) for _ in range(count)))


class Encoder(nn.Module):
    """Pixels [B,3,8h,8w] in [-1,1] -> latents [B,C,h,w], by convolutions of stride 2.

    Args:
        latent_channels: C.
        block_out_channels: Channels at 2, 4 and 8 pixels a side.
        layers_per_block: Residual blocks at each of these resolutions; they normalise what they
            add, and with it local contrast.
    """

    def __init__(
        self,
        latent_channels: int,
        block_out_channels: Sequence[int],
        layers_per_block: Sequence[int],
    ) -> None:
        super().__init__()
        widths = (3, *block_out_channels)
        self.downsamplers = nn.ModuleList(
            nn.Conv2d(fine, coarse, 4, stride=2, padding=1) for fine, coarse in pairwise(widths)
        )
        self.levels = nn.ModuleList(
            nn.Sequential(
                *(ResBlock(width, width, norm_type="rms_norm", act_fn="silu") for _ in range(count))
            )
            for width, count in zip(block_out_channels, layers_per_block, strict=True)
        )
        self.conv_out = nn.Conv2d(widths[-1], latent_channels, 3, padding=1)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Pixels -> latents."""
        x = pixels
        for downsample, level in zip(self.downsamplers, self.levels, strict=True):
            x = level(downsample(x))
        return self.conv_out(x)


class LRBranch(nn.Module):
    """Features of the enlarged LR picture at a quarter of its resolution.

    Args:
        channels: Of the features.
        num_blocks: Residual blocks.
        padding_mode: Of all convolutions.
    """

    def __init__(self, channels: int, num_blocks: int, padding_mode: PaddingMode) -> None:
        super().__init__()
        self.conv_in = conv3x3(3 * LR_PATCH**2, channels, padding_mode)
        self.blocks = residual_blocks(channels, num_blocks, padding_mode)
        self.conv_out = conv3x3(channels, channels, padding_mode)
        # A decoder to which the branch is added begins with the results it had without it.
        nn.init.zeros_(self.conv_out.weight)
        nn.init.zeros_(cast("torch.Tensor", self.conv_out.bias))

    def forward(self, lr_up: torch.Tensor) -> torch.Tensor:
        """Enlarged LR [B,3,H,W] in [-1,1] -> [B,channels,H/4,W/4]."""
        return self.conv_out(self.blocks(self.conv_in(functional.pixel_unshuffle(lr_up, LR_PATCH))))


class Decoder(nn.Module):
    """Latents [B,C,h,w] -> pixels [B,3,8h,8w] in [-1,1], without norms and attention.

    Args:
        latent_channels: C.
        block_out_channels: Channels at 2, 4 and 8 pixels a side.
        layers_per_block: Residual blocks at each of these resolutions.
        lr_blocks: Residual blocks of the LR branch, added at 4 pixels a side; 0: there is none.
        padding_mode: Of all convolutions.
    """

    def __init__(
        self,
        latent_channels: int,
        block_out_channels: Sequence[int],
        layers_per_block: Sequence[int],
        lr_blocks: int,
        padding_mode: PaddingMode,
    ) -> None:
        super().__init__()
        # From the coarsest resolution to the finest, as they are computed.
        widths = tuple(reversed(block_out_channels))
        depths = tuple(reversed(layers_per_block))
        self.conv_in = conv3x3(latent_channels, widths[0], padding_mode)
        self.levels = nn.ModuleList(
            residual_blocks(width, depth, padding_mode)
            for width, depth in zip(widths, depths, strict=True)
        )
        self.upsamplers = nn.ModuleList(
            conv3x3(coarse, fine, padding_mode) for coarse, fine in pairwise(widths)
        )
        self.lr_branch = LRBranch(widths[1], lr_blocks, padding_mode) if lr_blocks else None
        self.conv_out = conv3x3(widths[-1], 3 * OUTPUT_PATCH**2, padding_mode)

    def forward(self, latents: torch.Tensor, lr_up: torch.Tensor | None = None) -> torch.Tensor:
        """Raw latents, and enlarged LR [B,3,8h,8w] in [-1,1] for the LR branch -> pixels."""
        x = self.levels[0](self.conv_in(latents))
        for level, upsample in enumerate(self.upsamplers, 1):
            x = upsample(functional.interpolate(x, scale_factor=2.0))
            if level == 1 and self.lr_branch is not None:
                x = x + self.lr_branch(lr_up)
            x = self.levels[level](x)
        return functional.pixel_shuffle(self.conv_out(x), OUTPUT_PATCH)


class CompactAutoencoder(ModelMixin, ConfigMixin):
    """Pixels [B,3,H,W] in [-1,1] <-> raw latents [B,C,H/8,W/8].

    Args:
        latent_channels: C.
        encoder_block_out_channels: Channels of the encoder at 2, 4 and 8 pixels a side.
        encoder_layers_per_block: Its residual blocks at each resolution.
        decoder_block_out_channels: Channels of the decoder at 2, 4 and 8 pixels a side.
        decoder_layers_per_block: Its residual blocks at each resolution.
        lr_blocks: Residual blocks of the decoder's LR branch; 0: it reads latents only.
        scaling_factor: Scaled latents are raw ones times this.
        decoder_padding_mode: What the decoder's convolutions see beyond the border. Of zeros the
            outermost pixels of flat areas keep a trace.
    """

    @register_to_config
    def __init__(
        self,
        latent_channels: int = 32,
        encoder_block_out_channels: Sequence[int] = (64, 128, 256),
        encoder_layers_per_block: Sequence[int] = (1, 0, 0),
        decoder_block_out_channels: Sequence[int] = (64, 64, 64),
        decoder_layers_per_block: Sequence[int] = (3, 3, 3),
        lr_blocks: int = 0,
        scaling_factor: float = 1.0,
        decoder_padding_mode: PaddingMode = "zeros",
    ) -> None:
        super().__init__()
        self.encoder = Encoder(
            latent_channels, encoder_block_out_channels, encoder_layers_per_block
        )
        self.decoder = Decoder(
            latent_channels,
            decoder_block_out_channels,
            decoder_layers_per_block,
            lr_blocks,
            decoder_padding_mode,
        )

    @property
    def reads_lr(self) -> bool:
        """Whether `decode` needs the enlarged LR picture."""
        return self.decoder.lr_branch is not None

    @apply_forward_hook
    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        """Pixels -> raw latents."""
        return self.encoder(pixels)

    @apply_forward_hook
    def decode(self, latents: torch.Tensor, lr_up: torch.Tensor | None = None) -> torch.Tensor:
        """Raw latents, and the enlarged LR picture if the decoder reads it -> pixels."""
        return self.decoder(latents, lr_up)
