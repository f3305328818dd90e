"""Discriminators of stage 2: real pictures from decoded ones, patch by patch."""

from itertools import pairwise
from typing import Literal

import torch
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from ccsr.evaluation.metrics import LPIPS
from ccsr.models.memory_format import lay_out_for_convolutions

DiscriminatorNorm = Literal["spectral", "batch"]


class PatchDiscriminator(nn.Module):
    """PatchGAN: pictures [B,3,H,W] in [0,1] -> logits of overlapping patches [B,1,h,w], real > 0.

    h and w are about H/8 and W/8. https://arxiv.org/abs/1611.07004.

    Args:
        channels: Of the first layer; each of the next three has twice as many.
        norm: "spectral" normalises weights, which suits small batches; "batch" is the batch
            normalisation of the paper above and of latent diffusion.
    """

    def __init__(self, channels: int = 64, norm: DiscriminatorNorm = "spectral") -> None:
        super().__init__()
        widths = (3, channels, 2 * channels, 4 * channels, 8 * channels)
        normalised = spectral_norm if norm == "spectral" else _small
        layers: list[nn.Module] = []
        for i, (inputs, outputs) in enumerate(pairwise(widths)):
            in_batch = norm == "batch" and i > 0
            stride = 2 if i < 3 else 1
            conv = nn.Conv2d(inputs, outputs, 4, stride=stride, padding=1, bias=not in_batch)
            layers += [normalised(conv)]
            if in_batch:
                batch_norm = nn.BatchNorm2d(outputs)
                nn.init.normal_(batch_norm.weight, 1.0, 0.02)
                layers += [batch_norm]
            layers += [nn.LeakyReLU(0.2)]
        layers.append(normalised(nn.Conv2d(widths[-1], 1, 4, padding=1)))
        self.layers = nn.Sequential(*layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits [B,1,h,w] of x [B,3,H,W] in [0,1]."""
        return self.layers(2 * x - 1)


def _small(conv: nn.Conv2d) -> nn.Conv2d:
    """A convolution with the small weights that a discriminator with batch normalisation needs."""
    nn.init.normal_(conv.weight, 0.0, 0.02)
    return conv


class FeatureDiscriminator(nn.Module):
    """Logits from features of VGG16: [B,3,H,W] in [0,1] -> [B,3,H/8,W/8], real > 0.

    One small head on each of the first three stages of the frozen trunk, as in Projected GANs
    (https://arxiv.org/abs/2111.01007). Pre-trained features save the discriminator from learning
    edges and textures first, which matters in a short training.
    """

    STAGES = ((64, 3), (128, 2), (256, 1))
    """Channels of each stage of VGG16, and the halvings from its resolution to H/8."""

    def __init__(self, trunk: LPIPS, channels: int = 64) -> None:
        super().__init__()
        lay_out_for_convolutions(trunk)
        self.trunk = trunk
        self.heads = nn.ModuleList(
            _patch_head(inputs, channels, halvings) for inputs, halvings in self.STAGES
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits [B,3,H/8,W/8] of x [B,3,H,W] in [0,1], one channel a stage."""
        # `stages` is a generator: zip asks the heads first, so later stages are not computed.
        x = x.contiguous(memory_format=torch.channels_last)
        logits = [
            head(f / (f.square().mean((1, 2, 3), keepdim=True) + 1e-6).sqrt())
            for head, f in zip(self.heads, self.trunk.stages(x), strict=False)
        ]
        return torch.cat(logits, 1)


def _patch_head(inputs: int, channels: int, halvings: int) -> nn.Sequential:
    """Features [B,inputs,h,w] -> logits [B,1,h/2^halvings,w/2^halvings]."""
    layers: list[nn.Module] = [spectral_norm(nn.Conv2d(inputs, channels, 1)), nn.LeakyReLU(0.2)]
    for _ in range(halvings):
        conv = nn.Conv2d(channels, channels, 4, stride=2, padding=1)
        layers += [spectral_norm(conv), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers, spectral_norm(nn.Conv2d(channels, 1, 3, padding=1)))
