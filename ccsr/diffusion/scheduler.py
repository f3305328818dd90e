"""The noise schedule, the arithmetic of one step, and diffusers' interface to both.

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
from diffusers.utils import BaseOutput
from diffusers.utils.torch_utils import randn_tensor

from ccsr.config import SamplingConfig, StartPoint
from ccsr.diffusion.timesteps import (
    LoopStart,
    TimestepPlan,
    TimestepSpacing,
    leading_timesteps,
    non_uniform_plan,
    respaced_timesteps,
)
from ccsr.errors import InputError

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


@dataclass
class NonUniformSchedulerOutput(BaseOutput):
    """Result of `NonUniformScheduler.step`."""

    prev_sample: torch.Tensor
    """x_t [B,C,h,w] of the next timestep; after the last one the estimate of x0."""
    pred_original_sample: torch.Tensor
    """Estimate of x0 at this timestep, [B,C,h,w]."""


class NonUniformScheduler(SchedulerMixin, ConfigMixin):
    """Noise schedule of Stable Diffusion with the paper's non-uniform steps.

    In a loop of one's own, `x` starts as standard normal noise and ends as the latent to decode:

        scheduler.set_timesteps(45)
        for t in scheduler.timesteps:
            x = scheduler.step(model(x, t), t, x, generator=generator).prev_sample

    With start_point "lr", `x` starts instead as the scaled latent of the enlarged picture, noised
    to T: `scheduler.add_noise(lr_latent, noise, scheduler.last_timestep)`.

    Args:
        num_train_timesteps: T.
        beta_start: First beta of the scaled-linear schedule.
        beta_end: Last beta.
        prediction_type: What the network predicts: "epsilon", "v_prediction", or "sample" (x0).
        loop_start: Where refinement starts, see `refinement_indices`.
        timestep_spacing: The grid, "linspace" (`respaced_timesteps`) or "leading".
        start_point: What a run starts from at T: pure "noise", or "lr", the noised latent of the
            low-resolution picture, as in CCSR v2.
    """

    order = 1
    """Network evaluations a step."""
    init_noise_sigma = 1.0
    """Standard deviation of the noise that a run starts from."""

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
                raise InputError(f"{name} must be one of {known}, got {value!r}")
        self.prediction_type: PredictionType = prediction_type
        self.loop_start: LoopStart = loop_start
        self.timestep_spacing: TimestepSpacing = timestep_spacing
        self.start_point: StartPoint = start_point
        betas = np.linspace(beta_start**0.5, beta_end**0.5, num_train_timesteps) ** 2
        self.alpha_bar = np.cumprod(1 - betas)
        self.plan: TimestepPlan | None = None
        self.timesteps = torch.empty(0, dtype=torch.int64)
        self._steps_done = 0

    def __len__(self) -> int:
        return len(self.alpha_bar)

    @property
    def last_timestep(self) -> int:
        """The train timestep of T, the one of highest noise."""
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

    def timesteps_of(self, plan: TimestepPlan) -> list[int]:
        """The train timestep of every network evaluation of a plan, in order."""
        timesteps = self.grid(plan.num_steps).timesteps
        extraction = [] if plan.jump is None else [self.last_timestep]
        return extraction + [timesteps[index] for index in plan.indices]

    def signal_and_sigma(self, t: int | torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """sqrt(alpha_bar_t) and sqrt(1 - alpha_bar_t), float32, shaped [B,1,1,1] or [1,1,1,1]."""
        alpha_bar = torch.from_numpy(self.alpha_bar)[torch.as_tensor(t).cpu()].view(-1, 1, 1, 1)
        return alpha_bar.sqrt().float(), (1 - alpha_bar).sqrt().float()

    def add_noise(
        self, x0: torch.Tensor, noise: torch.Tensor, t: int | torch.Tensor
    ) -> torch.Tensor:
        """x_t [B,C,h,w] from x0 and noise, CCSR Eq. (1), float32; t one timestep or [B]."""
        signal, sigma = (s.to(x0.device) for s in self.signal_and_sigma(t))
        return signal * x0.float() + sigma * noise.float()

    def target(self, x0: torch.Tensor, noise: torch.Tensor, t: int | torch.Tensor) -> torch.Tensor:
        """What the network should predict at x_t: the noise, x0, or v (arXiv 2202.00512).

        All are [B,C,h,w]; t is one timestep or [B].
        """
        if self.prediction_type == "epsilon":
            return noise
        if self.prediction_type == "sample":
            return x0
        signal, sigma = (s.to(x0.device) for s in self.signal_and_sigma(t))
        return signal * noise - sigma * x0

    def x0_hat(
        self, prediction: torch.Tensor, x_t: torch.Tensor, t: int | torch.Tensor
    ) -> torch.Tensor:
        """Estimate of x0 from the network's prediction at x_t, all [B,C,h,w]; float32.

        t is one timestep or [B].
        """
        if self.prediction_type == "sample":
            return prediction.float()
        signal, sigma = (s.to(x_t.device) for s in self.signal_and_sigma(t))
        prediction, x_t = prediction.float(), x_t.float()
        if self.prediction_type == "epsilon":
            return (x_t - sigma * prediction) / signal
        return signal * x_t - sigma * prediction

    @staticmethod
    def ancestral_step(
        grid: Grid, index: int, x0_hat: torch.Tensor, x_t: torch.Tensor, noise: torch.Tensor
    ) -> torch.Tensor:
        """One step of DDPM Eq. (7) from grid index `index` to the one below; [B,C,h,w] float32."""
        mean = float(grid.coef_x0[index]) * x0_hat + float(grid.coef_xt[index]) * x_t
        return mean + float(np.sqrt(grid.variance[index])) * noise

    def next_sample(
        self,
        plan: TimestepPlan,
        evaluation: int,
        x0_hat: torch.Tensor,
        x_t: torch.Tensor,
        noise: torch.Tensor,
    ) -> torch.Tensor:
        """The input of the next network evaluation: by the jump to t_max, or an ancestral step.

        Args:
            plan: The plan of the run.
            evaluation: Number of the evaluation at x_t, from 1; not the last.
            x0_hat: Its estimate of x0, [B,C,h,w].
            x_t: Its input, [B,C,h,w] float32.
            noise: Standard normal, [B,C,h,w].
        """
        grid = self.grid(plan.num_steps)
        if plan.jump is not None and evaluation == 1:
            return self.add_noise(x0_hat, noise, grid.timesteps[plan.jump])
        index = plan.indices[evaluation - 1 - (plan.jump is not None)]
        return self.ancestral_step(grid, index, x0_hat, x_t, noise)

    def set_timesteps(
        self,
        num_inference_steps: int,
        device: str | torch.device | None = None,
        t_max: float | None = None,
        t_min: float | None = None,
    ) -> None:
        """Begin a run over the paper's non-uniform timesteps.

        Args:
            num_inference_steps: Size S of the uniform grid over the whole process, of which only
                the part between t_max and t_min is visited.
            device: Device of `timesteps`.
            t_max: Where refinement starts, a fraction of T; by default that of `SamplingConfig`.
            t_min: Where it ends; equal to t_max for extraction only. By default that of
                `SamplingConfig`.

        Raises:
            InputError: Unless 0 <= t_min <= t_max <= 1 and S is from 1 to T.
        """
        default = SamplingConfig()
        t_max = default.t_max if t_max is None else t_max
        t_min = default.t_min if t_min is None else t_min
        plan = non_uniform_plan(num_inference_steps, t_max, t_min, self.loop_start)
        self.set_plan(plan, device)

    def set_plan(self, plan: TimestepPlan, device: str | torch.device | None = None) -> None:
        """Begin a run over the timesteps of a plan, for example of `uniform_plan`."""
        self.plan, self._steps_done = plan, 0
        self.timesteps = torch.tensor(self.timesteps_of(plan), device=device)

    def scale_model_input(
        self, sample: torch.Tensor, timestep: int | torch.Tensor | None = None
    ) -> torch.Tensor:
        """`sample` itself: the network takes x_t unscaled."""
        return sample

    def step(
        self,
        model_output: torch.Tensor,
        timestep: int | torch.Tensor,
        sample: torch.Tensor,
        generator: torch.Generator | list[torch.Generator] | None = None,
        return_dict: bool = True,
    ) -> NonUniformSchedulerOutput | tuple[torch.Tensor, torch.Tensor]:
        """One step of the run that `set_timesteps` began: extraction and jump, or refinement.

        Args:
            model_output: The network's prediction at x_t, [B,C,h,w].
            timestep: The next of `timesteps`.
            sample: x_t, [B,C,h,w].
            generator: Of the noise; a list has one for each entry of the batch.
            return_dict: Return a tuple of the two tensors if false.

        Returns:
            x_t of the next timestep, after the last one the estimate of x0, and this estimate; in
            the number format of `sample`.

        Raises:
            InputError: If `timestep` is not the next one of the run.
        """
        evaluation, plan = self._next_evaluation(int(timestep)), self.plan
        assert plan is not None
        x_t = sample.float()
        x0_hat = prev_sample = self.x0_hat(model_output, x_t, timestep)
        if evaluation < plan.num_evaluations:
            noise = randn_tensor(x_t.shape, generator, x_t.device, torch.float32)
            prev_sample = self.next_sample(plan, evaluation, x0_hat, x_t, noise)
        self._steps_done = evaluation
        output = NonUniformSchedulerOutput(prev_sample.to(sample.dtype), x0_hat.to(sample.dtype))
        return output if return_dict else output.to_tuple()

    def _next_evaluation(self, timestep: int) -> int:
        """The number of the next evaluation, from 1, which must be at `timestep`."""
        if self._steps_done == len(self.timesteps):
            raise InputError("there is no step to do; call set_timesteps before each run")
        expected = int(self.timesteps[self._steps_done])
        if timestep != expected:
            raise InputError(
                f"the next step of this run is at timestep {expected}, got {timestep}; go through "
                "`timesteps` in order, and call set_timesteps before each run"
            )
        return self._steps_done + 1
