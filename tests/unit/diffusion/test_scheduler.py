from pathlib import Path

import pytest
import torch
from diffusers.utils.torch_utils import randn_tensor

from ccsr.config import SamplingConfig
from ccsr.diffusion.sampler import SeededNoise, sample
from ccsr.diffusion.scheduler import NonUniformScheduler, NonUniformSchedulerOutput
from ccsr.diffusion.timesteps import (
    TimestepPlan,
    non_uniform_plan,
    timestep_plan,
    uniform_plan,
)

Generators = torch.Generator | list[torch.Generator]
Outputs = list[NonUniformSchedulerOutput]


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction", "sample"])
def test_x0_comes_back_from_a_perfect_prediction(prediction_type: str) -> None:
    scheduler = NonUniformScheduler(prediction_type=prediction_type)
    x0, noise = torch.randn(2, 3, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    t = torch.tensor([0, 500, 999])
    x_t = scheduler.add_noise(x0, noise, t)
    target = scheduler.target(x0, noise, t)
    torch.testing.assert_close(scheduler.x0_hat(target, x_t, t), x0, rtol=1e-4, atol=1e-4)


def test_arithmetic_is_float32_whatever_the_network_gives() -> None:
    scheduler = NonUniformScheduler()
    x = torch.ones(1, 1, 2, 2, dtype=torch.bfloat16)
    assert scheduler.x0_hat(x, x, 500).dtype == torch.float32
    assert scheduler.add_noise(x, x, 500).dtype == torch.float32


@pytest.mark.parametrize(
    "wrong",
    [
        {"prediction_type": "score"},
        {"loop_start": "middle"},
        {"timestep_spacing": "trailing"},
        {"start_point": "hr"},
    ],
    ids=lambda w: next(iter(w)),
)
def test_unknown_settings_are_refused(wrong: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        NonUniformScheduler(**wrong)


def test_config_survives_saving(tmp_path: Path) -> None:
    settings = {
        "prediction_type": "v_prediction",
        "loop_start": "official",
        "timestep_spacing": "leading",
        "start_point": "lr",
    }
    NonUniformScheduler(**settings).save_pretrained(str(tmp_path))
    again = NonUniformScheduler.from_pretrained(str(tmp_path))
    assert {name: getattr(again, name) for name in settings} == settings
    assert again.config.num_train_timesteps == len(again) == 1000


def network(x_t: torch.Tensor, t: int | torch.Tensor) -> torch.Tensor:
    return 0.5 * x_t.tanh() + int(t) / 1000


def by_steps(scheduler: NonUniformScheduler, x_T: torch.Tensor, generator: Generators) -> Outputs:
    """What a plain loop over `timesteps` gives, one output a step."""
    x, outputs = x_T, []
    for t in scheduler.timesteps:
        model_input = scheduler.scale_model_input(x, t)
        output = scheduler.step(network(model_input, t), t, x, generator=generator)
        assert isinstance(output, NonUniformSchedulerOutput)
        x = output.prev_sample
        outputs.append(output)
    return outputs


PLANS = {
    "ccsr": non_uniform_plan(45, 2 / 3, 1 / 3),
    "from T down to 0": non_uniform_plan(7, 1.0, 0.0),
    "extraction only": non_uniform_plan(45, 0.5, 0.5),
    "official start": non_uniform_plan(45, 0.5, 1 / 3, "official"),
    "uniform": uniform_plan(7),
    "uniform, one evaluation": uniform_plan(1),
}


@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction", "sample"])
def test_loop_over_the_timesteps_is_the_sampler(plan: TimestepPlan, prediction_type: str) -> None:
    scheduler, shape = NonUniformScheduler(prediction_type=prediction_type), (2, 4, 8, 8)
    expected = list(sample(network, scheduler, plan, SeededNoise((3, 5)), shape))
    generators = [torch.Generator().manual_seed(seed) for seed in (3, 5)]
    x_T = scheduler.init_noise_sigma * randn_tensor(shape, generator=generators)
    scheduler.set_plan(plan)
    outputs = by_steps(scheduler, x_T, generators)
    assert scheduler.timesteps.tolist() == [step.timestep for step in expected]
    for output, step in zip(outputs, expected, strict=True):
        assert torch.equal(output.pred_original_sample, step.x0_hat)
    assert torch.equal(outputs[-1].prev_sample, expected[-1].x0_hat)


def test_loop_from_the_noised_picture_is_the_sampler() -> None:
    scheduler = NonUniformScheduler(timestep_spacing="leading", start_point="lr")
    lr_latent, shape = torch.randn(1, 4, 8, 8), (1, 4, 8, 8)
    plan = non_uniform_plan(6, 2 / 3, 0.0)
    *_, last = sample(network, scheduler, plan, SeededNoise((3,)), shape, start=lr_latent)
    generator = torch.Generator().manual_seed(3)
    scheduler.set_timesteps(6, t_max=2 / 3, t_min=0.0)
    noise = torch.randn(shape, generator=generator)
    x_T = scheduler.add_noise(lr_latent, noise, scheduler.timesteps[0])
    assert torch.equal(by_steps(scheduler, x_T, generator)[-1].prev_sample, last.x0_hat)


def test_timesteps_are_by_default_those_of_the_default_setting() -> None:
    scheduler = NonUniformScheduler()
    scheduler.set_timesteps(45)
    assert scheduler.plan == timestep_plan(SamplingConfig())
    assert scheduler.timesteps[0] == 999
    assert len(scheduler.timesteps) == 16
    scheduler.set_timesteps(45, t_max=0.5, t_min=0.5)
    assert scheduler.timesteps.tolist() == [999]


def test_timesteps_begin_where_the_loop_of_the_model_starts() -> None:
    scheduler = NonUniformScheduler(loop_start="official")
    scheduler.set_timesteps(45, t_max=0.5, t_min=0.3333)
    assert scheduler.plan == non_uniform_plan(45, 0.5, 0.3333, "official")


def test_step_has_the_number_format_of_the_sample_and_may_return_a_tuple() -> None:
    scheduler, x = NonUniformScheduler(), torch.randn(1, 4, 8, 8)
    scheduler.set_timesteps(45)
    prev_sample, x0_hat = scheduler.step(x, 999, x.bfloat16(), return_dict=False)
    assert (prev_sample.dtype, x0_hat.dtype) == (torch.bfloat16, torch.bfloat16)


def test_steps_out_of_order_are_refused() -> None:
    scheduler, x = NonUniformScheduler(), torch.zeros(1, 4, 8, 8)
    with pytest.raises(ValueError, match="call set_timesteps"):
        scheduler.step(x, 999, x)
    scheduler.set_timesteps(45)
    scheduler.step(x, 999, x)
    with pytest.raises(ValueError, match="at timestep 658, got 636"):
        scheduler.step(x, 636, x)
    scheduler.set_timesteps(45)
    by_steps(scheduler, x, torch.Generator())
    with pytest.raises(ValueError, match="no step to do"):
        scheduler.step(x, 341, x)
