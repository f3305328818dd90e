from pathlib import Path

import pytest

from training.config import LoopConfig
from training.processes import join_processes, locked, make_accelerator

LOOP = LoopConfig(max_steps=1, batch_size=4, learning_rate=1e-3, crop_px=64, warmup_steps=0)


@pytest.mark.parametrize(
    "environment",
    [
        {"WORLD_SIZE": "2", "RANK": "0"},
        # What `accelerate launch --num_processes 2` gives the one process that it starts.
        {"ACCELERATE_MIXED_PRECISION": "no", "MASTER_ADDR": "127.0.0.1"},
    ],
)
def test_fewer_processes_than_asked_for_are_refused(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]
) -> None:
    assert join_processes().num_processes == 1
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match="processes were asked for, and 1 was started; on CPUs"):
        join_processes()


def test_batches_that_cannot_be_shared_equally_are_refused() -> None:
    with pytest.raises(ValueError, match=r"divisible by .* = 3, got 4"):
        make_accelerator(LOOP.replace(gradient_accumulation_steps=3))
    with pytest.raises(ValueError, match="needs a GPU"):
        make_accelerator(LOOP.replace(mixed_precision="fp16"))


def test_second_training_in_a_folder_is_refused(tmp_path: Path) -> None:
    with (
        locked(tmp_path / "run"),
        pytest.raises(ValueError, match="another training writes to"),
        locked(tmp_path / "run"),
    ):
        pass
    with locked(tmp_path / "run"):
        pass
