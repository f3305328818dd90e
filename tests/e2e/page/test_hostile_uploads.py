"""Hostile and odd files, sent to the page by a program: a result, or a sentence of its own.

CCSR_TEST_HOSTILE_FILES=all sends all of them instead of each eighth.
"""

import json
import logging
import os
import re
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from ccsr.images.reading import load_picture
from tests.e2e.page.conftest import Server, launched
from tests.fakes import FakeEngine
from tests.hostile_files import HostileFile, hostile_files

pytestmark = pytest.mark.e2e

EACH = 1 if os.environ.get("CCSR_TEST_HOSTILE_FILES") == "all" else 8
TIMEOUT = 60
LAST_RESORT = "takes longer|too much memory|cannot be read; save it"
"""What is said of a file that reached the limits of the process which reads it."""
GENERIC = "Error|Traceback|Errno|raised|/tmp|served"
"""What a message for people does not hold: names of exceptions, of files of the server."""


@dataclass(frozen=True)
class Answer:
    """What a program got for a file: the path of a result, or a message."""

    file: HostileFile
    result: str | None
    message: str


@dataclass(frozen=True)
class Program:
    """Sends files, each of which it wants to have upscaled."""

    client: httpx.Client

    def ask(self, file: HostileFile) -> Answer:
        sent = self.client.post("upload", files={"files": (file.name, file.content)})
        assert sent.status_code == 200, (file.name, sent.text)
        picture = {"path": sent.json()[0], "meta": {"_type": "gradio.FileData"}}
        body = {"picture": picture, "scale": 1}
        begun = self.client.post("call/v2/upscale", json=body)
        assert begun.status_code == 200, (file.name, begun.text)
        event, data = self._last(begun.json()["event_id"])
        if event == "complete":
            return Answer(file, json.loads(data)[0]["path"], "")
        assert event == "error", (file.name, event, data)
        return Answer(file, None, json.loads(data)["error"] or "")

    def _last(self, event: str) -> tuple[str, str]:
        with self.client.stream("GET", f"call/v2/upscale/{event}") as response:
            assert response.status_code == 200
            lines = [line for line in response.iter_lines() if line]
        kind, data = lines[-2:]
        return kind.removeprefix("event: "), data.removeprefix("data: ")


@pytest.fixture
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "served"))
    with launched(Server(FakeEngine())) as (_, url):
        yield url


def check_answer(answer: Answer) -> None:
    """Whether a file was made a picture of, or refused, as it should be and in good words."""
    name, said = answer.file.name, answer.message
    outcome = "picture" if answer.result else "refused"
    assert answer.file.outcome in ("either", outcome), (name, said)
    if answer.result:
        assert load_picture(answer.result).size, name
        return
    assert ";" in said, f"{name}: {said!r} does not say what to do"
    assert len(said) < 300, (name, said)
    assert not re.search(f"{GENERIC}|{LAST_RESORT}", said), (name, said)


def test_each_is_upscaled_or_refused_and_the_server_lives(
    url: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    chosen = list(hostile_files())[::EACH]
    assert len(chosen) >= 55
    started = time.monotonic()
    with (
        caplog.at_level(logging.WARNING),
        httpx.Client(base_url=f"{url}gradio_api/", timeout=TIMEOUT) as client,
        ThreadPoolExecutor(2) as pool,
    ):
        answers = list(pool.map(Program(client).ask, chosen))
    health = httpx.get(f"{url}healthz", timeout=TIMEOUT).json()
    outcomes = Counter("picture" if answer.result else "refused" for answer in answers)
    seconds = time.monotonic() - started
    logging.getLogger(__name__).info("%s in %.0f s", dict(outcomes), seconds)
    for answer in answers:
        check_answer(answer)
    assert min(outcomes.values()) > 20, outcomes
    assert health == {"status": "ok", "working": False, "waiting": 0}
    assert "Traceback" not in caplog.text + capfd.readouterr().err
