"""Killed, or on a full disk, a command leaves no part of a file under a final name.

CCSR_TEST_KILLS sets how often each command is killed.
"""

import json
import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from skimage import data

from tests.e2e.whole_files import check_whole
from tests.tiny import save_tiny_model
from tests.unit.evaluation.comparison.pictures import write_hr

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(sys.platform != "linux", reason="processes are forked and killed"),
]

ROOT = Path(__file__).resolve().parents[2]
KILLS = int(os.environ.get("CCSR_TEST_KILLS", "4"))

MANIFEST = "jobs-0.jsonl"

KILLING = """
import os, random, shutil, sys, time
import torch
from ccsr import commands
from ccsr.images.writing import save_png
from ccsr.ui.files import write_zip
from pathlib import Path

folder, kills, name, *arguments = sys.argv[1:]
torch.set_num_threads(1)

def job(output):
    sys.stdout = sys.stderr = open(os.devnull, "w")
    if name != "zip":
        return commands.main([name, *arguments, "--output", output])
    for number in range(20):
        write_zip(Path(output) / f"{number}.zip", [Path(each) for each in arguments])

def started(number):
    output = Path(folder) / str(number)
    output.mkdir(parents=True, exist_ok=True)
    pid = os.fork()
    if pid == 0:
        os._exit(job(str(output)) or 0)
    return pid

begun = time.monotonic()
os.waitpid(started("whole"), 0)
whole = time.monotonic() - begun
for number in range(int(kills)):
    random.seed(number)
    pid = started(number)
    time.sleep(random.random() * whole)
    os.kill(pid, 9)
    os.waitpid(pid, 0)
    if name == "evaluate":
        shutil.copytree(Path(folder) / str(number), Path(folder) / f"{number}-resumed")
        os.waitpid(started(f"{number}-resumed"), 0)
"""
"""Imports once, and kills jobs of its own at random moments of the time that a whole one takes.

A killed comparison is begun again, in a copy of its folder.
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inputs")
    for number in range(4):
        crop = data.astronaut()[100 + 8 * number :, 200:][:48, :60]
        Image.fromarray(np.ascontiguousarray(crop)).save(folder / f"{number}.png")
    return folder


def jobs_killed(tmp_path: Path, command: str, arguments: Sequence[object]) -> Path:
    """Run a command once as a whole, and kill it as often as is asked for.

    Returns:
        A folder with the outputs: `whole`, those of the killed by number, and `<number>-resumed`.
    """
    script = tmp_path / "killing.py"
    script.write_text(textwrap.dedent(KILLING))
    folder = tmp_path / "jobs"
    subprocess.run(
        [sys.executable, str(script), str(folder), str(KILLS), command, *map(str, arguments)],
        check=True,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        timeout=max(120, 20 * KILLS),
    )
    return folder


@pytest.mark.parametrize("command", ["upscale", "seeds", "sweep", "zip"])
def test_a_killed_job_leaves_no_part_under_a_final_name(
    command: str, model: Path, inputs: Path, tmp_path: Path
) -> None:
    fast = ["--model", model, "--device", "cpu", "--dtype", "float32", "--num-steps", 4]
    arguments = {
        "upscale": [inputs, *fast],
        "seeds": [inputs / "0.png", *fast, "--seeds", "0-3", "--agreement", 0.01],
        "sweep": [inputs / "0.png", *fast, "--t-max", "0.5,0.8", "--t-min", "0.2,0.4"],
        "zip": sorted(inputs.iterdir()),
    }[command]
    folder = jobs_killed(tmp_path, command, arguments)
    finished = {path.name for path in (folder / "whole").iterdir()}
    assert len(finished) >= 4
    for number in range(KILLS):
        named = [p for p in (folder / str(number)).iterdir() if not p.name.endswith(".part")]
        assert {path.name for path in named} <= finished
        for path in named:
            check_whole(path, num_rows=5)


def files_in(folder: Path) -> dict[str, bytes]:
    """Content of all files under a final name, by their path in a folder."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.suffix != ".part")
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def rows_of(manifest: bytes) -> list[dict[str, Any]]:
    """The whole rows of a manifest, without the times."""
    rows = [json.loads(line) for line in manifest.splitlines(True) if line.endswith(b"\n")]
    return [{key: row[key] for key in row.keys() - {"seconds"}} for row in rows]


def test_a_killed_comparison_leaves_whole_files_and_goes_on_to_the_same(
    model: Path, tmp_path: Path
) -> None:
    hr = write_hr(tmp_path / "hr", 2)
    arguments = ["--hr", hr, "--model", model, "--device", "cpu", "--dtype", "float32"]
    arguments += ["--metrics", "psnr", "--no-time", "--seeds", "0-1", "--keep-pictures"]
    folder = jobs_killed(tmp_path, "evaluate", [*arguments, "--preset", "fast"])
    whole = files_in(folder / "whole")
    rows = rows_of(whole.pop(MANIFEST))
    assert {Path(name).suffix for name in whole} >= {".html", ".json", ".csv", ".png", ".jpg"}
    for number in range(KILLS):
        killed, resumed = files_in(folder / str(number)), files_in(folder / f"{number}-resumed")
        # Rows are appended one by one: the last one may be cut off, and is written again.
        done = rows_of(killed.pop(MANIFEST, b""))
        assert done == rows[: len(done)]
        assert killed.items() <= whole.items()
        assert rows_of(resumed.pop(MANIFEST)) == rows
        # The digest is in `results.json`.
        assert resumed == whole


def full_disk(command: list[str], kilobytes: int) -> subprocess.CompletedProcess[str]:
    """Run in a namespace whose folder /tmp/full is a disk of so many kilobytes; lists it after."""
    script = (
        f"mkdir -p /tmp/full && mount -t tmpfs -o size={kilobytes}k tmpfs /tmp/full && "
        '"$@"; code=$?; find /tmp/full -mindepth 1 -printf "in it: %f %s\\n"; exit $code'
    )
    return subprocess.run(
        ["unshare", "--map-root-user", "--mount", "bash", "-c", script, "-", *command],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def can_mount() -> bool:
    return shutil.which("unshare") is not None and full_disk(["true"], 64).returncode == 0


@pytest.mark.parametrize("command", ["upscale", "seeds"])
def test_a_full_disk_is_one_sentence_and_leaves_whole_files(
    command: str, model: Path, inputs: Path
) -> None:
    if not can_mount():
        pytest.skip("no disk can be mounted here")
    arguments = [inputs if command == "upscale" else inputs / "0.png", "--output", "/tmp/full"]
    arguments += ["--model", model, "--device", "cpu", "--dtype", "float32", "--num-steps", 4]
    done = full_disk([sys.executable, "-m", "ccsr", command, *map(str, arguments)], 220)
    assert done.returncode == 2
    assert "could not be written: the disk is full; free some space" in done.stderr
    assert "Traceback" not in done.stderr
    inside = [line for line in done.stdout.splitlines() if line.startswith("in it: ")]
    assert inside
    assert all(".part" not in line and not line.endswith(" 0") for line in inside)
