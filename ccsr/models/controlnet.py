"""ControlNet conditioned on the latent of the low-resolution picture.

`condition_features` is computed once a picture. At every step `forward` maps it, x_t and t to
residuals of the UNet's skip connections.
"""

import functools
from typing import Any

import torch
from diffusers import ControlNetModel
from diffusers import ModelMixin as ModelMixin
from diffusers.utils.accelerate_utils import apply_forward_hook
from torch import nn

# diffusers finds the loading method of a class by the names of base classes in the class's module,
# so that ModelMixin has to be importable from here.


class LatentControlNetModel(ControlNetModel):
    """ControlNet whose condition is a latent on the grid of x_t instead of a picture.

    One convolution maps the condition to features that are added to the output of `conv_in`. This
    equals the authors' input convolution over the channels of x_t and of the condition together.

    Takes the arguments of `ControlNetModel`; `conditioning_channels` is the number of channels of
    the latent.
    """

    # diffusers reads the signature to save and load the configuration.
    @functools.wraps(ControlNetModel.__init__)
    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401
        super().__init__(*args, **kwargs)
        self.condition_conv_in = nn.Conv2d(
            self.config["conditioning_channels"], self.config["block_out_channels"][0], 3, padding=1
        )
        # `forward` receives features instead of the condition: they are computed once a picture,
        # not at every step of every seed.
        self.controlnet_cond_embedding = nn.Identity()

    @apply_forward_hook
    def condition_features(self, lr_latent: torch.Tensor) -> torch.Tensor:
        """Scaled latent [B,C,h,w] -> features [B,D,h,w], the `controlnet_cond` of `forward`."""
        return self.condition_conv_in(lr_latent)
