"""The algorithm of the paper: extract, jump, refine, truncate.

The network is a function of (x_t, t), so that the sampler knows neither the condition nor tiles.
Latents are scaled, [B,C,h,w] with one seed a batch entry.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch

from ccsr.diffusion.scheduler import NonUniformScheduler
from ccsr.diffusion.timesteps import TimestepPlan

Predict = Callable[[torch.Tensor, int], torch.Tensor]
"""Network output at x_t [B,C,h,w] and train timestep t."""

Noise = Callable[[int, Sequence[int]], torch.Tensor]
"""Standard normal noise for draw number 0 (x_T), 1 (jump), 2, 3, ... (one a refinement step)."""


@dataclass(frozen=True)
class Step:
    """One network evaluation done."""

    evaluation: int
    """How many are done, from 1."""
    total: int
    timestep: int
    """Train timestep evaluated."""
    x0_hat: torch.Tensor
    """Estimate of the clean latent there, [B,C,h,w] float32."""


class SeededNoise:
    """Noise for a batch of seeds, each from a CPU generator of its own.

    A seed gives the same numbers alone and in any batch, on any device.

    Raises:
        ValueError: If draws are not asked for in their order.
    """

    def __init__(self, seeds: Sequence[int], device: torch.device | str = "cpu") -> None:
        self.generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        self.device = device
        self.drawn = 0

    def __call__(self, draw: int, shape: Sequence[int]) -> torch.Tensor:
        """Noise of `shape` [B,C,h,w], float32."""
        if draw != self.drawn:
            raise ValueError(f"draw {self.drawn} is next, got {draw}")
        self.drawn += 1
        noises = [torch.randn(tuple(shape[1:]), generator=g) for g in self.generators]
        return torch.stack(noises).to(self.device)


def sample(
    predict: Predict,
    scheduler: NonUniformScheduler,
    plan: TimestepPlan,
    noise: Noise,
    shape: Sequence[int],
    made: Sequence[Step] = (),
    start: torch.Tensor | None = None,
) -> Iterator[Step]:
    """Run the network along a plan, one `Step` an evaluation; the last holds the result.

    Nothing is computed ahead: stop asking, and the work stops.

    Args:
        predict: The network, with its condition.
        scheduler: The noise schedule.
        plan: The timesteps to evaluate.
        noise: Where random numbers come from.
        shape: Shape of the latents, [B,C,h,w].
        made: The first steps of an earlier run with the same noise and timesteps; their estimates
            are yielded again, without network evaluations.
        start: A latent [1,C,h,w] that is noised to T to start from, instead of pure noise.
    """
    grid = scheduler.grid(plan.num_steps)

    def step(done: int, x_t: torch.Tensor, t: int) -> Step:
        if done < len(made):
            x0_hat = made[done].x0_hat.to(x_t.device)
        else:
            x0_hat = scheduler.x0_hat(predict(x_t, t), x_t, t)
        return Step(done + 1, plan.num_evaluations, t, x0_hat)

    done, draw = 0, 1
    x_t = noise(0, shape)
    if start is not None:
        x_t = scheduler.add_noise(start, x_t, scheduler.last_timestep)
    if plan.jump is not None:
        # 1. Extract what the condition tells, in one step from pure noise.
        extracted = step(done, x_t, scheduler.last_timestep)
        done += 1
        yield extracted
        # 2. Jump to t_max with fresh noise, CCSR Eq. (1).
        if plan.indices:
            t_max = grid.timesteps[plan.jump]
            x_t = scheduler.add_noise(extracted.x0_hat, noise(draw, shape), t_max)
            draw += 1
    # 3. Refine; 4. truncate: the result is the last estimate, not a sample below it.
    for position, index in enumerate(plan.indices):
        refined = step(done, x_t, grid.timesteps[index])
        done += 1
        yield refined
        if position + 1 < len(plan.indices):
            noise_t = noise(draw, shape)
            x_t = scheduler.ancestral_step(grid, index, refined.x0_hat, x_t, noise_t)
            draw += 1
