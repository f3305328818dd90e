import functools
import itertools
import json
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils.data import Dataset

from tests.tiny import tiny_unet, tiny_vae
from training.config import LoopConfig, MachineConfig
from training.data import Example
from training.draws import Draws
from training.loop import checkpoint_gradients, make_optimizer, rate_factor, train
from training.perceptual import PerceptualLoss

LOOP = LoopConfig(
    max_steps=6,
    batch_size=4,
    learning_rate=1e-2,
    crop_px=64,
    warmup_steps=1,
    log_every=1,
    mixed_precision="no",
)


def test_learning_rate_warms_up_and_ends_at_zero() -> None:
    rates = [rate_factor(step, 10, 100) for step in range(101)]
    assert rates[9] == 1
    assert rates[:10] == sorted(rates[:10])
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[100] == pytest.approx(0, abs=1e-12)


def test_constant_learning_rate_stays_after_the_warm_up() -> None:
    assert [rate_factor(step, 4, 9, "constant") for step in range(9)] == [
        *(0.25, 0.5, 0.75),
        *[1] * 6,
    ]


class Points(Dataset[Example]):
    def __getitem__(self, index: int) -> Example:
        return {"x": torch.tensor([float(index), 1.0]) / 24}


class Fit(nn.Module):
    """Loss module of equal lines through noisy points."""

    def __init__(self, num_lines: int) -> None:
        super().__init__()
        self.line, self.frozen = nn.Linear(2, num_lines), nn.Linear(2, 1).requires_grad_(False)
        nn.init.zeros_(self.line.weight)
        nn.init.zeros_(self.line.bias)

    def forward(self, batch: Example, progress: float, draws: Draws) -> dict[str, torch.Tensor]:
        error = self.line(batch["x"] + 0.1 * draws.normal(batch["x"])) - 1
        return {"loss": error.square().mean()}


class LineObjective:
    def __init__(self, num_lines: int = 1) -> None:
        self.modules, self.dataset = {"fit": Fit(num_lines)}, Points()

    def learning_rate(self, module: str) -> float:
        return 1e-2

    def export(self, folder: Path) -> None:
        raise NotImplementedError


def run(
    folder: Path,
    steps: int = 6,
    machine: MachineConfig | None = None,
    num_lines: int = 1,
    **changes: object,
) -> tuple[list[float], torch.Tensor]:
    """Losses of some steps, and the weights after them."""
    folder.mkdir(exist_ok=True)
    objective = LineObjective(num_lines)
    events = train(objective, LOOP.replace(**changes), folder, machine)
    # Asked for one more, it comes to its end, where the weights become their averages.
    upto = None if steps == LOOP.max_steps else steps
    losses = [event.losses["fit/loss"] for event in itertools.islice(events, upto)]
    events.close()  # type: ignore[attr-defined] - it is a generator
    return losses, objective.modules["fit"].line.weight.detach()


@pytest.mark.parametrize("changes", [{"gradient_accumulation_steps": 4}, {"num_workers": 2}])
def test_batches_are_the_same_however_they_are_made(
    changes: dict[str, int], tmp_path: Path
) -> None:
    expected, _ = run(tmp_path / "a")
    machine = MachineConfig(num_workers=changes.pop("num_workers", 0))
    found, _ = run(tmp_path / "b", machine=machine, **changes)
    assert found == pytest.approx(expected, rel=1e-5)
    assert len(set(expected)) == 6


def test_stopped_run_goes_on_bit_for_bit(tmp_path: Path) -> None:
    expected, weights = run(tmp_path / "a", checkpoint_every=2)
    first, _ = run(tmp_path / "b", steps=3, checkpoint_every=2)
    second, resumed = run(tmp_path / "b", checkpoint_every=2)
    assert first + second == expected
    assert torch.equal(resumed, weights)
    lines = (tmp_path / "b" / "log.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2, 3, 4, 5, 6]


def test_8_bit_adam_learns_and_goes_on_bit_for_bit(tmp_path: Path) -> None:
    # bitsandbytes keeps tensors of fewer than 4096 elements in 32 bits.
    run_8_bit = functools.partial(run, num_lines=2048, optimizer="adamw-8bit", checkpoint_every=2)
    expected, weights = run_8_bit(tmp_path / "a")
    first, _ = run_8_bit(tmp_path / "b", steps=3)
    second, resumed = run_8_bit(tmp_path / "b")
    assert first + second == expected
    assert torch.equal(resumed, weights)
    assert expected[-1] < expected[0]
    state = torch.load(tmp_path / "a" / "checkpoint-0000006" / "state.pt", weights_only=True)
    weight = state["optimizers"]["fit"]["state"][0]["__bnb_optimizer_quant_state__"]
    assert weight["state1"].dtype == weight["state2"].dtype == torch.uint8


def test_run_with_more_steps_than_asked_for_is_refused(tmp_path: Path) -> None:
    run(tmp_path, steps=3)
    with pytest.raises(ValueError, match="has 3 steps already; max_steps must be at least that"):
        run(tmp_path, max_steps=2)


def test_gradient_checkpointing_is_refused_where_no_network_can() -> None:
    networks = nn.ModuleDict({"unet": tiny_unet(False), "vae": tiny_vae("compact")})
    checkpoint_gradients(networks)
    assert networks["unet"].is_gradient_checkpointing
    with pytest.raises(ValueError, match="CompactAutoencoder cannot"):
        checkpoint_gradients(nn.ModuleDict({"vae": tiny_vae("compact")}))


def test_missing_package_of_an_optimizer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "bitsandbytes", None)
    with pytest.raises(ValueError, match="pip install -r requirements-train"):
        make_optimizer([nn.Parameter(torch.zeros(1))], 1e-3, LOOP.replace(optimizer="adamw-8bit"))


def test_perceptual_losses_compute_in_the_number_format_that_is_asked_for(tmp_path: Path) -> None:
    objective = LineObjective()
    loss = PerceptualLoss("alex")
    objective.modules["fit"].perceptual = loss
    next(train(objective, LOOP, tmp_path, MachineConfig(perceptual_dtype="float32")))
    assert loss.number_format == "float32"
