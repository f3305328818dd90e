"""The text condition of Stable Diffusion, for the one prompt that CCSR uses: the empty one."""

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import nn


class EmptyPrompt(ModelMixin, ConfigMixin):
    """Text states of the empty prompt, stored, so that no text encoder need be loaded.

    Args:
        length: Tokens.
        width: Features of a token, the UNet's `cross_attention_dim`.
    """

    @register_to_config
    def __init__(self, length: int = 77, width: int = 1024) -> None:
        super().__init__()
        self.states = nn.Parameter(torch.zeros(1, length, width), requires_grad=False)

    def forward(self, batch_size: int) -> torch.Tensor:
        """Text states [B,length,width]."""
        return self.states.expand(batch_size, -1, -1)
