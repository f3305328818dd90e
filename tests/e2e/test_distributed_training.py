"""Two processes train as one does; started as the README says."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from skimage import data as pictures

from ccsr.images.picture import picture_from_array
from ccsr.images.writing import save_png
from tests.e2e.test_training import TINY
from training.__main__ import main

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).resolve().parents[2]
STEPS = ("autoencoder", "uniform", "stage1", "stage2")
LOOP = re.compile(r"max_steps = 2, warmup_steps = 1, batch_size = \d, ")
# Rounding flips the signs of gradients near 0, which Adam turns into steps of the learning rate.
RECIPE = (
    LOOP.sub("max_steps = 20, warmup_steps = 1, batch_size = 4, ", TINY)
    .replace("learning_rate = 1e-3", "learning_rate = 1e-4")
    .replace("checkpoint_every = 1", "checkpoint_every = 20")
    .replace("perceptual_crops = 1", "perceptual_crops = 2")
    .replace("count = 3", "count = 70")
)


def test_two_processes_train_as_one_at_twice_the_batch(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    save_png(
        tmp_path / "pictures" / "coffee.png", picture_from_array(pictures.coffee()[:300, :300])
    )
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(RECIPE)
    options = ["--data", str(tmp_path / "pictures"), "--recipe", str(recipe)]
    one, two = tmp_path / "one", tmp_path / "two"
    steps = ("autoencoder", "pairs", "uniform", "stage1", "rollouts", "stage2")
    assert main([*steps, *options, "--run-folder", str(one)]) == 0

    two.mkdir()
    (rollouts,) = one.glob("rollouts-*")
    (two / rollouts.name).symlink_to(rollouts)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2"]
    others = [step for step in steps if step != "rollouts"]
    subprocess.run(
        [*launcher, "-m", "training", *others, *options, "--run-folder", str(two)],
        check=True,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        timeout=300,
    )

    assert [p.name for p in sorted(one.glob("pairs-*/*"))] == [
        p.name for p in sorted(two.glob("pairs-*/*"))
    ]
    for step in STEPS:
        found, expected = (losses(run / step / "log.jsonl") for run in (two, one))
        assert len(expected) == 20
        for a, b in zip(found, expected, strict=True):
            assert a == pytest.approx(b, rel=1e-4)
    assert "decoder/weight" in losses(one / "stage2" / "log.jsonl")[-1]


def losses(log: Path) -> list[dict[str, float]]:
    return [json.loads(line)["losses"] for line in log.read_text().splitlines()]
