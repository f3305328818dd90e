from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from training.config import (
    PairsConfig,
)
from training.fingerprint import ensure_fingerprint, fingerprint_of


def test_folder_of_another_fingerprint_is_refused(tmp_path: Path) -> None:
    networks, folder = tmp_path / "networks", tmp_path / "run"
    networks.mkdir()
    save_file({"x": torch.zeros(1)}, networks / "a.safetensors")
    pairs = {"pairs": PairsConfig(count=3)}
    ensure_fingerprint(folder, fingerprint_of(pairs, {"uniform": networks}))
    ensure_fingerprint(folder, fingerprint_of(pairs, {"uniform": networks}))
    with pytest.raises(ValueError, match=r"other values of pairs.count, pairs.seed; give another"):
        ensure_fingerprint(
            folder, fingerprint_of({"pairs": PairsConfig(count=4, seed=1)}, {"uniform": networks})
        )
    save_file({"x": torch.ones(1)}, networks / "a.safetensors")
    with pytest.raises(ValueError, match="other values of networks of uniform;"):
        ensure_fingerprint(folder, fingerprint_of(pairs, {"uniform": networks}))
