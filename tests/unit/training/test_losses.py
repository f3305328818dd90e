import pytest
import torch

from ccsr.diffusion.scheduler import NonUniformScheduler
from training.losses import adaptive_weight, hinge_loss, jump_losses


def test_l_t_max_is_of_the_estimate_at_t_max_that_starts_from_the_estimate_at_t() -> None:
    scheduler, x0 = NonUniformScheduler(prediction_type="sample"), torch.rand(2, 3, 4, 4)
    estimate_at_T = torch.full_like(x0, 0.5)
    noises = torch.randn(2, *x0.shape)
    inputs: list[torch.Tensor] = []

    def predict(x_t: torch.Tensor, t: torch.Tensor | int) -> torch.Tensor:
        inputs.append(x_t)
        return (estimate_at_T, x0 + 1)[len(inputs) - 1]

    found = jump_losses(predict, scheduler, x0, 667, *noises)

    expected = [scheduler.add_noise(x0, noises[0], 999),
                scheduler.add_noise(estimate_at_T, noises[1], 667)]  # fmt: skip
    for x_t, expected_x_t in zip(inputs, expected, strict=True):
        torch.testing.assert_close(x_t, expected_x_t)
    assert float(found.l_T) == pytest.approx(float((x0 - 0.5).square().mean()))
    assert float(found.l_t_max) == pytest.approx(1)
    # It predicts x0, and the x0 that was noised to t_max is the estimate at T.
    assert float(found.l_noise_t_max) == pytest.approx(float((x0 + 0.5).square().mean()))
    torch.testing.assert_close(found.x0_hat_t_max, x0 + 1)


def test_gradients_of_l_t_max_pass_through_the_estimate_at_t() -> None:
    scheduler, x0 = NonUniformScheduler(prediction_type="sample"), torch.rand(1, 3, 4, 4)
    bias_at_T = torch.zeros(1, requires_grad=True)

    def predict(x_t: torch.Tensor, t: torch.Tensor | int) -> torch.Tensor:
        at_T = torch.as_tensor(t).max() == scheduler.last_timestep
        return x_t + bias_at_T if at_T else x_t

    found = jump_losses(predict, scheduler, x0, 667, *torch.randn(2, *x0.shape))
    (gradient,) = torch.autograd.grad(found.l_t_max, bias_at_T)
    assert gradient.abs() > 0


def test_hinge_loss_is_0_for_logits_beyond_the_margin_and_3_for_the_reverse() -> None:
    right, wrong = torch.full((4,), 2.0), torch.full((4,), -2.0)
    assert hinge_loss(real=right, fake=-right) == 0
    assert hinge_loss(real=wrong, fake=-wrong) == 3


def test_adaptive_weight_is_the_ratio_of_the_gradients() -> None:
    small, large = torch.full((4,), 0.5), torch.full((4,), 2.0)
    assert float(adaptive_weight(large, small)) == pytest.approx(4, rel=1e-3)
    assert float(adaptive_weight(large, torch.zeros(4))) == 1e4
