import pytest
import torch
from safetensors.torch import load_file

from ccsr.diffusion.sampler import sample
from ccsr.diffusion.scheduler import NonUniformScheduler
from ccsr.diffusion.timesteps import non_uniform_plan
from tests.parity.recorded import DATA, replayed
from training.latent_cache import reused_in_jump
from training.losses import jump_losses, l_diff

pytestmark = pytest.mark.parity


def test_losses_of_stage_1_are_those_of_the_authors() -> None:
    recorded = load_file(DATA / "losses_stage1.safetensors")
    calls = [(recorded[f"net_{i:03d}_x"], recorded[f"net_{i:03d}_eps"]) for i in range(3)]
    predict, scheduler, x0 = replayed(calls), NonUniformScheduler(), recorded["x_start"]
    noises = [recorded[f"noise_{i:03d}"] for i in range(3)]
    denoising = l_diff(predict, scheduler, x0, torch.tensor([120, 530]), noises[0])
    jump = jump_losses(predict, scheduler, x0, 667, noises[1], noises[2])
    assert float(denoising) == pytest.approx(1.3275878429412842, rel=1e-4)
    terms = {
        "l_T": 276.49853515625,
        "l_t_max": 302.02508544921875,
        "l_noise_t_max": 1.3362081050872803,
    }
    for name, expected in terms.items():
        assert float(getattr(jump, name)) == pytest.approx(expected, rel=1e-4), name


def test_roll_out_of_stage_2_is_that_of_the_authors() -> None:
    """From the noised true latent, whose noise is used again in the jump."""
    recorded = load_file(DATA / "rollout_stage2.safetensors")
    calls = [(recorded[f"net_{i:03d}_x"], recorded[f"net_{i:03d}_eps"]) for i in range(16)]
    scheduler, x0 = NonUniformScheduler(loop_start="official"), recorded["x_start"]
    plan = non_uniform_plan(45, 0.6667, 0.3333, scheduler.loop_start)
    noise = reused_in_jump(lambda draw, _: recorded[f"noise_{draw:03d}"])
    steps = list(sample(replayed(calls), scheduler, plan, noise, x0.shape, start=x0))
    assert [step.timestep for step in steps] == [
        *(999, 658, 636, 613, 590, 568, 545, 522, 499),
        *(477, 454, 431, 409, 386, 363, 341),
    ]
