from collections.abc import Callable

import pytest
import torch

from ccsr.diffusion.sampler import SeededNoise
from ccsr.diffusion.scheduler import NonUniformScheduler
from ccsr.models.autoencoder import encode
from tests.tiny import tiny_vae
from training.config import LoopConfig, PairsConfig, Stage2Config
from training.latent_cache import roll_outs


class SilentDenoiser:
    """Predicts no noise, and keeps what it is shown."""

    def __init__(self) -> None:
        self.inputs: list[torch.Tensor] = []

    def features(self, lr_latent: torch.Tensor) -> torch.Tensor:
        return lr_latent

    def predictor(self, features: torch.Tensor) -> Callable[..., torch.Tensor]:
        def predict(x_t: torch.Tensor, t: int) -> torch.Tensor:
            self.inputs.append(x_t)
            return torch.zeros_like(x_t)

        return predict


@pytest.mark.parametrize("official", [False, True])
@torch.no_grad()
def test_roll_outs_start_from_noise_or_like_the_authors_from_the_true_latent(
    official: bool,
) -> None:
    loop = LoopConfig(max_steps=1, batch_size=2, learning_rate=1e-3, crop_px=64, warmup_steps=0)
    config = Stage2Config(loop=loop, rollouts=PairsConfig(count=2), num_steps=6)
    scheduler, vae, denoiser = NonUniformScheduler(), tiny_vae("kl"), SilentDenoiser()
    compute = roll_outs(vae, denoiser, scheduler, config, official=official)  # type: ignore[arg-type]
    examples = [{"hr": torch.rand(3, 64, 64), "lr": torch.rand(3, 16, 16)} for _ in range(2)]
    made = compute(examples, [7, 8])

    hr_latent = encode(vae, torch.stack([example["hr"] for example in examples]))
    torch.testing.assert_close(made["hr_latent"], hr_latent.half())
    noise = SeededNoise([7, 8])
    first, second = (noise(draw, hr_latent.shape) for draw in range(2))
    x_T = scheduler.add_noise(hr_latent, first, 999) if official else first
    torch.testing.assert_close(denoiser.inputs[0], x_T)
    x0_hat_T = scheduler.x0_hat(torch.zeros_like(x_T), x_T, 999)
    of_jump = first if official else second
    t_max = scheduler.grid(6).timesteps[3]
    expected = scheduler.add_noise(x0_hat_T, of_jump, t_max)
    torch.testing.assert_close(denoiser.inputs[1], expected)
