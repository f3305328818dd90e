"""Which timesteps are visited, and the arithmetic of one step.

T = 1000 train timesteps, alpha_bar their cumulative signal power. S of them form a uniform grid;
index i of the grid has train timestep s_i. Refinement visits indices j, j-1, ..., k, cut out of the
grid by the fractions t_max and t_min. All arithmetic is in float32 or better.
"""

import dataclasses
import functools
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from diffusers import ConfigMixin, SchedulerMixin
from diffusers.configuration_utils import register_to_config

from ccsr.config import SamplingConfig, StartPoint

LoopStart = Literal["paper", "official"]
TimestepSpacing = Literal["linspace", "leading"]
PredictionType = Literal["epsilon", "v_prediction", "sample"]


def respaced_timesteps(num_train_timesteps: int, num_steps: int) -> list[int]:
    """Uniform grid of `num_steps` timesteps from 0 to T-1, rising.

    The stride is accumulated and rounded half to even, so that the grid is the authors' own.

    Raises:
        ValueError: Unless 1 <= num_steps <= num_train_timesteps.
    """
    if not 1 <= num_steps <= num_train_timesteps:
        raise ValueError(
            f"the grid must have from 1 to {num_train_timesteps} steps, got {num_steps}"
        )
    stride = (num_train_timesteps - 1) / max(num_steps - 1, 1)
    position, timesteps = 0.0, []
    for _ in range(num_steps):
        timesteps.append(round(position))
        position += stride
    return timesteps


def leading_timesteps(num_train_timesteps: int, num_steps: int) -> list[int]:
    """Grid of multiples of T // `num_steps`, rising, each one higher: diffusers' "leading".

    What CCSR v2 is run with; arguments and errors as for `respaced_timesteps`.
    """
    stride = num_train_timesteps // len(respaced_timesteps(num_train_timesteps, num_steps))
    return [min(stride * i + 1, num_train_timesteps - 1) for i in range(num_steps)]


def jump_index(num_steps: int, t_max: float) -> int:
    """Grid index j that the jump from T lands on, in [0, S-1]."""
    return int(np.round(np.float32((num_steps - 1) * t_max)))


def refinement_indices(
    num_steps: int, t_max: float, t_min: float, loop_start: LoopStart = "paper"
) -> list[int]:
    """Grid indices that refinement visits, highest noise first; empty means extraction only.

    From j = round((S-1) t_max) to k = round(S t_min), which gives the step counts of the paper's
    Table 5. The authors' code starts at round(S t_max) - 1, at times one lower: "official".

    Raises:
        ValueError: Unless 0 <= t_min <= t_max <= 1.
    """
    if not 0 <= t_min <= t_max <= 1:
        raise ValueError(f"need 0 <= t_min <= t_max <= 1, got t_min={t_min} and t_max={t_max}")
    if t_min == t_max:
        return []
    official = loop_start == "official"
    start = round(num_steps * t_max) - 1 if official else jump_index(num_steps, t_max)
    return list(range(start, round(num_steps * t_min) - 1, -1))


@dataclass(frozen=True)
class TimestepPlan:
    """Which timesteps a run visits."""

    num_steps: int
    """Size S of the grid that the indices below belong to."""
    jump: int | None
    """Grid index that the jump from T lands on; None for a run without one."""
    indices: tuple[int, ...]
    """Grid indices visited one by one after the jump, highest noise first."""

    @property
    def num_evaluations(self) -> int:
        """Network evaluations of the run; the one at T counts."""
        return (self.jump is not None) + len(self.indices)


def non_uniform_plan(
    num_steps: int, t_max: float, t_min: float, loop_start: LoopStart = "paper"
) -> TimestepPlan:
    """The paper's path: T, then from t_max down to t_min."""
    indices = refinement_indices(num_steps, t_max, t_min, loop_start)
    return TimestepPlan(num_steps, jump_index(num_steps, t_max), tuple(indices))


def uniform_plan(num_evaluations: int) -> TimestepPlan:
    """Ordinary diffusion from T to 0: the paper's baseline V1."""
    if num_evaluations == 1:
        # A grid of one point is t = 0, where pure noise says nothing; stay at T.
        return TimestepPlan(num_steps=1, jump=0, indices=())
    return TimestepPlan(num_evaluations, None, tuple(range(num_evaluations - 1, -1, -1)))


def timestep_plan(config: SamplingConfig, loop_start: LoopStart = "paper") -> TimestepPlan:
    """The path of a setting; V1 gets as many evaluations as the paper's path would take."""
    path = non_uniform_plan(int(config.num_steps), config.t_max, config.t_min, loop_start)
    return uniform_plan(path.num_evaluations) if config.variant == "v1" else path


def ending_at(config: SamplingConfig, evaluation: int) -> SamplingConfig | None:
    """The setting whose result is the estimate that a run of `config` makes there.

    Args:
        config: The run.
        evaluation: Number of the estimate, from 1.

    Returns:
        None for what no setting gives: an estimate on the way of V1, which goes to the end.
    """
    path = timestep_plan(config)
    if evaluation == path.num_evaluations:
        return config
    if path.jump is None:
        return None
    if evaluation == 1:
        return dataclasses.replace(config, t_min=config.t_max)
    t_min = path.indices[evaluation - 2] / path.num_steps
    # A step below t_max, where they would mean no refinement at all.
    return dataclasses.replace(config, t_min=round(min(t_min, config.t_max - 1e-4), 4))


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
        signal, spread = (s.to(x0.device) for s in self.signal_and_noise(t))
        return signal * x0.float() + spread * noise.float()

    def target(self, x0: torch.Tensor, noise: torch.Tensor, t: int | torch.Tensor) -> torch.Tensor:
        """What the network should predict at x_t: the noise, x0, or v (arXiv 2202.00512)."""
        if self.prediction_type == "epsilon":
            return noise
        if self.prediction_type == "sample":
            return x0
        signal, spread = (s.to(x0.device) for s in self.signal_and_noise(t))
        return signal * noise - spread * x0

    def x0_hat(
        self, prediction: torch.Tensor, x_t: torch.Tensor, t: int | torch.Tensor
    ) -> torch.Tensor:
        """Estimate of x0 from the network's prediction at x_t; float32."""
        if self.prediction_type == "sample":
            return prediction.float()
        signal, spread = (s.to(x_t.device) for s in self.signal_and_noise(t))
        prediction, x_t = prediction.float(), x_t.float()
        if self.prediction_type == "epsilon":
            return (x_t - spread * prediction) / signal
        return signal * x_t - spread * prediction

    @staticmethod
    def ancestral_step(
        grid: Grid, index: int, x0_hat: torch.Tensor, x_t: torch.Tensor, noise: torch.Tensor
    ) -> torch.Tensor:
        """One step of DDPM Eq. (7) from grid index `index` to the one below; float32."""
        mean = float(grid.coef_x0[index]) * x0_hat + float(grid.coef_xt[index]) * x_t
        return mean + float(np.sqrt(grid.variance[index])) * noise
