"""The network that reads the low-resolution picture: a ControlNet conditioned on its latent.

It computes `condition_features` once a picture; `forward` turns them, x_t and t into residuals of
the UNet's skip connections at every step.
"""

import functools
from typing import Any

import torch
from diffusers import ControlNetModel
from diffusers import ModelMixin as ModelMixin
from diffusers.utils.accelerate_utils import apply_forward_hook
from torch import nn

# A pipeline that loads a class from this module looks up how to load it by the names of the base
# classes it knows, in this module: ModelMixin has to be among them.


class LatentControlNetModel(ControlNetModel):
    """ControlNet whose condition is a latent on the grid of x_t instead of a picture.

    One convolution turns the condition into features that are added after `conv_in`. That is the
    same map as the authors' input convolution over the channels of x_t and the condition together.

    Takes the arguments of `ControlNetModel`; `conditioning_channels` are those of the latent.
    """

    # The wrapped signature is what diffusers reads to save and load the configuration.
    @functools.wraps(ControlNetModel.__init__)
    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401
        super().__init__(*args, **kwargs)
        self.condition_conv_in = nn.Conv2d(
            self.config["conditioning_channels"], self.config["block_out_channels"][0], 3, padding=1
        )
        # `forward` receives the features, so that a picture pays for them once, not at every
        # step of every seed.
        self.controlnet_cond_embedding = nn.Identity()

    @apply_forward_hook
    def condition_features(self, lr_latent: torch.Tensor) -> torch.Tensor:
        """Features of a scaled latent [B,C,h,w], to be passed to `forward` as its condition."""
        return self.condition_conv_in(lr_latent)
