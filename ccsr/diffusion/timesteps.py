"""Which timesteps a run visits.

T = 1000 train timesteps. S of them form a uniform grid; index i of the grid has train timestep s_i,
and index S-1 has the highest noise. A run evaluates the network at T, jumps to grid index j, and
refines at the indices j, j-1, ..., k, which the fractions t_max and t_min cut out of the grid.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from ccsr.config import SamplingConfig
from ccsr.errors import InputError

LoopStart = Literal["paper", "official"]
TimestepSpacing = Literal["linspace", "leading"]


def respaced_timesteps(num_train_timesteps: int, num_steps: int) -> list[int]:
    """Uniform grid of `num_steps` timesteps from 0 to T-1, ascending.

    The stride is accumulated and rounded half to even, as in the authors' code, so that the grids
    are equal.

    Raises:
        InputError: Unless 1 <= num_steps <= num_train_timesteps.
    """
    if not 1 <= num_steps <= num_train_timesteps:
        raise InputError(
            f"the grid must have from 1 to {num_train_timesteps} steps, got {num_steps}"
        )
    stride = (num_train_timesteps - 1) / max(num_steps - 1, 1)
    position, timesteps = 0.0, []
    for _ in range(num_steps):
        timesteps.append(round(position))
        position += stride
    return timesteps


def leading_timesteps(num_train_timesteps: int, num_steps: int) -> list[int]:
    """Grid of 1 + i (T // S) for i from 0 to S-1, ascending: diffusers' "leading" with offset 1.

    The grid of CCSR v2. Arguments and errors are those of `respaced_timesteps`.
    """
    stride = num_train_timesteps // len(respaced_timesteps(num_train_timesteps, num_steps))
    return [min(stride * i + 1, num_train_timesteps - 1) for i in range(num_steps)]


def jump_index(num_steps: int, t_max: float) -> int:
    """Grid index j, in [0, S-1], at which the jump from T lands."""
    return int(np.round(np.float32((num_steps - 1) * t_max)))


def refinement_indices(
    num_steps: int, t_max: float, t_min: float, loop_start: LoopStart = "paper"
) -> list[int]:
    """Grid indices of the refinement steps, descending; empty for extraction only.

    They run from j = round((S-1) t_max) to k = round(S t_min), which gives the step counts of the
    paper's Table 5. With loop_start "official" they start at round(S t_max) - 1, as the authors'
    code does, which is one lower for some t_max.

    Raises:
        InputError: Unless 0 <= t_min <= t_max <= 1.
    """
    if not 0 <= t_min <= t_max <= 1:
        raise InputError(f"need 0 <= t_min <= t_max <= 1, got t_min={t_min} and t_max={t_max}")
    if t_min == t_max:
        return []
    official = loop_start == "official"
    start = round(num_steps * t_max) - 1 if official else jump_index(num_steps, t_max)
    return list(range(start, round(num_steps * t_min) - 1, -1))


@dataclass(frozen=True)
class TimestepPlan:
    """The timesteps that a run visits."""

    num_steps: int
    """Size S of the grid to which the indices below belong."""
    jump: int | None
    """Grid index at which the jump from T lands; None for a run without extraction and jump."""
    indices: tuple[int, ...]
    """Grid indices of the refinement steps, descending."""

    @property
    def num_evaluations(self) -> int:
        """Network evaluations (NFE) of the run, the extraction at T included."""
        return (self.jump is not None) + len(self.indices)


def non_uniform_plan(
    num_steps: int, t_max: float, t_min: float, loop_start: LoopStart = "paper"
) -> TimestepPlan:
    """The paper's non-uniform timesteps: T, then from t_max down to t_min."""
    indices = refinement_indices(num_steps, t_max, t_min, loop_start)
    return TimestepPlan(num_steps, jump_index(num_steps, t_max), tuple(indices))


def uniform_plan(num_evaluations: int) -> TimestepPlan:
    """Ordinary diffusion from T to 0: the paper's baseline V1."""
    if num_evaluations == 1:
        # A grid of one point is t = 0, where the network cannot work on pure noise; use T.
        return TimestepPlan(num_steps=1, jump=0, indices=())
    return TimestepPlan(num_evaluations, None, tuple(range(num_evaluations - 1, -1, -1)))


def timestep_plan(config: SamplingConfig, loop_start: LoopStart = "paper") -> TimestepPlan:
    """The plan of a setting; V1 gets as many evaluations as the non-uniform plan has."""
    plan = non_uniform_plan(config.num_steps, config.t_max, config.t_min, loop_start)
    return uniform_plan(plan.num_evaluations) if config.variant == "v1" else plan


def ending_at(
    config: SamplingConfig, evaluation: int, loop_start: LoopStart
) -> SamplingConfig | None:
    """The setting whose result is one estimate of a run of `config`.

    Args:
        config: The setting of the run.
        evaluation: Number of the network evaluation that makes the estimate, from 1.
        loop_start: That of the model's scheduler.

    Returns:
        The setting, or None if there is none: V1 always runs to the end of its grid.
    """
    plan = timestep_plan(config, loop_start)
    if evaluation == plan.num_evaluations:
        return config
    if plan.jump is None:
        return None
    if evaluation == 1:
        return config.replace(t_min=config.t_max)
    t_min = plan.indices[evaluation - 2] / plan.num_steps
    # Below t_max, because equal fractions mean no refinement at all.
    return config.replace(t_min=round(min(t_min, config.t_max - 1e-4), 4))
