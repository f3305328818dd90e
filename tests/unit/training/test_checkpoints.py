import sys
import types
from pathlib import Path

import pytest
import torch
from torch import nn

from ccsr.whole_file import WriteError
from training.checkpoints import (
    checkpoints,
    chosen_checkpoint,
    kept_at_the_end,
    load_trained_state,
    read_checkpoint,
    remove_old,
    trained_state,
    write_checkpoint,
)
from training.config import LoopConfig
from training.log import JsonLog, TensorBoardLog


def test_newest_checkpoints_and_those_to_keep_stay(tmp_path: Path) -> None:
    for step in (5, 10, 15, 20):
        write_checkpoint(tmp_path, step, {"x": torch.tensor(step)})
    remove_old(tmp_path, 2, kept=[5])
    assert list(checkpoints(tmp_path)) == [5, 15, 20]
    assert len(list(tmp_path.iterdir())) == 3
    assert int(read_checkpoint(checkpoints(tmp_path)[15])["x"]) == 15


def test_full_disk_leaves_the_checkpoint_before_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 576 vs 534")

    write_checkpoint(tmp_path, 5, {"x": torch.tensor(5)})
    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(WriteError, match=r"step 10 .*disk is full.*checkpoint-0000005 is whole"):
        write_checkpoint(tmp_path, 10, {})
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-0000005"]


@pytest.mark.skipif(sys.platform == "win32", reason="it has no limits on files")
def test_checkpoint_that_may_not_be_so_large_leaves_the_one_before(tmp_path: Path) -> None:
    import resource

    write_checkpoint(tmp_path, 5, {"x": torch.tensor(5)})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, limits[1]))
    try:
        with pytest.raises(WriteError, match=r"step 10 in .*: .*checkpoint-0000005 is whole"):
            write_checkpoint(tmp_path, 10, {"x": torch.zeros(2**16)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-0000005"]
    assert int(read_checkpoint(checkpoints(tmp_path)[5])["x"]) == 5


def test_checkpoint_of_an_earlier_version_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="of an earlier version; delete it"):
        read_checkpoint(tmp_path)


def test_frozen_networks_are_left_out_of_checkpoints() -> None:
    module = nn.ModuleDict({"frozen": nn.Linear(2, 2), "trained": nn.BatchNorm1d(2)})
    module["frozen"].requires_grad_(False)
    state = {name: x.clone() for name, x in trained_state(module).items()}
    assert {name.partition(".")[0] for name in state} == {"trained"}
    assert "trained.running_mean" in state
    nn.init.constant_(module["trained"].weight, 7)
    load_trained_state(module, state)
    assert torch.equal(module["trained"].weight, state["trained.weight"])
    with pytest.raises(ValueError, match="of other networks"):
        load_trained_state(nn.Linear(2, 2), state)


def test_log_has_no_step_twice_after_a_resume(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    log = JsonLog(path, 0)
    for step in (1, 2, 3):
        log.append({"step": step})
    path.write_text(path.read_text() + '{"step": 4, "cut by a ki')
    JsonLog(path, 2).append({"step": 3})
    assert path.read_text().splitlines() == ['{"step": 1}', '{"step": 2}', '{"step": 3}']


def test_curves_go_on_after_the_step_of_a_resume(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[object] = []

    class SummaryWriter:
        def __init__(self, folder: str, purge_step: int) -> None:
            told.append((Path(folder).name, purge_step))

        def add_scalar(self, *point: object) -> None:
            told.append(point)

        def flush(self) -> None:
            told.append("flushed")

    entry = {"step": 8, "losses": {"a/loss": 0.5}, "learning_rates": {"a": 0.1}, "scores": {}}
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ValueError, match="pip install -r requirements-train"):
        TensorBoardLog(tmp_path, 7)
    module = types.SimpleNamespace(SummaryWriter=SummaryWriter)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    TensorBoardLog(tmp_path, 7).append(entry)
    points = [("losses/a/loss", 0.5, 8), ("learning_rates/a", 0.1, 8)]
    assert told == [("tensorboard", 8), *points, "flushed"]


@pytest.mark.parametrize(
    ("choice", "best", "expected"),
    [("best", 10, 10), ("best", None, 20), ("last", 10, 20), ("5", 10, 5)],
)
def test_checkpoint_to_export_is_the_best_the_last_or_one_that_is_named(
    choice: str, best: int | None, expected: int
) -> None:
    assert chosen_checkpoint(choice, [5, 20, 10], best)[0] == expected


@pytest.mark.parametrize("choice", ["15", "-5", "worst"])
def test_checkpoint_that_is_not_there_is_refused(choice: str) -> None:
    with pytest.raises(ValueError, match=r"no checkpoint .* that there is: 5, 10"):
        chosen_checkpoint(choice, [10, 5], 5)


@pytest.mark.parametrize(
    ("found", "validated_every", "expected"),
    [
        ([], None, {18, 20}),
        ([], 5, {5, 10, 15, 18, 20}),
        # One that was written when the run was stopped, and one that comes.
        ([19], None, {19, 20}),
        # The run is finished: nothing is written or deleted any more.
        ([7, 20], None, {7, 20}),
        ([7, 20], 5, {7, 20}),
    ],
)
def test_checkpoints_at_the_end_are_known_before_it(
    found: list[int], validated_every: int | None, expected: set[int]
) -> None:
    loop = LoopConfig(
        max_steps=20, checkpoint_every=6, keep_checkpoints=2, warmup_steps=0,
        batch_size=1, learning_rate=1e-3, crop_px=64,
    )  # fmt: skip
    assert kept_at_the_end(found, loop, validated_every) == expected
