"""Fused blocks of the compact autoencoder, for inference: equal results, less memory traffic.

On a CPU the autoencoder is limited by memory bandwidth, not by arithmetic. Between two resolutions
diffusers adds a shortcut without weights to a convolution (https://arxiv.org/abs/2410.10733,
Fig. 4), which takes longer than the convolution. Both are linear and become one convolution.

A fused block is the original one with another class: it keeps its parameters and their names, and
`save_pretrained` writes what was loaded. Fused weights are buffers that are not saved.
"""

import torch
from diffusers import AutoencoderDC
from diffusers.models.autoencoders.autoencoder_dc import DCDownBlock2d, DCUpBlock2d, ResBlock
from diffusers.models.normalization import RMSNorm
from torch import nn
from torch.nn import functional

from ccsr.models.compact_autoencoder import CompactAutoencoder

SILU_UNDERFLOW = -80
"""Below it SiLU is 0 to any accuracy, and CPUs are slow with its denormal numbers."""


class FusedRMSNorm(RMSNorm):
    """diffusers' RMSNorm (arXiv 1910.07467) with weight and bias, as two 1x1 convolutions.

    diffusers' own passes over the picture six times, in float32. Convolutions accumulate in float32
    in every number format and take half of the time.
    """

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """[B,H,W,C] -> the same shape, of unit root mean square over C, times weight, plus bias."""
        return self.normalise(hidden_states.movedim(-1, 1)).movedim(1, -1)

    def normalise(self, x: torch.Tensor, out: torch.Tensor | None = None) -> torch.Tensor:
        """[B,C,H,W] -> the same shape, as `forward`; `out`, which may be x, is overwritten."""
        if x.dtype == torch.float16:
            # Squares would overflow.
            return super().forward(x.movedim(1, -1)).movedim(-1, 1)
        channels = x.shape[1]
        mean_square = functional.conv2d(x * x, x.new_full((1, channels, 1, 1), 1 / channels))
        unit = torch.mul(x, (mean_square + self.eps).rsqrt(), out=out)
        weight, bias = self.weight, self.bias
        # `fuse_rms_norms` fuses norms that have both.
        assert weight is not None
        assert bias is not None
        return functional.conv2d(unit, weight.diag()[..., None, None], bias)


class FusedResBlock(ResBlock):
    """diffusers' residual block with `FusedRMSNorm` and SiLU, computed in place."""

    norm: FusedRMSNorm

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """[B,C,H,W] -> the same shape."""
        x = self.conv1(hidden_states).clamp_(min=SILU_UNDERFLOW)
        x = self.conv2(functional.silu(x, inplace=True))
        return self.norm.normalise(x, out=x).add_(hidden_states)


class FusedDownBlock(DCDownBlock2d):
    """A `DCDownBlock2d` by pixel unshuffle, shortcut included, as one convolution of stride 2."""

    fused_weight: torch.Tensor
    fused_bias: torch.Tensor

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """[B,C,2H,2W] -> [B,C',H,W]."""
        return functional.conv2d(
            hidden_states, self.fused_weight, self.fused_bias, stride=2, padding=1
        )


class FusedUpBlock(DCUpBlock2d):
    """A `DCUpBlock2d` by pixel shuffle, shortcut included, as one convolution and the shuffle."""

    fused_weight: torch.Tensor
    fused_bias: torch.Tensor

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """[B,C,H,W] -> [B,C',2H,2W]."""
        x = functional.conv2d(hidden_states, self.fused_weight, self.fused_bias, padding=1)
        x = x.movedim(1, -1)
        batch, height, width, channels = x.shape
        # From [..., row in the pixel, column in the pixel, C'].
        x = x.reshape(batch, height, width, 2, 2, channels // 4).transpose(2, 3)
        return x.reshape(batch, 2 * height, 2 * width, channels // 4).movedim(-1, 1)


def fuse_rms_norms(network: nn.Module) -> None:
    """Turn every RMSNorm with weight and bias in `network` into a `FusedRMSNorm`."""
    for norm in network.modules():
        if type(norm) is RMSNorm and norm.weight is not None and norm.bias is not None:
            norm.__class__ = FusedRMSNorm


@torch.no_grad()
def fuse_autoencoder(autoencoder: AutoencoderDC | CompactAutoencoder) -> None:
    """Turn the blocks of an autoencoder into the fused ones above, for inference.

    Blocks of other kinds than the compact model's, and fused ones, stay as they are. Weights that
    are loaded or changed afterwards have no effect on fused blocks.
    """
    autoencoder.requires_grad_(False)
    fuse_rms_norms(autoencoder)
    for block in autoencoder.modules():
        if type(block) is DCDownBlock2d and block.downsample:
            fuse_down_block(block)
        elif type(block) is DCUpBlock2d and not block.interpolate:
            fuse_up_block(block)
        elif type(block) is ResBlock and _can_fuse(block):
            block.__class__ = FusedResBlock


def fuse_down_block(block: DCDownBlock2d) -> None:
    """Turn a block into a `FusedDownBlock`.

    A 3x3 convolution followed by a pixel unshuffle equals a 4x4 convolution with a stride of 2:
    each of the four positions in a pixel of the coarser grid has its own 3x3 of these.
    """
    weight, bias = _weight_and_bias(block.conv)
    outputs, inputs = weight.shape[:2]
    fused = weight.new_zeros(4 * outputs, inputs, 4, 4)
    for row in range(2):
        for column in range(2):
            position = 2 * row + column
            fused[position::4, :, row : row + 3, column : column + 3] += weight
            if block.shortcut:
                # The shortcut averages each group of unshuffled channels to one.
                unshuffled = 4 * torch.arange(inputs) + position
                out = unshuffled // block.group_size
                fused[out, torch.arange(inputs), 1 + row, 1 + column] += 1 / block.group_size
    _register(block, fused, bias.repeat_interleave(4))
    block.__class__ = FusedDownBlock


def fuse_up_block(block: DCUpBlock2d) -> None:
    """Turn a block into a `FusedUpBlock`."""
    weight, bias = _weight_and_bias(block.conv)
    channels = torch.arange(len(weight))
    if block.shortcut:
        # The shortcut repeats each input channel `repeats` times.
        weight[channels, channels // block.repeats, 1, 1] += 1
    # The four positions of the finer grid first, so that the shuffle moves whole pixels.
    order = channels.view(-1, 4).t().flatten()
    _register(block, weight[order], bias[order])
    block.__class__ = FusedUpBlock


def _weight_and_bias(conv: nn.Conv2d) -> tuple[torch.Tensor, torch.Tensor]:
    """Copies in float32."""
    assert conv.bias is not None  # diffusers' blocks have one
    return conv.weight.to(torch.float32, copy=True), conv.bias.to(torch.float32, copy=True)


def _register(block: DCDownBlock2d | DCUpBlock2d, weight: torch.Tensor, bias: torch.Tensor) -> None:
    """Add the fused convolution to `block`, in the number format of the original one."""
    dtype = block.conv.weight.dtype
    block.register_buffer("fused_weight", weight.to(dtype), persistent=False)
    block.register_buffer("fused_bias", bias.to(dtype), persistent=False)


def _can_fuse(block: ResBlock) -> bool:
    return isinstance(block.norm, FusedRMSNorm) and isinstance(block.nonlinearity, nn.SiLU)
