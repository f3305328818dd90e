import numpy as np
import pytest

from ccsr.config import SamplingConfig
from ccsr.diffusion.scheduler import NonUniformScheduler
from ccsr.diffusion.timesteps import (
    LoopStart,
    ending_at,
    jump_index,
    leading_timesteps,
    non_uniform_plan,
    refinement_indices,
    respaced_timesteps,
    timestep_plan,
    uniform_plan,
)


@pytest.mark.parametrize(
    ("t_max", "t_min", "steps"),
    [
        pytest.param(2 / 3, 1 / 3, 15, id="CCSR"),
        pytest.param(1 / 2, 1 / 3, 8, id="A1"),
        pytest.param(2 / 3, 1 / 2, 8, id="A2"),
        pytest.param(4 / 5, 1 / 3, 21, id="A3"),
        pytest.param(2 / 3, 1 / 5, 21, id="A4"),
    ],
)
def test_step_counts_of_table_5_of_the_paper(t_max: float, t_min: float, steps: int) -> None:
    plan = non_uniform_plan(45, t_max, t_min)
    assert len(plan.indices) == steps
    assert plan.num_evaluations == steps + 1


def test_defaults_make_16_evaluations_from_t_658_to_341() -> None:
    plan = timestep_plan(SamplingConfig())
    timesteps = NonUniformScheduler().grid(45).timesteps
    assert (plan.num_evaluations, timesteps[plan.indices[0]], timesteps[plan.indices[-1]]) == (
        16,
        658,
        341,
    )


def test_official_loop_start_is_one_lower_where_the_authors_code_is() -> None:
    assert refinement_indices(45, 0.5, 0.3333, "official")[0] == 21
    assert refinement_indices(45, 0.5, 0.3333)[0] == 22
    assert jump_index(45, 0.5) == 22


def test_t_min_of_0_runs_to_the_clean_end_of_the_grid() -> None:
    assert refinement_indices(45, 0.6667, 0.0)[-1] == 0


def test_equal_t_max_and_t_min_extract_only() -> None:
    plan = non_uniform_plan(45, 0.5, 0.5)
    assert (plan.indices, plan.num_evaluations) == ((), 1)


@pytest.mark.parametrize(("t_max", "t_min"), [(0.6667, 0.3333), (1.0, 0.0), (0.2, 0.1)])
def test_grid_of_one_step_works(t_max: float, t_min: float) -> None:
    plan = non_uniform_plan(1, t_max, t_min)
    assert plan.jump == 0
    assert plan.indices in ((), (0,))


@pytest.mark.parametrize(("t_max", "t_min"), [(0.3, 0.4), (1.1, 0.5), (0.5, -0.1)])
def test_fractions_out_of_order_or_range_are_refused(t_max: float, t_min: float) -> None:
    with pytest.raises(ValueError, match="need 0 <= t_min <= t_max <= 1"):
        refinement_indices(45, t_max, t_min)


@pytest.mark.parametrize("num_steps", [1, 2, 6, 15, 45, 200, 1000])
def test_every_setting_visits_falling_indices_inside_the_grid(num_steps: int) -> None:
    for t_max in np.linspace(0, 1, 11):
        for t_min in np.linspace(0, t_max, 7):
            for loop_start in ("paper", "official"):
                indices = refinement_indices(num_steps, t_max, t_min, loop_start)
                assert indices == sorted(indices, reverse=True)
                assert all(0 <= i < num_steps for i in indices)


def test_v1_takes_as_many_evaluations_over_the_whole_process() -> None:
    config = SamplingConfig(variant="v1")
    plan = timestep_plan(config)
    timesteps = NonUniformScheduler().grid(plan.num_steps).timesteps
    assert plan.jump is None
    assert plan.num_evaluations == timestep_plan(SamplingConfig()).num_evaluations
    assert (timesteps[plan.indices[0]], timesteps[plan.indices[-1]]) == (999, 0)


def test_v1_of_one_evaluation_stays_at_the_noisy_end() -> None:
    assert uniform_plan(1).num_evaluations == 1
    assert uniform_plan(1).jump is not None


def test_grid_needs_a_possible_size() -> None:
    assert respaced_timesteps(1000, 1000) == list(range(1000))
    for size in (0, 1001):
        with pytest.raises(ValueError, match="from 1 to 1000 steps"):
            respaced_timesteps(1000, size)


@pytest.mark.parametrize("num_steps", [1, 2, 3, 6, 45, 200, 1000])
def test_leading_grid_rises_within_the_process(num_steps: int) -> None:
    timesteps = leading_timesteps(1000, num_steps)
    assert timesteps[0] == 1
    assert timesteps[-1] <= 999
    assert timesteps == sorted(timesteps)
    assert len(timesteps) == num_steps


@pytest.mark.parametrize("loop_start", ["paper", "official"])
@pytest.mark.parametrize("num_steps", [1, 2, 3, 15, 45, 200])
@pytest.mark.parametrize("t_max", [0.0, 0.26, 0.5, 0.6667, 1.0])
@pytest.mark.parametrize("t_min", [0.0, 0.2, 0.3333])
def test_every_estimate_is_the_result_of_a_setting(
    num_steps: int, t_max: float, t_min: float, loop_start: LoopStart
) -> None:
    config = SamplingConfig(num_steps=num_steps, t_max=t_max, t_min=min(t_min, t_max))
    whole = timestep_plan(config, loop_start)
    for evaluation in range(1, whole.num_evaluations + 1):
        ending = ending_at(config, evaluation, loop_start)
        assert ending is not None
        plan = timestep_plan(ending, loop_start)
        assert plan.num_evaluations == evaluation
        assert plan.indices == whole.indices[: evaluation - 1]


def test_only_the_last_estimate_of_v1_is_a_result() -> None:
    config = SamplingConfig(variant="v1")
    last = timestep_plan(config).num_evaluations
    assert ending_at(config, last, "paper") == config
    assert ending_at(config, last - 1, "paper") is None
