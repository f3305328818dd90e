import pytest
import torch
from safetensors.torch import load_file

from ccsr.diffusion.scheduler import NonUniformScheduler
from tests.parity.recorded import DATA, replayed
from training.losses import Stage1Noise, structure_refinement_loss

pytestmark = pytest.mark.parity


def test_structure_refinement_loss_is_that_of_the_authors() -> None:
    recorded = load_file(DATA / "losses_stage1.safetensors")
    calls = [(recorded[f"net_{i:03d}_x"], recorded[f"net_{i:03d}_eps"]) for i in range(3)]
    found = structure_refinement_loss(
        replayed(calls),
        NonUniformScheduler(),
        recorded["x_start"],
        t=torch.tensor([120, 530]),
        t_max=667,
        noise=Stage1Noise(*(recorded[f"noise_{i:03d}"] for i in range(3))),
    )
    terms = {"l_diff": 1.3275878429412842, "l_T": 276.49853515625, "l_t_max": 302.02508544921875}
    for name, expected in terms.items():
        assert float(getattr(found, name)) == pytest.approx(expected, rel=1e-4), name
    assert float(found.total) == pytest.approx(sum(terms.values()), rel=1e-4)
