import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler
from safetensors.torch import load_file

from ccsr.diffusion.sampler import SeededNoise, sample
from ccsr.diffusion.scheduler import NonUniformScheduler
from ccsr.diffusion.timesteps import non_uniform_plan, uniform_plan
from tests.parity.recorded import DATA, replayed

pytestmark = pytest.mark.parity


@pytest.fixture(scope="module")
def trace() -> dict[str, torch.Tensor]:
    return load_file(DATA / "sampler_trace.safetensors")


def test_grid_is_that_of_the_authors(trace: dict[str, torch.Tensor]) -> None:
    grid = NonUniformScheduler().grid(45)
    assert list(grid.timesteps) == trace["sched_timesteps"].tolist()
    for ours, theirs in (
        (grid.alpha_bar, "alphas_cumprod"),
        (grid.beta, "betas"),
        (grid.coef_x0, "posterior_mean_coef1"),
        (grid.coef_xt, "posterior_mean_coef2"),
        (grid.variance, "posterior_variance"),
    ):
        np.testing.assert_allclose(ours, trace[f"sched_{theirs}"].numpy(), rtol=1e-9, atol=1e-12)


def test_published_check_values_of_the_grid() -> None:
    grid = NonUniformScheduler().grid(45)
    found = [grid.alpha_bar[15], grid.alpha_bar[16], grid.alpha_bar[29], grid.alpha_bar[44]]
    assert found == pytest.approx([0.521539821, 0.484864636, 0.110976452, 0.004660095], abs=1e-8)
    at_15 = [grid.beta[15], grid.variance[15], grid.coef_x0[15], grid.coef_xt[15]]
    assert at_15 == pytest.approx([0.069004037, 0.063429063, 0.107944008, 0.886926626], abs=1e-9)


def test_sampler_shows_the_network_what_the_authors_sampler_does(
    trace: dict[str, torch.Tensor],
) -> None:
    calls = [(trace[f"net_{i:03d}_x"], trace[f"net_{i:03d}_eps"]) for i in range(16)]
    draws = [trace["noise_000"], *(trace[f"noise_{i:03d}"] for i in range(2, 18))]
    plan = non_uniform_plan(45, 0.6667, 0.3333)
    steps = list(
        sample(
            replayed(calls),
            NonUniformScheduler(),
            plan,
            lambda draw, shape: draws[draw],
            draws[0].shape,
        )
    )
    assert [step.timestep for step in steps][:3] == [999, 658, 636]
    assert steps[-1].timestep == 341
    # What went to the decoder is the last estimate, not a sample below it.
    torch.testing.assert_close(steps[-1].x0_hat, trace["dec_in_00"], rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction", "sample"])
def test_uniform_sampling_equals_the_ancestral_sampler_of_diffusers(prediction_type: str) -> None:
    weight = torch.randn(4, 4, 1, 1, generator=torch.Generator().manual_seed(1)) / 4

    def network(x_t: torch.Tensor, t: int) -> torch.Tensor:
        return torch.nn.functional.conv2d(x_t, weight).tanh() + t / 1000

    shape, count = (1, 4, 8, 8), 7
    noise = SeededNoise([3])
    draws = [noise(i, shape) for i in range(count)]
    steps = list(
        sample(
            network,
            NonUniformScheduler(prediction_type=prediction_type),
            uniform_plan(count),
            lambda draw, _: draws[draw],
            shape,
        )
    )

    theirs = DDPMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        prediction_type=prediction_type,
    )
    timesteps = list(NonUniformScheduler().grid(count).timesteps)[::-1]
    theirs.set_timesteps(timesteps=timesteps)
    x = draws[0]
    for i, t in enumerate(timesteps):
        out = theirs.step(network(x, t), t, x, return_dict=True)
        torch.testing.assert_close(steps[i].x0_hat, out.pred_original_sample, rtol=1e-3, atol=1e-3)
        if i + 1 < count:
            # Its own noise is taken out and ours put in.
            silent = theirs.step(network(x, t), t, x, generator=torch.Generator().manual_seed(0))
            noise_free = silent.prev_sample - _std(theirs, t) * torch.randn(
                shape, generator=torch.Generator().manual_seed(0)
            )
            x = noise_free + _std(theirs, t) * draws[i + 1]


def _std(scheduler: DDPMScheduler, t: int) -> float:
    return float(scheduler._get_variance(t)) ** 0.5


def scheduler_of_v2() -> DDPMScheduler:
    """As the authors of v2 run it, on a grid of six."""
    scheduler = DDPMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        steps_offset=1,
        timestep_spacing="leading",
    )
    scheduler.set_timesteps(6)
    return scheduler


def test_two_evaluations_of_v2_noise_as_the_scheduler_of_diffusers_does() -> None:
    """S = 6, t_max = 2/3, t_min = 1/2: noised input -> estimate at T -> 499, estimate there."""
    theirs = scheduler_of_v2()
    ours = NonUniformScheduler(timestep_spacing="leading", start_point="lr")
    grid = ours.grid(6)
    assert list(grid.timesteps)[::-1] == theirs.timesteps.tolist() == [831, 665, 499, 333, 167, 1]

    def network(x_t: torch.Tensor, t: int) -> torch.Tensor:
        return (0.9 * x_t).tanh() + t / 1000

    shape = (1, 4, 8, 8)
    lr_latent, *draws = torch.randn(3, *shape, generator=torch.Generator().manual_seed(0))
    plan = non_uniform_plan(6, 0.6667, 0.5)
    steps = list(sample(network, ours, plan, lambda draw, _: draws[draw], shape, start=lr_latent))

    assert [step.timestep for step in steps] == [999, 499]
    x = lr_latent
    for step, noise in zip(steps, draws, strict=True):
        t = torch.tensor([step.timestep])
        x_t = theirs.add_noise(x, noise, t)
        signal = theirs.alphas_cumprod[t].sqrt()
        eps = network(x_t, step.timestep)
        x = (x_t - (1 - signal**2).sqrt() * eps) / signal
        torch.testing.assert_close(step.x0_hat, x, rtol=1e-4, atol=1e-4)


def test_steps_of_v2_below_t_max_are_those_of_the_scheduler_of_diffusers() -> None:
    theirs = scheduler_of_v2()
    grid = NonUniformScheduler(timestep_spacing="leading").grid(6)
    x_t, x0_hat = torch.randn(2, 1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    for index, t in enumerate(grid.timesteps):
        alpha_bar = theirs.alphas_cumprod[t]
        eps = (x_t - alpha_bar.sqrt() * x0_hat) / (1 - alpha_bar).sqrt()
        expected = theirs.step(eps, t, x_t, generator=torch.Generator().manual_seed(1)).prev_sample
        drawn = torch.randn(x_t.shape, generator=torch.Generator().manual_seed(1))
        found = NonUniformScheduler.ancestral_step(grid, index, x0_hat, x_t, drawn)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
