"""The compact autoencoder's blocks: diffusers' functions with less traffic through memory.

On a CPU memory limits them, not arithmetic. Between two resolutions diffusers adds to a convolution
a shortcut without weights (https://arxiv.org/abs/2410.10733, Fig. 4) that takes longer than the
convolution; both are linear, so that one convolution can do the work of the two.
"""

import torch
from diffusers import AutoencoderDC
from diffusers.models.autoencoders.autoencoder_dc import DCDownBlock2d, DCUpBlock2d, ResBlock
from diffusers.models.normalization import RMSNorm
from torch import nn
from torch.nn import functional


class QuickRMSNorm(RMSNorm):
    """diffusers' RMSNorm (arXiv 1910.07467), with weight and bias, for pictures.

    That goes through a picture six times, in float32. Two convolutions of 1x1, which add up in
    float32 whatever they are given, need half of the time.
    """

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """[B,H,W,C] -> the same, of unit root mean square over C, times weight, plus bias."""
        return self.normalised(hidden_states.movedim(-1, 1)).movedim(1, -1)

    def normalised(self, x: torch.Tensor, out: torch.Tensor | None = None) -> torch.Tensor:
        """[B,C,H,W] -> the same, as `forward`; what `out` holds, which may be x, is lost."""
        if x.dtype == torch.float16:
            # Squares would overflow.
            return super().forward(x.movedim(1, -1)).movedim(-1, 1)
        channels = x.shape[1]
        mean_square = functional.conv2d(x * x, x.new_full((1, channels, 1, 1), 1 / channels))
        unit = torch.mul(x, (mean_square + self.eps).rsqrt(), out=out)
        weight, bias = self.weight, self.bias
        # What `fuse_norms` replaces has both.
        assert weight is not None
        assert bias is not None
        return functional.conv2d(unit, weight.diag()[..., None, None], bias)


class QuickResBlock(ResBlock):
    """diffusers' residual block of `QuickRMSNorm` and SiLU, for inference: it works in place."""

    norm: QuickRMSNorm

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """[B,C,H,W] -> the same."""
        # There SiLU is 0 already, to any accuracy; below, CPUs are slow with its tiny numbers.
        x = self.conv1(hidden_states).clamp_(min=-80)
        x = self.conv2(functional.silu(x, inplace=True))
        return self.norm.normalised(x, out=x).add_(hidden_states)


class Upsampling(nn.Module):
    """A `DCUpBlock2d` by pixel shuffle, its shortcut a part of the convolution."""

    def __init__(self, block: DCUpBlock2d) -> None:
        super().__init__()
        weight = block.conv.weight.to(torch.float32, copy=True)
        channels = len(weight)
        if block.shortcut:
            # Each channel is repeated to fill as many as there will be.
            out = torch.arange(channels)
            weight[out, out // block.repeats, 1, 1] += 1
        # The four positions of the finer grid first, so that the shuffle moves whole pixels.
        order = torch.arange(channels).view(-1, 4).t().flatten()
        assert block.conv.bias is not None  # diffusers gives it one
        self.conv = _convolution(block.conv, weight[order], block.conv.bias[order], padding=1)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """[B,C,H,W] -> [B,C',2H,2W]."""
        x = self.conv(hidden_states).movedim(1, -1)
        batch, height, width, channels = x.shape
        # From [..., row in the pixel, column in the pixel, C'].
        x = x.reshape(batch, height, width, 2, 2, channels // 4).transpose(2, 3)
        return x.reshape(batch, 2 * height, 2 * width, channels // 4).movedim(-1, 1)


def downsampling(block: DCDownBlock2d) -> nn.Conv2d:
    """A `DCDownBlock2d` by pixel unshuffle, its shortcut included, as one convolution.

    What is convolved by 3x3 and then unshuffled is convolved by 4x4 with a stride of 2: each of
    the four positions in a pixel of the coarser grid sees its own 3x3 of these. Sides must be even.
    """
    small = block.conv.weight.float()
    outputs, inputs = small.shape[:2]
    weight = small.new_zeros(4 * outputs, inputs, 4, 4)
    for row in range(2):
        for column in range(2):
            position = 2 * row + column
            weight[position::4, :, row : row + 3, column : column + 3] += small
            if block.shortcut:
                # Unshuffled, each run of so many channels is averaged to one.
                unshuffled = 4 * torch.arange(inputs) + position
                out = unshuffled // block.group_size
                weight[out, torch.arange(inputs), 1 + row, 1 + column] += 1 / block.group_size
    assert block.conv.bias is not None  # diffusers gives it one
    bias = block.conv.bias.repeat_interleave(4)
    return _convolution(block.conv, weight, bias, stride=2, padding=1)


def _convolution(
    like: nn.Conv2d, weight: torch.Tensor, bias: torch.Tensor, *, stride: int = 1, padding: int
) -> nn.Conv2d:
    """A convolution with these weights, kept as those of `like` are."""
    outputs, inputs, *kernel = weight.shape
    conv = nn.Conv2d(inputs, outputs, (kernel[0], kernel[1]), stride, padding, device="meta")
    conv.weight = nn.Parameter(weight.to(like.weight.dtype), requires_grad=False)
    conv.bias = nn.Parameter(bias.to(like.weight.dtype), requires_grad=False)
    return conv


def fuse_norms(network: nn.Module) -> None:
    """Put a `QuickRMSNorm` with the same parameters in the place of every RMSNorm of `network`."""
    for parent in list(network.modules()):
        for name, norm in list(parent.named_children()):
            if type(norm) is RMSNorm and norm.weight is not None and norm.bias is not None:
                quick = QuickRMSNorm(norm.dim, norm.eps, bias=True)
                quick.weight, quick.bias = norm.weight, norm.bias
                setattr(parent, name, quick)


@torch.no_grad()
def fuse(autoencoder: AutoencoderDC) -> None:
    """Give an autoencoder the blocks above: for inference, and no longer to be saved.

    Blocks of other kinds than the compact model's stay as they are.
    """
    autoencoder.requires_grad_(False)
    # Its weights have names and shapes that would load elsewhere, and mean something else.
    autoencoder.save_pretrained = _refuse_to_save  # type: ignore[method-assign]
    fuse_norms(autoencoder)
    for parent in list(autoencoder.modules()):
        for name, block in list(parent.named_children()):
            if type(block) is DCDownBlock2d and block.downsample:
                setattr(parent, name, downsampling(block))
            elif type(block) is DCUpBlock2d and not block.interpolate:
                setattr(parent, name, Upsampling(block))
            elif type(block) is ResBlock and _is_ours(block):
                block.__class__ = QuickResBlock


def _refuse_to_save(*_: object, **__: object) -> None:
    raise ValueError(
        "this autoencoder was changed for inference and cannot be saved; save the one that "
        "CCSRPipeline.from_pretrained loads"
    )


def _is_ours(block: ResBlock) -> bool:
    return isinstance(block.norm, QuickRMSNorm) and isinstance(block.nonlinearity, nn.SiLU)
