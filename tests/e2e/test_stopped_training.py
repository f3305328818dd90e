"""Killed, or on a full disk, a training goes on by the same command and ends as an undisturbed one.

CCSR_TEST_KILLS sets how often it is killed at a random moment.
"""

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch
from skimage import data as pictures

from ccsr.images.picture import picture_from_array
from ccsr.images.writing import save_png
from tests.e2e.test_training import TINY
from tests.e2e.test_whole_or_nothing import ROOT, can_mount, full_disk
from training.checkpoints import checkpoints, read_checkpoint

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(sys.platform != "linux", reason="processes are forked and killed"),
]

KILLING = """
import json, os, random, shutil, signal, sys, time
from pathlib import Path
import torch
from training.__main__ import main

folder, kills, *arguments = sys.argv[1:]
torch.set_num_threads(1)

def die_at(owner, name, nth):
    original, calls = getattr(owner, name), [0]
    def called(*args, **kwargs):
        calls[0] += 1
        if calls[0] == nth:
            if name == "save":
                args[1].write(b"half of a checkpoint")
                args[1].flush()
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*args, **kwargs)
    setattr(owner, name, called)

def started(run, *moment):
    pid = os.fork()
    if pid == 0:
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 1)
            os.dup2(nowhere.fileno(), 2)
        if moment:
            die_at(*moment)
        os._exit(main([*arguments, "--run-folder", str(run)]))
    return pid

def ended(pid):
    return os.waitpid(pid, 0)[1]

whole, killed = Path(folder) / "whole", []
begun = time.monotonic()
assert ended(started(whole)) == 0
seconds = time.monotonic() - begun
# In the writing of a checkpoint, with all of it written, before its renaming, before old ones go.
run = Path(folder) / "writing"
for nth in (1, 3):
    for owner, name in ((torch, "save"), (os, "fsync"), (Path, "rename"), (shutil, "rmtree")):
        if ended(started(run, owner, name, nth)) == signal.SIGKILL:
            killed.append(name)
assert ended(started(run)) == 0
# One that has ended before is no kill: on a busy machine the whole run may have been the slowest.
at_random, number, tries = 0, 0, 0
while at_random < int(kills):
    run, status = Path(folder) / f"random-{number}", None
    while status != 0 and at_random < int(kills):
        pid = started(run)
        time.sleep(random.Random(tries).random() * seconds)
        tries += 1
        os.kill(pid, signal.SIGKILL)
        status = ended(pid)
        at_random += status == signal.SIGKILL
    assert ended(started(run)) == 0
    number += 1
print(json.dumps(killed))
"""
"""Imports once, and kills trainings at named and at random moments until each comes to its end."""

KILLS = int(os.environ.get("CCSR_TEST_KILLS", "2"))
STEPS = ("autoencoder", "pairs", "uniform", "stage1", "rollouts", "stage2")
RECIPE = TINY.replace("max_steps = 2", "max_steps = 4").replace(
    "learning_rate = 1e-3, log_every", "learning_rate = 1e-3, checkpoint_every = 2, log_every"
)


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("stopped")
    (folder / "pictures").mkdir()
    save_png(folder / "pictures" / "coffee.png", picture_from_array(pictures.coffee()[:300, :300]))
    recipe = folder / "recipe.toml"
    recipe.write_text(RECIPE)
    return ["--data", str(folder / "pictures"), "--recipe", str(recipe)]


def losses(log: Path) -> list[dict[str, float]]:
    return [json.loads(line)["losses"] for line in log.read_text().splitlines()]


def tensors(state: object) -> dict[str, torch.Tensor]:
    """All tensors in dicts and lists, by their path."""
    if isinstance(state, torch.Tensor):
        return {"": state}
    items = state.items() if isinstance(state, dict) else enumerate(state)
    parts = {k: v for k, v in items if isinstance(v, dict | list | torch.Tensor)}
    return {f"{k}/{name}": x for k, v in parts.items() for name, x in tensors(v).items()}


def check_same(run: Path, expected: Path) -> None:
    """Losses, networks and the last checkpoints are those of another run, bit for bit."""
    for log in expected.glob("*/log.jsonl"):
        assert len(losses(log)) == 4
        assert losses(run / log.relative_to(expected)) == losses(log)
    networks = [path.relative_to(expected) for path in expected.rglob("*.safetensors")]
    assert len(networks) >= 10
    for name in networks:
        assert (run / name).read_bytes() == (expected / name).read_bytes(), name
    for step in ("autoencoder", "uniform", "stage1", "stage2"):
        found, whole = (
            tensors(read_checkpoint(checkpoints(folder / step)[4])) for folder in (run, expected)
        )
        assert found.keys() == whole.keys()
        assert all(torch.equal(found[key], whole[key]) for key in whole)


def test_a_training_that_is_killed_ends_as_an_undisturbed_one(
    options: list[str], tmp_path: Path
) -> None:
    script = tmp_path / "killing.py"
    script.write_text(textwrap.dedent(KILLING))
    folder = tmp_path / "runs"
    done = subprocess.run(
        [sys.executable, str(script), str(folder), str(KILLS), *STEPS, *options],
        check=True,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        timeout=max(300, 40 * KILLS),
    )
    assert set(json.loads(done.stdout)) == {"save", "fsync", "rename", "rmtree"}
    disturbed = [run for run in folder.iterdir() if run.name != "whole"]
    assert len(disturbed) >= 2
    for run in disturbed:
        check_same(run, folder / "whole")
        assert not list(run.glob("*/.*.part"))


def test_a_full_disk_is_one_sentence_and_the_checkpoint_before_it_stays(options: list[str]) -> None:
    if not can_mount():
        pytest.skip("no disk can be mounted here")
    command = [sys.executable, "-m", "training", "autoencoder", *options]
    done = full_disk([*command, "--run-folder", "/tmp/full/run", "--threads", "1"], 600)
    assert done.returncode == 2
    assert "error: the disk is full; free some space, and the same command" in done.stderr
    assert "Traceback" not in done.stderr
    inside = [line.split()[2:] for line in done.stdout.splitlines() if line.startswith("in it: ")]
    kept = [name for name, _ in inside if name.startswith("checkpoint-")]
    assert kept
    assert all(not name.endswith(".part") for name, _ in inside)
    assert all(int(size) > 0 for name, size in inside if name == "state.pt")
