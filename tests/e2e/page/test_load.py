"""Many programs and browsers at once, for as long as `CCSR_LOAD_SECONDS` says."""

import json
import logging
import os
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser

from ccsr.ui.limits import Limits
from tests.e2e.page.conftest import Server, launched
from tests.e2e.page.page_objects import CCSRPage
from tests.fakes import FakeEngine

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

SECONDS = float(os.environ.get("CCSR_LOAD_SECONDS", "120"))
CLIENTS = 20
BROWSERS = 3
TIMEOUT = 120
LIMITS = Limits(max_waiting=15, max_sessions=40, max_stored_bytes=300 * 2**20)
MEMORY = "ccsr_memory_bytes"
FULL = "wait for the model, which is the limit"
# A toast vanishes after some seconds, so they are counted as they appear.
COUNT_REFUSALS = """(text) => {
    if (window.refusals === undefined) {
        window.refusals = 0;
        new MutationObserver((changes) => {
            const added = changes.flatMap(({ addedNodes }) => [...addedNodes]);
            window.refusals += added.filter((node) => node.textContent.includes(text)).length;
        }).observe(document.body, { childList: true, subtree: true });
    }
    return window.refusals;
}"""


@dataclass
class Program:
    """Asks for a result again and again; some leave before it is there."""

    url: str
    path: str
    number: int
    until: float
    answers: Counter[str] = field(default_factory=Counter[str])
    client: httpx.Client = field(default_factory=lambda: httpx.Client(timeout=TIMEOUT))

    def run(self) -> None:
        while time.monotonic() < self.until:
            leaves = self.number % 5 == 0
            answer = self._ask(leaves)
            self.answers[answer] += 1
            # Without a pause those that were refused would leave no place to the browsers.
            time.sleep(1 if answer == "refused" else 0.05)

    def _ask(self, leaves: bool) -> str:
        picture = {"path": self.path, "meta": {"_type": "gradio.FileData"}}
        url = f"{self.url}gradio_api/call/v2/upscale"
        body = {"picture": picture, "seed": self.number}
        event = self.client.post(url, json=body).json()["event_id"]
        last = ""
        with self.client.stream("GET", f"{url}/{event}") as response:
            for line in response.iter_lines():
                if leaves:
                    return "left"
                last = line if line.startswith(("event:", "data:")) else last
                if FULL in line:
                    return "refused"
        result = json.loads(last.removeprefix("data:")) if last.startswith("data:") else None
        return "done" if result and result[0] and result[1]["seed"] == self.number else "lost"


@dataclass
class Visitor:
    """Asks for a result in a browser; `seed` tells its results apart."""

    ui: CCSRPage
    seed: int
    refusals: int = 0
    answers: Counter[str] = field(default_factory=Counter[str])

    def press(self) -> None:
        self.seed += BROWSERS
        self.ui.upscale.seed.fill(str(self.seed))
        self.refusals = self._told()
        self.ui.upscale.run()

    def is_answered(self) -> bool:
        """Whether the result, or a refusal, has been shown, and another run can be asked for."""
        upscale = self.ui.upscale
        if upscale.start.is_disabled() or upscale.stop.is_enabled():
            return False
        done = upscale.result.locator(f'img[src$="_seed-{self.seed}.png"]').first.is_visible()
        refused = self._told() > self.refusals
        if done or refused:
            self.answers["done" if done else "refused"] += 1
        return done or refused

    def _told(self) -> int:
        """How often the page has told a refusal so far."""
        told: int = self.ui.page.evaluate(COUNT_REFUSALS, FULL)
        return told


def ask_all(visitors: Sequence[Visitor]) -> None:
    """Let all of them ask at once, and wait for the answers."""
    for visitor in visitors:
        visitor.press()
    waiting, until = list(visitors), time.monotonic() + TIMEOUT
    while waiting:
        assert time.monotonic() < until, [v.ui.upscale.panel.inner_text() for v in waiting]
        waiting = [visitor for visitor in waiting if not visitor.is_answered()]
        time.sleep(0.1)


def metric(url: str, name: str) -> float:
    lines = httpx.get(f"{url}metrics", timeout=TIMEOUT).text.splitlines()
    return float(next(line.split()[1] for line in lines if line.startswith(f"{name} ")))


def test_twenty_programs_and_three_browsers_at_once(
    browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, picture_file: Path
) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "served"))
    # So that files are idle, and removed, while the test runs.
    monkeypatch.setattr("ccsr.ui.files.IN_USE_SECONDS", 60)
    server = Server(FakeEngine())
    with launched(server, LIMITS) as (_, url):
        files = {"files": ("cat.png", picture_file.read_bytes())}
        (path,) = httpx.post(f"{url}gradio_api/upload", files=files, timeout=TIMEOUT).json()
        end = time.monotonic() + SECONDS
        contexts = [browser.new_context() for _ in range(BROWSERS)]
        for context in contexts:
            context.set_default_timeout(1000 * TIMEOUT)
        visitors = [
            Visitor(CCSRPage(context.new_page(), url).open(), CLIENTS + number)
            for number, context in enumerate(contexts)
        ]
        for visitor in visitors:
            visitor.ui.choose_picture(picture_file)
        programs = [Program(url, path, number, end) for number in range(CLIENTS)]
        threads = [threading.Thread(target=program.run) for program in programs]
        for thread in threads:
            thread.start()
        warm: list[float] = []
        halfway = threading.Timer(SECONDS / 2, lambda: warm.append(metric(url, MEMORY)))
        halfway.start()
        while time.monotonic() < end:
            ask_all(visitors)
        for thread in (halfway, *threads):
            thread.join()
        grown = metric(url, MEMORY) / warm[0] - 1
        health = httpx.get(f"{url}healthz", timeout=TIMEOUT).json()
        # The next upload removes what is beyond the limit, and idle.
        httpx.post(f"{url}gradio_api/upload", files=files, timeout=TIMEOUT).raise_for_status()
        stored = sum(f.stat().st_size for f in (tmp_path / "served").rglob("*") if f.is_file())
    of_programs, of_browsers = (
        sum((one.answers for one in several), Counter[str]()) for several in (programs, visitors)
    )
    logging.getLogger(__name__).info(
        "programs: %s, browsers: %s, memory grew by %.1f %%, %.0f MB stored",
        *(dict(of_programs), dict(of_browsers), 100 * grown, stored / 1e6),
    )
    assert of_programs["lost"] == 0
    assert of_programs["done"] > 10
    assert of_programs["refused"] > 0
    assert all(p.answers["done"] for p in programs if p.number % 5)
    assert all(v.answers["done"] for v in visitors)
    assert health == {"status": "ok", "working": False, "waiting": 0}
    assert grown < 0.05
    assert stored < LIMITS.max_stored_bytes
