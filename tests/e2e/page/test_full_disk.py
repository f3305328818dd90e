"""The page on a disk that fills up: messages, no lost server, and the next run works."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from skimage import data

from ccsr.images.picture import Picture
from ccsr.images.writing import save_png
from ccsr.ui.limits import Limits
from tests.e2e.page.conftest import Server, launched
from tests.fakes import FakeEngine

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(sys.platform != "linux", reason="a disk is mounted in a namespace"),
]

ROOT = Path(__file__).resolve().parents[3]
TIMEOUT = 60
DISK = "mkdir -p /tmp/full && mount -t tmpfs -o size=4000k tmpfs /tmp/full && "


def in_small_disk(*command: str) -> subprocess.CompletedProcess[str]:
    """Run in a namespace whose folder /tmp/full is a disk of 4 MB."""
    return subprocess.run(
        ["unshare", "--map-root-user", "--mount", "bash", "-c", f'{DISK}"$@"', "-", *command],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def upload(url: str, content: bytes) -> httpx.Response:
    files = {"files": ("photo.png", content)}
    return httpx.post(f"{url}gradio_api/upload", files=files, timeout=TIMEOUT)


def upscale(url: str, path: str) -> str:
    """The last lines that a program gets for a run."""
    picture = {"path": path, "meta": {"_type": "gradio.FileData"}}
    call = f"{url}gradio_api/call/v2/upscale"
    event = httpx.post(call, json={"picture": picture}, timeout=TIMEOUT).json()["event_id"]
    with httpx.stream("GET", f"{call}/{event}", timeout=TIMEOUT) as response:
        lines = [line for line in response.iter_lines() if line]
    return "\n".join(lines[-2:])


def use_page(folder: Path) -> dict[str, Any]:
    """Upload until the disk is full, fill what is left, run, free it, and run again."""
    picture = folder / "photo.png"
    save_png(picture, Picture(data.astronaut()[:128, :128].astype("float32") / 255))
    content = picture.read_bytes()
    seen: dict[str, Any] = {}
    with launched(Server(FakeEngine()), Limits()) as (_, url):
        path = upload(url, content).json()[0]
        large = content + bytes(1_000_000)
        refused = [upload(url, large + bytes([i])) for i in range(6)]
        seen["uploads"] = [answer.status_code for answer in refused]
        seen["text"] = refused[-1].text
        filler = folder / "filler"
        try:
            with filler.open("wb") as file:
                while True:
                    file.write(bytes(4096))
                    file.flush()
        except OSError:
            pass
        seen["full"] = upscale(url, path)
        seen["health"] = httpx.get(f"{url}healthz", timeout=TIMEOUT).json()["status"]
        filler.unlink()
        for big in Path(folder / "served").glob("*/photo.png"):
            if big.stat().st_size > 900_000:
                big.unlink()
        seen["after"] = upscale(url, path)
        seen["left"] = [p.name for p in (folder / "served").rglob("*.part")]
    return seen


def test_a_full_disk_is_told_and_the_next_run_works() -> None:
    if shutil.which("unshare") is None or in_small_disk("true").returncode:
        pytest.skip("no disk can be mounted here")
    program = f"import {__name__} as t, json; print(json.dumps(t.use_page(t.Path('/tmp/full'))))"
    done = in_small_disk("env", "GRADIO_TEMP_DIR=/tmp/full/served", sys.executable, "-c", program)
    assert done.returncode == 0, done.stderr[-2000:]
    seen = json.loads(done.stdout.splitlines()[-1])
    assert set(seen["uploads"]) == {200, 507}
    assert seen["text"].startswith("The server has no room for files now")
    assert "event: error" in seen["full"]
    assert "The disk of the server is full" in seen["full"]
    assert "/tmp" not in seen["full"]
    assert seen["health"] == "ok"
    assert "event: complete" in seen["after"]
    assert seen["left"] == []
