import pytest
import torch

from ccsr.diffusion.sampler import SeededNoise, sample
from ccsr.diffusion.scheduler import NonUniformScheduler
from ccsr.diffusion.timesteps import TimestepPlan, non_uniform_plan, uniform_plan

SHAPE = (2, 4, 8, 8)


def network(x_t: torch.Tensor, t: int) -> torch.Tensor:
    return 0.5 * x_t + t / 1000


def run(plan: TimestepPlan, seeds: tuple[int, ...] = (0, 1)) -> list[torch.Tensor]:
    shape = (len(seeds), *SHAPE[1:])
    noise = SeededNoise(seeds)
    return [s.x0_hat for s in sample(network, NonUniformScheduler(), plan, noise, shape)]


@pytest.mark.parametrize(
    "plan",
    [non_uniform_plan(45, 2 / 3, 1 / 3), non_uniform_plan(45, 0.5, 0.5), uniform_plan(16)],
    ids=["non-uniform", "extraction only", "uniform"],
)
def test_one_step_is_yielded_for_each_network_evaluation(plan: TimestepPlan) -> None:
    calls: list[int] = []

    def counted(x_t: torch.Tensor, t: int) -> torch.Tensor:
        calls.append(t)
        return network(x_t, t)

    steps = list(sample(counted, NonUniformScheduler(), plan, SeededNoise([0, 1]), SHAPE))
    assert [step.timestep for step in steps] == calls
    assert [step.evaluation for step in steps] == list(range(1, plan.num_evaluations + 1))
    assert {step.total for step in steps} == {plan.num_evaluations}


def test_nothing_is_computed_after_the_caller_stops_asking() -> None:
    calls: list[int] = []

    def counted(x_t: torch.Tensor, t: int) -> torch.Tensor:
        calls.append(t)
        return network(x_t, t)

    plan = non_uniform_plan(45, 2 / 3, 1 / 3)
    steps = sample(counted, NonUniformScheduler(), plan, SeededNoise([0, 1]), SHAPE)
    next(steps)
    next(steps)
    steps.close()
    assert calls == [999, 658]


def test_first_evaluation_is_at_T_on_pure_noise() -> None:
    seen: list[torch.Tensor] = []

    def spy(x_t: torch.Tensor, t: int) -> torch.Tensor:
        seen.append(x_t)
        return network(x_t, t)

    plan = non_uniform_plan(45, 2 / 3, 1 / 3)
    next(sample(spy, NonUniformScheduler(), plan, SeededNoise([0, 1]), SHAPE))
    torch.testing.assert_close(seen[0], SeededNoise([0, 1])(0, SHAPE))


def test_seed_gives_the_same_result_alone_and_in_a_batch() -> None:
    plan = non_uniform_plan(45, 2 / 3, 1 / 3)
    torch.testing.assert_close(run(plan, (7,))[-1][0], run(plan, (3, 7, 9))[-1][1])


def test_different_seeds_differ() -> None:
    first, second = run(non_uniform_plan(45, 2 / 3, 1 / 3))[-1]
    assert not torch.allclose(first, second)


def test_chain_to_a_lower_t_min_begins_with_the_chain_to_a_higher_one() -> None:
    short, long = (run(non_uniform_plan(45, 2 / 3, t_min)) for t_min in (0.5, 0.2))
    assert len(long) > len(short)
    for expected, found in zip(short, long, strict=False):
        torch.testing.assert_close(found, expected)


def test_global_random_state_is_neither_read_nor_changed() -> None:
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    run(non_uniform_plan(6, 0.8, 0.2))
    assert torch.rand(1) == expected


def test_noise_is_drawn_in_order_only() -> None:
    noise = SeededNoise([0])
    noise(0, (1, 2))
    with pytest.raises(ValueError, match="draw 1 is next, got 2"):
        noise(2, (1, 2))
