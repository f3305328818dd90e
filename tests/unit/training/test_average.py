import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from ccsr.inference.weights import CHECKSUMS
from training.average import main as average


def test_average_lies_between_two_models_and_overwrites_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in (("before", 1.0), ("after", 3.0), ("wider", 0.0)):
        (tmp_path / name / "unet").mkdir(parents=True)
        (tmp_path / name / "config.json").write_text(name)
        weights = {"w": torch.full((2 + (name == "wider"),), value, dtype=torch.float16)}
        save_file(weights, tmp_path / name / "unet" / "a.safetensors")
    before, after, wider, output = (
        str(tmp_path / n) for n in ("before", "after", "wider", "output")
    )
    assert average([before, after, output, "--share", "0.25"]) == 0
    found = load_file(tmp_path / "output/unet/a.safetensors")["w"]
    assert (found.dtype, found.tolist()) == (torch.float16, [1.5, 1.5])
    assert (tmp_path / "output/config.json").read_text() == "after"
    assert list(json.loads((tmp_path / "output" / CHECKSUMS).read_text())) == ["unet/a.safetensors"]
    assert average([before, after, output, "--share", "0.5"]) == 2
    assert average([before, wider, output + "2", "--share", "0.5"]) == 2
    assert "of different architectures" in capsys.readouterr().err
    assert average([before, after, output + "2", "--share", "5"]) == 2
    assert "share must be from 0 to 1, got 5.0" in capsys.readouterr().err
    assert not (tmp_path / "output2").exists()
