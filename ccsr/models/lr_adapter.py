"""Condition network of the compact model: an adapter that sees the LR latent alone."""

from collections.abc import Sequence

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.unets.unet_2d_blocks import DownBlock2D
from diffusers.utils.accelerate_utils import apply_forward_hook
from torch import nn

Residuals = tuple[tuple[torch.Tensor, ...], torch.Tensor]
"""Added to the UNet's skip connections [B,C,h,w], in their order, and to its middle block."""


class LRAdapter(ModelMixin, ConfigMixin):
    """Residuals of the UNet as a function of the LR latent alone, not of x_t and t.

    One evaluation serves all steps of all seeds. At each resolution of the UNet a chain of residual
    blocks; its last features are projected to the UNet's skip connections of that resolution.

    Args:
        conditioning_channels: Channels of the LR latent.
        unet_channels: The UNet's channels at each resolution.
        unet_layers_per_block: Residual blocks of the UNet's down blocks.
        block_out_channels: Channels of the adapter at each resolution.
        layers_per_block: Residual blocks of the adapter at each resolution.
        norm_num_groups: Groups of the GroupNorms.
    """

    @register_to_config
    def __init__(
        self,
        conditioning_channels: int,
        unet_channels: Sequence[int],
        unet_layers_per_block: int,
        block_out_channels: Sequence[int],
        layers_per_block: Sequence[int],
        norm_num_groups: int = 32,
    ) -> None:
        super().__init__()
        widths, last = tuple(block_out_channels), len(block_out_channels) - 1
        self.conv_in = nn.Conv2d(conditioning_channels, widths[0], 3, padding=1)
        self.levels = nn.ModuleList(
            DownBlock2D(
                in_channels=widths[max(level - 1, 0)],
                out_channels=width,
                temb_channels=None,  # type: ignore[arg-type] - None builds it without time
                num_layers=layers_per_block[level],
                resnet_groups=norm_num_groups,
                add_downsample=level < last,
            )
            for level, width in enumerate(widths)
        )
        # Each block begins as the identity, so that a trained model can be made deeper without a
        # change of its results.
        for block in self.levels.modules():
            if isinstance(block, ResnetBlock2D):
                nn.init.zeros_(block.conv2.weight)
                assert block.conv2.bias is not None  # diffusers gives it one
                nn.init.zeros_(block.conv2.bias)
        # The UNet's skip connections: its first convolution, then at each resolution its residual
        # blocks and, except at the last, its downsampler.
        levels = [0] + [
            level
            for level in range(last + 1)
            for _ in range(unet_layers_per_block + (level < last))
        ]
        self.skips = nn.ModuleList(
            nn.Conv2d(widths[level], unet_channels[level], 1) for level in levels
        )
        self.middle = nn.Conv2d(widths[-1], unet_channels[-1], 1)

    @apply_forward_hook
    def condition_features(self, lr_latent: torch.Tensor) -> Residuals:
        """Scaled latent [B,C,h,w] -> residuals, the `controlnet_cond` of `forward`."""
        x, skips = self.conv_in(lr_latent), []
        for level, block in enumerate(self.levels):
            x, states = block(x)
            last_block = states[self.config["layers_per_block"][level] - 1]
            skips += [last_block] * (self.config["unet_layers_per_block"] + (level == 0))
            if level + 1 < len(self.levels):
                skips.append(x)
        projected = (project(skip) for project, skip in zip(self.skips, skips, strict=True))
        return tuple(projected), self.middle(x)

    def forward(
        self,
        sample: torch.Tensor,
        timestep: torch.Tensor | int,
        encoder_hidden_states: torch.Tensor | None,
        controlnet_cond: Residuals,
        return_dict: bool = False,
    ) -> Residuals:
        """`controlnet_cond`, the result of `condition_features`, for every x_t and t."""
        return controlnet_cond
