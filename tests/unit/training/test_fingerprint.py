from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from training.config import LoopConfig, PairsConfig
from training.fingerprint import ensure_fingerprint, fingerprint_of, read_fingerprint


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


def test_a_training_may_be_made_longer(tmp_path: Path) -> None:
    loop = LoopConfig(max_steps=10, batch_size=4, learning_rate=1e-3, crop_px=64, warmup_steps=0)

    def fingerprint(loop: LoopConfig) -> dict[str, object]:
        return fingerprint_of({"stage2": {"loop": loop.model_dump()}}, {})

    ensure_fingerprint(tmp_path, fingerprint(loop))
    ensure_fingerprint(tmp_path, fingerprint(loop.replace(max_steps=20, log_every=5)))
    assert read_fingerprint(tmp_path)["stage2.loop"]["max_steps"] == 20
    with pytest.raises(ValueError, match=r"other values of stage2\.loop"):
        ensure_fingerprint(tmp_path, fingerprint(loop.replace(batch_size=8)))
