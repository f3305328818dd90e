"""Many programs at once, for as long as `CCSR_LOAD_SECONDS` says."""

import json
import logging
import os
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from ccsr.ui.limits import Limits
from tests.e2e.page.conftest import Server, launched
from tests.fakes import FakeEngine

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

SECONDS = float(os.environ.get("CCSR_LOAD_SECONDS", "120"))
CLIENTS = 20
WAITING = 15
TIMEOUT = 120


@dataclass
class Program:
    """Asks for a result again and again; some leave before it is there."""

    url: str
    path: str
    number: int
    until: float
    answers: Counter[str] = field(default_factory=Counter[str])

    def run(self) -> None:
        while time.monotonic() < self.until:
            leaves = self.number % 5 == 0
            self.answers[self._ask(leaves)] += 1
            time.sleep(0.05)

    def _ask(self, leaves: bool) -> str:
        picture = {"path": self.path, "meta": {"_type": "gradio.FileData"}}
        url = f"{self.url}gradio_api/call/v2/upscale"
        body = {"picture": picture, "seed": self.number}
        event = httpx.post(url, json=body, timeout=TIMEOUT).json()["event_id"]
        last = ""
        with httpx.stream("GET", f"{url}/{event}", timeout=TIMEOUT) as response:
            for line in response.iter_lines():
                if leaves:
                    return "left"
                last = line if line.startswith(("event:", "data:")) else last
                if "wait for the model, which is the limit" in line:
                    return "refused"
        result = json.loads(last.removeprefix("data:")) if last.startswith("data:") else None
        return "done" if result and result[0] and result[1]["seed"] == self.number else "lost"


def metric(url: str, name: str) -> float:
    lines = httpx.get(f"{url}metrics", timeout=TIMEOUT).text.splitlines()
    return float(next(line.split()[1] for line in lines if line.startswith(f"{name} ")))


def test_twenty_programs_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, picture_file: Path
) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "served"))
    server = Server(FakeEngine())
    with launched(server, Limits(max_waiting=WAITING, max_sessions=40)) as (_, url):
        files = {"files": ("cat.png", picture_file.read_bytes())}
        (path,) = httpx.post(f"{url}gradio_api/upload", files=files, timeout=TIMEOUT).json()
        end = time.monotonic() + SECONDS
        programs = [Program(url, path, number, end) for number in range(CLIENTS)]
        threads = [threading.Thread(target=program.run) for program in programs]
        for thread in threads:
            thread.start()
        time.sleep(SECONDS / 2)
        warm = metric(url, "ccsr_memory_bytes")
        for thread in threads:
            thread.join()
        grown = metric(url, "ccsr_memory_bytes") / warm - 1
        health = httpx.get(f"{url}healthz", timeout=TIMEOUT).json()
    answers = sum((program.answers for program in programs), Counter[str]())
    logging.getLogger(__name__).info("%s, memory grew by %.1f %%", dict(answers), 100 * grown)
    assert answers["lost"] == 0
    assert answers["done"] > 10
    assert answers["refused"] > 0
    assert all(p.answers["done"] for p in programs if p.number % 5)
    assert health == {"status": "ok", "working": False, "waiting": 0}
    assert grown < 0.05
