"""The compact model's condition network: reads the LR latent once for all steps and seeds."""

from collections.abc import Sequence

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.unets.unet_2d_blocks import DownBlock2D
from diffusers.utils.accelerate_utils import apply_forward_hook
from torch import nn

Residuals = tuple[tuple[torch.Tensor, ...], torch.Tensor]
"""What is added to the UNet's skip connections [1,C,h,w], in their order, and to its middle."""


class LRAdapter(ModelMixin, ConfigMixin):
    """Residuals of the UNet from the LR latent alone: it sees neither x_t nor t.

    One evaluation serves all steps of all seeds.

    At each resolution of the UNet a chain of residual blocks, whose last features are projected to
    the UNet's skip connections of that resolution.

    Args:
        conditioning_channels: Channels of the latent of the picture.
        unet_channels: The UNet's channels at each resolution.
        unet_layers_per_block: Residual blocks on the UNet's way down, at each resolution.
        block_out_channels: Own channels at each resolution.
        layers_per_block: Own residual blocks at each resolution.
        norm_num_groups: Groups of the normalisations.
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
        # Each block begins as the identity, so that a model can be made deeper and go on learning
        # from where it was.
        for block in self.levels.modules():
            if isinstance(block, ResnetBlock2D):
                nn.init.zeros_(block.conv2.weight)
                assert block.conv2.bias is not None  # diffusers gives it one
                nn.init.zeros_(block.conv2.bias)
        # The UNet's skip connections: its first convolution, then at each resolution its residual
        # blocks and, but for the last, what goes on to the next.
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
        """The residuals for a scaled latent [B,C,h,w]; to be passed to `forward`."""
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
        """`controlnet_cond`, what `condition_features` gave, whatever x_t and t are."""
        return controlnet_cond
