from pathlib import Path

import pytest
import torch

from ccsr.diffusion.scheduler import NonUniformScheduler


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
