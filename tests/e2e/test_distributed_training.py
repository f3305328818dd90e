"""Two processes train as one does; started as the README says."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from skimage import data as pictures

from ccsr.images.picture import picture_from_array
from ccsr.images.writing import save_png
from tests.e2e.test_stopped_training import tensors
from tests.e2e.test_training import TINY
from training.__main__ import main
from training.checkpoints import checkpoints, read_checkpoint
from training.fingerprint import FINGERPRINT_FILE

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).resolve().parents[2]
STEPS = ("autoencoder", "uniform", "stage1", "stage2")
LOOP = re.compile(r"max_steps = 2, warmup_steps = 1, batch_size = \d, ")
# Rounding flips the signs of gradients near 0, which Adam turns into steps of the learning rate.
RECIPE = (
    LOOP.sub("max_steps = 20, warmup_steps = 1, batch_size = 4, checkpoint_every = 17, ", TINY)
    .replace("learning_rate = 1e-3", "learning_rate = 1e-4")
    .replace("checkpoint_every = 1, ", "")
    .replace("perceptual_crops = 1", "perceptual_crops = 2")
    .replace("count = 3", "count = 70")
    .replace("every = 1\n", "every = 20\n")
)


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("distributed")
    (folder / "pictures").mkdir()
    save_png(folder / "pictures" / "coffee.png", picture_from_array(pictures.coffee()[:300, :300]))
    (folder / "recipe.toml").write_text(RECIPE)
    return ["--data", str(folder / "pictures"), "--recipe", str(folder / "recipe.toml"),
            "--held-out", str(folder / "pictures")]  # fmt: skip


@pytest.fixture(scope="module")
def one(options: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of one process."""
    run = tmp_path_factory.mktemp("one")
    steps = ("autoencoder", "pairs", "uniform", "stage1", "rollouts", "stage2")
    assert main([*steps, *options, "--run-folder", str(run)]) == 0
    return run


def launched(launcher: list[str], *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", *launcher, "-m", "training", *arguments],
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


TORCHRUN = ["torch.distributed.run", "--nproc_per_node", "2"]
ACCELERATE = ["accelerate.commands.accelerate_cli", "launch"]
FSDP = [*ACCELERATE, "--config_file", str(ROOT / "training" / "launch" / "fsdp.yaml")]
DDP = [*ACCELERATE, "--config_file", str(ROOT / "training" / "launch" / "ddp.yaml")]


def losses(run: Path, step: str) -> list[dict[str, float]]:
    lines = (run / step / "log.jsonl").read_text().splitlines()
    return [json.loads(line)["losses"] for line in lines]


def check_losses(run: Path, expected: Path) -> None:
    for step in STEPS:
        found, whole = losses(run, step), losses(expected, step)
        assert len(whole) == 20
        for a, b in zip(found, whole, strict=True):
            assert a == pytest.approx(b, rel=1e-4)


def test_two_processes_train_as_one_at_twice_the_batch(
    one: Path, options: list[str], tmp_path: Path
) -> None:
    (rollouts,) = one.glob("rollouts-*")
    (tmp_path / rollouts.name).symlink_to(rollouts)
    steps = ("autoencoder", "pairs", "uniform", "stage1", "stage2")
    process = launched(TORCHRUN, *steps, *options, "--run-folder", str(tmp_path))
    assert process.wait(300) == 0

    pairs = [[p.name for p in sorted(run.glob("pairs-*/*"))] for run in (one, tmp_path)]
    assert pairs[0] == pairs[1]
    check_losses(tmp_path, one)
    assert "decoder/weight" in losses(one, "stage2")[-1]


def test_sharded_processes_go_on_with_the_checkpoint_of_one_to_its_end(
    one: Path, options: list[str], tmp_path: Path
) -> None:
    """Weights, optimiser and averages are split when they are read, and whole when written."""
    run = shutil.copytree(one, tmp_path / "run")
    for step in STEPS:
        shutil.rmtree(run / step / "checkpoint-0000020")
        shutil.rmtree(run / step / "export")
        # The networks of the step before are others by rounding, and so are their fingerprints.
        for name in ("export.json", "validation.jsonl", "best.json", FINGERPRINT_FILE):
            (run / step / name).unlink()
    process = launched(FSDP, *STEPS, *options, "--run-folder", str(run))
    assert process.wait(300) == 0

    check_losses(run, one)
    for step in STEPS:
        states = [tensors(read_checkpoint(checkpoints(r / step)[20])) for r in (run, one)]
        assert states[0].keys() == states[1].keys()
        assert all(torch.allclose(x, states[1][name], atol=2e-4) for name, x in states[0].items())
        for file in (one / step / "export").rglob("*.safetensors"):
            expected, found = load_file(file), load_file(run / file.relative_to(one))
            assert all(torch.allclose(found[k], expected[k], atol=2e-4) for k in expected)
        scores = [
            json.loads((r / step / "validation.jsonl").read_text())["scores"] for r in (run, one)
        ]
        assert scores[0] == pytest.approx(scores[1], rel=1e-2)


@pytest.mark.slow
@pytest.mark.parametrize("launcher", [DDP, FSDP], ids=["ddp", "fsdp"])
def test_processes_that_are_stopped_end_after_the_same_step(
    launcher: list[str], options: list[str], tmp_path: Path
) -> None:
    recipe = tmp_path / "long.toml"
    recipe.write_text(RECIPE.replace("_steps = 20", "_steps = 9999").replace("= 17", "= 9999"))
    run, arguments = tmp_path / "run", [*options, "--recipe", str(recipe)]
    process = launched(launcher, "autoencoder", *arguments, "--run-folder", str(run))
    log, until = run / "autoencoder" / "log.jsonl", time.monotonic() + 120
    while not log.exists() and time.monotonic() < until:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert process.stderr is not None
    told = process.stderr.read()
    process.wait(60)
    assert told.count("stopped; the same command continues from here") == 2
    last = json.loads(log.read_text().splitlines()[-1])["step"]
    assert list(checkpoints(run / "autoencoder")) == [last]
