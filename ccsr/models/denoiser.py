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
        controlnet_conditioning_scale: float = 1.0,
    ) -> torch.Tensor:
        """One network evaluation.

        Args:
            x_t: Noised latents [B,C,h,w].
            t: Training timesteps, one or [B].
            features: Of the LR latent, with batch B or 1.
            prompt_embeds: [1,length,width]; None for a UNet without cross-attention.
            controlnet_conditioning_scale: Factor of the condition network's residuals.

        Returns:
            The prediction [B,C,h,w] in the number format of the UNet.
        """
        x_t = x_t.to(self.unet.dtype)
        if prompt_embeds is not None:
            prompt_embeds = prompt_embeds.expand(len(x_t), -1, -1)
        down, middle = self.controlnet(
            x_t, t, prompt_embeds, controlnet_cond=features, return_dict=False
        )
        if controlnet_conditioning_scale != 1:
            down = [controlnet_conditioning_scale * residual for residual in down]
            middle = controlnet_conditioning_scale * middle
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
        controlnet_conditioning_scale: float = 1.0,
        tiling: TilingConfig | None = None,
    ) -> Predict:
        """The network as a function of (x_t, t), with classifier-free guidance.

        Args:
            features: Of the LR latent.
            prompt: None for the empty one, or for a UNet without cross-attention.
            controlnet_conditioning_scale: Factor of the condition network's residuals.
            tiling: Latents larger than a tile are evaluated in overlapping tiles, if the condition
                network is a ControlNet; None: as a whole. An LR adapter has no attention and no
                tiles.
        """

        def predictor_for(features: Features) -> Predict:
            return self._guided(features, prompt, controlnet_conditioning_scale)

        if tiling is None or not isinstance(features, torch.Tensor):
            return predictor_for(features)
        height, width = features.shape[2:]
        if max(height, width) <= tiling.tile:
            return predictor_for(features)
        grid = features
        return blended(lambda w: predictor_for(grid[(..., *w)]), height, width, tiling)

    def _guided(self, features: Features, prompt: PromptEmbeds | None, scale: float) -> Predict:
        def predict(x_t: torch.Tensor, t: torch.Tensor | int) -> torch.Tensor:
            if prompt is None:
                empty = None if self.empty_prompt is None else self.empty_prompt(1)
                return self(x_t, t, features, empty, scale)
            prediction = self(x_t, t, features, prompt.prompt_embeds, scale)
            if prompt.negative_prompt_embeds is None or prompt.guidance_scale == 1:
                return prediction
            negative = self(x_t, t, features, prompt.negative_prompt_embeds, scale)
            return negative + prompt.guidance_scale * (prediction - negative)

        return predict
