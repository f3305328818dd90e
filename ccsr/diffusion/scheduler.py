"""The noise schedule, and the arithmetic of one step.

alpha_bar is the cumulative signal power over the T train timesteps. All arithmetic is in float32 or
better.
"""

import functools
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from diffusers import ConfigMixin, SchedulerMixin
from diffusers.configuration_utils import register_to_config

from ccsr.config import StartPoint
from ccsr.diffusion.timesteps import (
    LoopStart,
    TimestepSpacing,
    leading_timesteps,
    respaced_timesteps,
)

PredictionType = Literal["epsilon", "v_prediction", "sample"]


@dataclass(frozen=True)
class Grid:
    """A respaced diffusion process; arrays of length S, float64, indexed by grid index.

    DDPM Eq. (7), https://arxiv.org/abs/2006.11239: the posterior mean is
    coef_x0 * x0 + coef_xt * x_t, with the smaller ("fixed small") variance.
    """

    timesteps: tuple[int, ...]
    alpha_bar: np.ndarray
    beta: np.ndarray
    coef_x0: np.ndarray
    coef_xt: np.ndarray
    variance: np.ndarray


class NonUniformScheduler(SchedulerMixin, ConfigMixin):
    """Noise schedule of Stable Diffusion with the paper's non-uniform steps.

    Args:
        num_train_timesteps: T.
        beta_start: First beta of the scaled-linear schedule.
        beta_end: Last beta.
        prediction_type: What the network predicts: "epsilon", "v_prediction", or "sample" (x0).
        loop_start: Where refinement starts, see `refinement_indices`.
        timestep_spacing: The grid, "linspace" (`respaced_timesteps`) or "leading".
        start_point: What a run starts from at T: pure "noise", or "lr", the noised latent of the
            low-resolution picture, as CCSR v2 does.
    """

    @register_to_config
    def __init__(
        self,
        num_train_timesteps: int = 1000,
        beta_start: float = 0.00085,
        beta_end: float = 0.012,
        prediction_type: PredictionType = "epsilon",
        loop_start: LoopStart = "paper",
        timestep_spacing: TimestepSpacing = "linspace",
        start_point: StartPoint = "noise",
    ) -> None:
        for name, value, kind in (
            ("prediction_type", prediction_type, PredictionType),
            ("loop_start", loop_start, LoopStart),
            ("timestep_spacing", timestep_spacing, TimestepSpacing),
            ("start_point", start_point, StartPoint),
        ):
            if value not in get_args(kind):
                known = ", ".join(get_args(kind))
                raise ValueError(f"{name} must be one of {known}, got {value!r}")
        self.prediction_type: PredictionType = prediction_type
        self.loop_start: LoopStart = loop_start
        self.timestep_spacing: TimestepSpacing = timestep_spacing
        self.start_point: StartPoint = start_point
        betas = np.linspace(beta_start**0.5, beta_end**0.5, num_train_timesteps) ** 2
        self.alpha_bar = np.cumprod(1 - betas)

    @property
    def last_timestep(self) -> int:
        """The train timestep of T: that of highest noise."""
        return len(self.alpha_bar) - 1

    @functools.lru_cache(maxsize=16)  # noqa: B019 - schedulers live as long as the process
    def grid(self, num_steps: int) -> Grid:
        """The process respaced to `num_steps` timesteps."""
        leading = self.timestep_spacing == "leading"
        spaced = leading_timesteps if leading else respaced_timesteps
        timesteps = spaced(len(self.alpha_bar), num_steps)
        alpha_bar = self.alpha_bar[timesteps]
        previous = np.append(1.0, alpha_bar[:-1])
        beta = 1 - alpha_bar / previous
        return Grid(
            timesteps=tuple(timesteps),
            alpha_bar=alpha_bar,
            beta=beta,
            coef_x0=beta * np.sqrt(previous) / (1 - alpha_bar),
            coef_xt=(1 - previous) * np.sqrt(1 - beta) / (1 - alpha_bar),
            variance=beta * (1 - previous) / (1 - alpha_bar),
        )

    def signal_and_noise(self, t: int | torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """sqrt(alpha_bar_t) and sqrt(1 - alpha_bar_t), float32, shaped [B,1,1,1] or [1,1,1,1]."""
        alpha_bar = torch.from_numpy(self.alpha_bar)[torch.as_tensor(t).cpu()].view(-1, 1, 1, 1)
        return alpha_bar.sqrt().float(), (1 - alpha_bar).sqrt().float()

    def add_noise(
        self, x0: torch.Tensor, noise: torch.Tensor, t: int | torch.Tensor
    ) -> torch.Tensor:
        """x_t [B,C,h,w] from x0 and noise, CCSR Eq. (1); t one timestep or [B]."""
        signal, sigma = (s.to(x0.device) for s in self.signal_and_noise(t))
        return signal * x0.float() + sigma * noise.float()

    def target(self, x0: torch.Tensor, noise: torch.Tensor, t: int | torch.Tensor) -> torch.Tensor:
        """What the network should predict at x_t: the noise, x0, or v (arXiv 2202.00512)."""
        if self.prediction_type == "epsilon":
            return noise
        if self.prediction_type == "sample":
            return x0
        signal, sigma = (s.to(x0.device) for s in self.signal_and_noise(t))
        return signal * noise - sigma * x0

    def x0_hat(
        self, prediction: torch.Tensor, x_t: torch.Tensor, t: int | torch.Tensor
    ) -> torch.Tensor:
        """Estimate of x0 from the network's prediction at x_t; float32."""
        if self.prediction_type == "sample":
            return prediction.float()
        signal, sigma = (s.to(x_t.device) for s in self.signal_and_noise(t))
        prediction, x_t = prediction.float(), x_t.float()
        if self.prediction_type == "epsilon":
            return (x_t - sigma * prediction) / signal
        return signal * x_t - sigma * prediction

    @staticmethod
    def ancestral_step(
        grid: Grid, index: int, x0_hat: torch.Tensor, x_t: torch.Tensor, noise: torch.Tensor
    ) -> torch.Tensor:
        """One step of DDPM Eq. (7) from grid index `index` to the one below; float32."""
        mean = float(grid.coef_x0[index]) * x0_hat + float(grid.coef_xt[index]) * x_t
        return mean + float(np.sqrt(grid.variance[index])) * noise
