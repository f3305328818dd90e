"""The losses of the paper's two stages.

Stage 1 trains the denoising network: `l_diff` is CCSR Eq. (2), `jump_losses` are the other terms of
CCSR Eq. (3). Stage 2 trains the decoder with the adversarial losses of latent diffusion
(https://arxiv.org/abs/2112.10752). Latents are scaled, [B,C,h,w]; each squared norm of the paper
is a mean over all elements here, as in the authors' code.
"""

from dataclasses import dataclass

import torch
from torch.nn import functional

from ccsr.diffusion.sampler import Predict
from ccsr.diffusion.scheduler import NonUniformScheduler


def l_diff(
    predict: Predict,
    scheduler: NonUniformScheduler,
    x0: torch.Tensor,
    t: torch.Tensor,
    noise: torch.Tensor,
) -> torch.Tensor:
    """Denoising loss, CCSR Eq. (2); alone it is the loss of uniform training (variant V1).

    The paper's network predicts the noise eps. With another prediction type of the scheduler the
    target is v or x0.

    Args:
        predict: The network.
        scheduler: Its noise schedule and prediction type.
        x0: Clean latents [B,C,h,w].
        t: Train timesteps [B]: in [0, T) for uniform training, below t_max for stage 1, as the
            sampler evaluates none between T and t_max.
        noise: eps, standard normal [B,C,h,w].

    Returns:
        A scalar, the mean squared error.
    """
    prediction = predict(scheduler.add_noise(x0, noise, t), t)
    return functional.mse_loss(prediction.float(), scheduler.target(x0, noise, t))


@dataclass(frozen=True)
class JumpLosses:
    """The terms of the extraction at T and of the jump to t_max, scalars."""

    l_T: torch.Tensor
    l_t_max: torch.Tensor
    l_noise_t_max: torch.Tensor
    """Eq. (2) at t_max, with x0_hat_T as x0. The authors' code has it, the paper has not."""
    x0_hat_t_max: torch.Tensor
    """Estimate of x0 at t_max [B,C,h,w], which refinement continues from."""


def jump_losses(
    predict: Predict,
    scheduler: NonUniformScheduler,
    x0: torch.Tensor,
    t_max: int,
    noise_T: torch.Tensor,
    noise_t_max: torch.Tensor,
) -> JumpLosses:
    """The losses of stage 1 that CCSR Eq. (3) adds to l_diff.

    - l_T = |x0 - x0_hat_T|^2: the estimate of the extraction, from x_T of Eq. (1).
    - l_t_max = |x0 - x0_hat_t_max|^2: the estimate after the jump, from x_t_max, which is
      x0_hat_T noised to t_max by Eq. (1). Gradients reach the network through x0_hat_T too.

    Args:
        predict: The network eps_theta.
        scheduler: Its noise schedule and prediction type.
        x0: Clean latents [B,C,h,w].
        t_max: Train timestep of the jump, in [1, T).
        noise_T: Makes x_T of x0; standard normal [B,C,h,w].
        noise_t_max: Makes x_t_max of x0_hat_T, likewise.
    """
    T = torch.full((len(x0),), scheduler.last_timestep, device=x0.device)
    x0_hat_T = noised_estimate(predict, scheduler, x0, T, noise_T)
    # Not detached: the estimate at T is to be one from which t_max gives a good one.
    at_t_max = torch.full_like(T, t_max)
    x_t_max = scheduler.add_noise(x0_hat_T, noise_t_max, at_t_max)
    prediction = predict(x_t_max, at_t_max).float()
    x0_hat_t_max = scheduler.x0_hat(prediction, x_t_max, at_t_max)
    target = scheduler.target(x0_hat_T, noise_t_max, at_t_max)
    return JumpLosses(
        l_T=functional.mse_loss(x0_hat_T, x0),
        l_t_max=functional.mse_loss(x0_hat_t_max, x0),
        l_noise_t_max=functional.mse_loss(prediction, target),
        x0_hat_t_max=x0_hat_t_max,
    )


def noised_estimate(
    predict: Predict,
    scheduler: NonUniformScheduler,
    x0: torch.Tensor,
    t: torch.Tensor,
    noise: torch.Tensor,
) -> torch.Tensor:
    """Estimate x0_hat [B,C,h,w] at timesteps t [B], from x0 (or an estimate) noised to t."""
    x_t = scheduler.add_noise(x0, noise, t)
    return scheduler.x0_hat(predict(x_t, t), x_t, t)


def hinge_loss(real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
    """Discriminator loss, a scalar, from its logits [B,...] of real and of decoded pictures."""
    return 0.5 * (functional.relu(1 - real).mean() + functional.relu(1 + fake).mean())


MAX_ADAPTIVE_WEIGHT = 1e4
"""Latent diffusion's bound."""


def adaptive_weight(
    reconstruction_gradient: torch.Tensor, adversarial_gradient: torch.Tensor
) -> torch.Tensor:
    """Weight of the adversarial loss, in [0, MAX_ADAPTIVE_WEIGHT], without gradient.

    Latent diffusion's rule: the ratio of the norms of both losses' gradients with respect to the
    decoder's last layer, so that both have the same influence there.
    """
    ratio = reconstruction_gradient.norm() / (adversarial_gradient.norm() + 1e-4)
    return ratio.clamp(0, MAX_ADAPTIVE_WEIGHT).detach()
