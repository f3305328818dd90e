"""The sampler of the paper, Sec. 3.2: extract, jump, refine, truncate.

The network is a function of (x_t, t); condition and tiles are inside. Latents are scaled,
[B,C,h,w], with one seed a batch entry.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch

from ccsr.diffusion.scheduler import NonUniformScheduler
from ccsr.diffusion.timesteps import TimestepPlan
from ccsr.errors import InputError

Predict = Callable[[torch.Tensor, torch.Tensor | int], torch.Tensor]
"""(x_t [B,C,h,w], train timesteps t, one or [B]) -> network output [B,C,h,w]."""

Noise = Callable[[int, Sequence[int]], torch.Tensor]
"""(number of the draw, shape) -> standard normal noise.

Draw 0 makes x_T, draw n the sample after network evaluation n.
"""


@dataclass(frozen=True)
class Step:
    """One network evaluation."""

    evaluation: int
    """Its number, from 1."""
    total: int
    """Evaluations of the whole run."""
    timestep: int
    """Its train timestep."""
    x0_hat: torch.Tensor
    """Its estimate of the clean latent, [B,C,h,w] float32."""


class SeededNoise:
    """Noise for a batch of results, each from a generator of its own.

    A seed stands for a CPU generator: it gives the same numbers alone and in any batch, on any
    device.

    Raises:
        InputError: If draws are requested out of order.
    """

    def __init__(
        self, seeds: Sequence[int | torch.Generator], device: torch.device | str = "cpu"
    ) -> None:
        self.generators = [
            seed if isinstance(seed, torch.Generator) else torch.Generator().manual_seed(seed)
            for seed in seeds
        ]
        self.device = device
        self.drawn = 0

    def __call__(self, draw: int, shape: Sequence[int]) -> torch.Tensor:
        """Noise of `shape` [B,C,h,w], float32."""
        if draw != self.drawn:
            raise InputError(f"draw {self.drawn} is next, got {draw}")
        self.drawn += 1
        noises = [
            torch.randn(tuple(shape[1:]), generator=generator, device=generator.device)
            for generator in self.generators
        ]
        return torch.stack(noises).to(self.device)


def sample(
    predict: Predict,
    scheduler: NonUniformScheduler,
    plan: TimestepPlan,
    noise: Noise,
    shape: Sequence[int],
    made: Sequence[Step] = (),
    start: torch.Tensor | None = None,
    on_step_end: Callable[[Step], torch.Tensor | None] | None = None,
) -> Iterator[Step]:
    """Evaluate the network along a plan; the estimate of the last `Step` is the result.

    The generator is lazy: each evaluation is made when its step is requested.

    Args:
        predict: The network, with its condition.
        scheduler: The noise schedule and the arithmetic of a step.
        plan: The timesteps to visit.
        noise: Source of the random numbers.
        shape: Shape of the latents, [B,C,h,w].
        made: The first steps of an earlier run with the same network, noise and timesteps; their
            estimates are yielded again, without network evaluations.
        start: A latent [1,C,h,w] that is noised to T as x_T, instead of pure noise.
        on_step_end: Called with each step; the estimate that it returns replaces that of the step.
    """
    x_t = noise(0, shape)
    if start is not None:
        x_t = scheduler.add_noise(start, x_t, scheduler.last_timestep)
    total = plan.num_evaluations
    for evaluation, t in enumerate(scheduler.timesteps_of(plan), 1):
        if evaluation <= len(made):
            x0_hat = made[evaluation - 1].x0_hat.to(x_t.device)
        else:
            x0_hat = scheduler.x0_hat(predict(x_t, t), x_t, t)
        step = Step(evaluation, total, t, x0_hat)
        if on_step_end is not None and (changed := on_step_end(step)) is not None:
            step = replace(step, x0_hat=changed)
        yield step
        # Truncate: the result is the last estimate, not a sample below it.
        if evaluation < total:
            x_t = scheduler.next_sample(
                plan, evaluation, step.x0_hat, x_t, noise(evaluation, shape)
            )
