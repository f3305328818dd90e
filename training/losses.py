"""The losses of the paper's two stages.

Stage 1, CCSR Eq. (2)-(3): the denoising network learns where the sampler will call it, at T, at
t_max and in between. Stage 2: the decoder learns to add detail, judged by LPIPS and by a
discriminator, as the autoencoder of latent diffusion was (https://arxiv.org/abs/2112.10752).
"""

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm

from ccsr.diffusion.scheduler import NonUniformScheduler
from ccsr.evaluation.metrics import LPIPS

PredictBatch = Callable[[torch.Tensor, torch.Tensor | int], torch.Tensor]
"""Network output at x_t [B,C,h,w] and train timestep t, one or [B]; the condition is inside."""


def l_diff(
    predict: PredictBatch,
    scheduler: NonUniformScheduler,
    x0: torch.Tensor,
    t: torch.Tensor,
    noise: torch.Tensor,
) -> torch.Tensor:
    """Denoising loss, CCSR Eq. (2), of what the network predicts: the noise, or v.

    Args:
        predict: The network.
        scheduler: Its noise schedule and prediction type.
        x0: Clean latents [B,C,h,w].
        t: Train timesteps [B].
        noise: Standard normal, [B,C,h,w].
    """
    prediction = predict(scheduler.add_noise(x0, noise, t), t)
    return functional.mse_loss(prediction.float(), scheduler.target(x0, noise, t))


def jump(
    predict: PredictBatch,
    scheduler: NonUniformScheduler,
    x0: torch.Tensor,
    t_max: int,
    noise_T: torch.Tensor,
    noise_t_max: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Estimates at T and, after the jump, at t_max; CCSR Eq. (3) calls their errors l_T, l_t_max.

    Args:
        predict: The network.
        scheduler: Its noise schedule and prediction type.
        x0: Clean latents [B,C,h,w].
        t_max: Train timestep that the jump lands on.
        noise_T: Standard normal, makes x_T.
        noise_t_max: Standard normal, makes x_t_max of the estimate at T.

    Returns:
        x0_hat_T and x0_hat_t_max [B,C,h,w].
    """
    T = torch.full((len(x0),), scheduler.last_timestep, device=x0.device)
    x_T = scheduler.add_noise(x0, noise_T, T)
    x0_hat_T = scheduler.x0_hat(predict(x_T, T), x_T, T)
    # Not detached: the estimate at T is to be one that the step at t_max can work with.
    return x0_hat_T, refine(predict, scheduler, x0_hat_T, torch.full_like(T, t_max), noise_t_max)


def refine(
    predict: PredictBatch,
    scheduler: NonUniformScheduler,
    x0_hat: torch.Tensor,
    t: torch.Tensor,
    noise: torch.Tensor,
) -> torch.Tensor:
    """The next estimate [B,C,h,w] along a chain: that of x0_hat, noised to timesteps t [B]."""
    x_t = scheduler.add_noise(x0_hat, noise, t)
    return scheduler.x0_hat(predict(x_t, t), x_t, t)


class PatchDiscriminator(nn.Module):
    """Judges overlapping patches of a picture: [B,3,H,W] in [0,1] -> [B,1,H/8,W/8], real > 0.

    The PatchGAN of https://arxiv.org/abs/1611.07004 with spectral normalisation, which needs no
    statistics over the batch: ours are small.
    """

    def __init__(self, channels: int = 64) -> None:
        super().__init__()
        widths = (3, channels, 2 * channels, 4 * channels, 8 * channels)
        layers: list[nn.Module] = []
        for i, (inputs, outputs) in enumerate(pairwise(widths)):
            conv = nn.Conv2d(inputs, outputs, 4, stride=2 if i < 3 else 1, padding=1)
            layers += [spectral_norm(conv), nn.LeakyReLU(0.2)]
        layers.append(spectral_norm(nn.Conv2d(widths[-1], 1, 4, padding=1)))
        self.layers = nn.Sequential(*layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Verdict on every patch."""
        return self.layers(2 * x - 1)


class FeatureDiscriminator(nn.Module):
    """Judges patches by what VGG16 sees in them: [B,3,H,W] in [0,1] -> [B,3,H/8,W/8], real > 0.

    A small network for each of the first stages of the frozen trunk, as in Projected GANs
    (https://arxiv.org/abs/2111.01007): edges and textures need not be discovered first, which
    counts in a short training.
    """

    STAGES = ((64, 3), (128, 2), (256, 1))
    """Channels of a stage of VGG16, and how often it is halved to an eighth of the picture."""

    def __init__(self, trunk: LPIPS, channels: int = 64) -> None:
        super().__init__()
        self.trunk = trunk
        self.heads = nn.ModuleList(
            _patch_head(inputs, channels, halvings) for inputs, halvings in self.STAGES
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Verdict on every patch, one a stage."""
        # The heads come first: when they are used up, no further stage is computed.
        verdicts = [
            head(f / (f.square().mean((1, 2, 3), keepdim=True) + 1e-6).sqrt())
            for head, f in zip(self.heads, self.trunk.stages(x), strict=False)
        ]
        return torch.cat(verdicts, 1)


def _patch_head(inputs: int, channels: int, halvings: int) -> nn.Sequential:
    """Features [B,inputs,h,w] -> verdicts [B,1,h/2^halvings,w/2^halvings]."""
    layers: list[nn.Module] = [spectral_norm(nn.Conv2d(inputs, channels, 1)), nn.LeakyReLU(0.2)]
    for _ in range(halvings):
        conv = nn.Conv2d(channels, channels, 4, stride=2, padding=1)
        layers += [spectral_norm(conv), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers, spectral_norm(nn.Conv2d(channels, 1, 3, padding=1)))


def hinge_loss(real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
    """What the discriminator minimises, from its verdicts on true and made pictures."""
    return 0.5 * (functional.relu(1 - real).mean() + functional.relu(1 + fake).mean())


def adaptive_weight(
    reconstruction_gradient: torch.Tensor, adversarial_gradient: torch.Tensor, largest: float = 1e4
) -> torch.Tensor:
    """Weight that makes both losses pull equally hard on the decoder's last layer.

    Latent diffusion's rule: the ratio of the gradients' norms, at most `largest`.
    """
    ratio = reconstruction_gradient.norm() / (adversarial_gradient.norm() + 1e-4)
    return ratio.clamp(0, largest).detach()
