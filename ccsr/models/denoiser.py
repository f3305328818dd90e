"""The denoising network: UNet and condition network (ControlNet or LR adapter) as one module."""

import torch
from diffusers import UNet2DConditionModel
from torch import nn

from ccsr.config import TilingConfig
from ccsr.diffusion.sampler import Predict
from ccsr.models.controlnet import LatentControlNetModel
from ccsr.models.lr_adapter import LRAdapter, Residuals
from ccsr.models.prompt_embeds import EmptyPrompt, PromptEmbeds
from ccsr.models.tiling import blended

ConditionNetwork = LatentControlNetModel | LRAdapter

Features = torch.Tensor | Residuals
"""Condition features of the LR latent: those of a ControlNet [B,C,h,w], or the residuals of an LR
adapter."""


class Denoiser(nn.Module):
    """Predicts at (x_t, t), conditioned on the LR latent; the same in inference and training.

    Args:
        unet: Denoising network, with or without cross-attention.
        controlnet: Condition network; reads the LR latent.
        empty_prompt: Embeddings for a UNet with cross-attention where no prompt is given.
    """

    def __init__(
        self,
        unet: UNet2DConditionModel,
        controlnet: ConditionNetwork,
        empty_prompt: EmptyPrompt | None = None,
    ) -> None:
        super().__init__()
        self.unet, self.controlnet, self.empty_prompt = unet, controlnet, empty_prompt

    def features(self, lr_latent: torch.Tensor) -> Features:
        """Condition features of a scaled LR latent [B,C,h,w]; they serve all timesteps."""
        return self.controlnet.condition_features(lr_latent.to(self.controlnet.dtype))

    def forward(
        self,
        x_t: torch.Tensor,
        t: torch.Tensor | int,
        features: Features,
        prompt_embeds: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """One network evaluation.

        Args:
            x_t: Noised latents [B,C,h,w].
            t: Training timesteps, one or [B].
            features: Of the LR latent, with batch B or 1.
            prompt_embeds: [1,length,width]; None for a UNet without cross-attention.

        Returns:
            The prediction [B,C,h,w] in the number format of the UNet.
        """
        x_t = x_t.to(self.unet.dtype)
        if prompt_embeds is not None:
            prompt_embeds = prompt_embeds.expand(len(x_t), -1, -1)
        down, middle = self.controlnet(
            x_t, t, prompt_embeds, controlnet_cond=features, return_dict=False
        )
        return self.unet(
            x_t,
            t,
            prompt_embeds,
            down_block_additional_residuals=down,
            mid_block_additional_residual=middle,
            return_dict=False,
        )[0]

    def predictor(
        self,
        features: Features,
        prompt: PromptEmbeds | None = None,
        tiling: TilingConfig | None = None,
    ) -> Predict:
        """The network as a function of (x_t, t), with classifier-free guidance.

        Args:
            features: Of the LR latent.
            prompt: None for the empty one, or for a UNet without cross-attention.
            tiling: Latents larger than a tile are evaluated in overlapping tiles, if the condition
                network is a ControlNet; None: as a whole. An LR adapter has no attention and no
                tiles.
        """
        if tiling is None or not isinstance(features, torch.Tensor):
            return self._guided(features, prompt)
        height, width = features.shape[2:]
        if max(height, width) <= tiling.tile:
            return self._guided(features, prompt)
        grid = features
        return blended(lambda w: self._guided(grid[(..., *w)], prompt), height, width, tiling)

    def _guided(self, features: Features, prompt: PromptEmbeds | None) -> Predict:
        def predict(x_t: torch.Tensor, t: torch.Tensor | int) -> torch.Tensor:
            if prompt is None:
                empty = None if self.empty_prompt is None else self.empty_prompt(1)
                return self(x_t, t, features, empty)
            prediction = self(x_t, t, features, prompt.prompt_embeds)
            if prompt.negative_prompt_embeds is None or prompt.guidance_scale == 1:
                return prediction
            negative = self(x_t, t, features, prompt.negative_prompt_embeds)
            return negative + prompt.guidance_scale * (prediction - negative)

        return predict
