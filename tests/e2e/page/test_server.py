"""What the server does for all visitors together."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from ccsr.ui.limits import Limits
from tests.e2e.page.conftest import Server, launched
from tests.fakes import FakeEngine

pytestmark = pytest.mark.e2e

TIMEOUT = 30
LIMITS = Limits(max_waiting=2, max_sessions=20, max_upload_bytes=100_000, max_stored_bytes=10**6)


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server of its own with small limits, whose runs take a minute."""
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "served"))
    server = Server(FakeEngine(delay=60))
    with launched(server, LIMITS) as (_, server.url):
        yield server
        server.engine.released.set()


def until(condition: Callable[[], bool], seconds: float = TIMEOUT) -> float:
    """Wait for a condition; how long that took."""
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < seconds
        time.sleep(0.02)
    return time.monotonic() - started


def health(server: Server) -> dict[str, Any]:
    return httpx.get(f"{server.url}healthz", timeout=TIMEOUT).json()


def upload(server: Server, name: str, content: bytes) -> httpx.Response:
    files = {"files": (name, content)}
    return httpx.post(f"{server.url}gradio_api/upload", files=files, timeout=TIMEOUT)


def call(server: Server, path: str) -> str:
    """Begin to upscale as a program; the name of its event."""
    picture = {"path": path, "meta": {"_type": "gradio.FileData"}}
    url = f"{server.url}gradio_api/call/v2/upscale"
    return httpx.post(url, json={"picture": picture}, timeout=TIMEOUT).json()["event_id"]


@contextmanager
def listening(server: Server, event: str) -> Iterator[list[str]]:
    """Hold the connection for the answer open; its lines."""
    lines: list[str] = []
    url = f"{server.url}gradio_api/call/v2/upscale/{event}"
    with httpx.stream("GET", url, timeout=None) as response:

        def read() -> None:
            try:
                lines.extend(response.iter_lines())
            except (httpx.HTTPError, httpx.StreamError):
                return

        threading.Thread(target=read, daemon=True).start()
        yield lines


@pytest.fixture
def uploaded(own: Server, picture_file: Path) -> str:
    """Path of an upload on the server."""
    return upload(own, "cat.png", picture_file.read_bytes()).json()[0]


def test_the_server_says_how_it_is_while_a_run_works(own: Server, uploaded: str) -> None:
    assert health(own) == {"status": "ok", "working": False, "waiting": 0}
    with listening(own, call(own, uploaded)):
        until(lambda: health(own)["working"])
        metrics = httpx.get(f"{own.url}metrics", timeout=TIMEOUT).text
        assert "ccsr_working 1" in metrics


def test_a_program_that_leaves_frees_the_model(own: Server, uploaded: str) -> None:
    with listening(own, call(own, uploaded)):
        until(own.engine.begun.is_set)
        with listening(own, call(own, uploaded)):
            until(lambda: health(own)["waiting"] == 1)
        # The one that waits has left, too.
        assert until(lambda: health(own)["waiting"] == 0) < 5
    own.engine.released.set()
    assert until(lambda: not health(own)["working"]) < 5
    assert own.engine.evaluations < 16


def test_a_full_queue_is_refused_with_a_message(own: Server, uploaded: str) -> None:
    with listening(own, call(own, uploaded)):
        until(own.engine.begun.is_set)
        with listening(own, call(own, uploaded)), listening(own, call(own, uploaded)):
            until(lambda: health(own)["waiting"] == 2)
            with listening(own, call(own, uploaded)) as refused:
                until(lambda: any("2 runs wait for the model" in line for line in refused))


def test_thousands_of_sessions_take_no_memory_and_push_nobody_out(own: Server) -> None:
    def look(session: str) -> None:
        body = {"fn_index": 0, "data": [], "session_hash": session}
        httpx.post(f"{own.url}gradio_api/run/predict", json=body, timeout=TIMEOUT)

    for number in range(60):
        look(f"attack {number}")
    metrics = httpx.get(f"{own.url}metrics", timeout=TIMEOUT).text
    kept = next(line for line in metrics.splitlines() if line.startswith("ccsr_sessions "))
    assert int(kept.split()[1]) <= LIMITS.max_sessions


@pytest.mark.parametrize(
    "path",
    [
        "gradio_api/file=http://127.0.0.1:9/a.png",
        "gradio_api/file=https://example.org/a.png",
        "gradio_api/proxy=http://127.0.0.1:9/a",
        "monitoring",
        "gradio_api/deep_link?session_hash=a",
        "gradio_api/file=/etc/passwd",
        "gradio_api/file=../../etc/passwd",
    ],
)
def test_the_server_fetches_and_shows_nothing_else(server: Server, path: str) -> None:
    answer = httpx.get(f"{server.url}{path}", timeout=TIMEOUT)
    assert answer.status_code in (403, 404)
    assert "root:" not in answer.text


@pytest.mark.parametrize("name", ["a.html", "a.svg", "a.xhtml", "a.js", "a.png.html"])
def test_uploads_are_never_served_as_pages(own: Server, name: str) -> None:
    script = b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>"
    path = upload(own, name, script).json()[0]
    answer = httpx.get(f"{own.url}gradio_api/file={path}", timeout=TIMEOUT)
    assert answer.headers["content-type"].startswith("application/octet-stream")
    assert answer.headers["content-disposition"].startswith("attachment")


def test_uploads_are_bounded(own: Server) -> None:
    assert upload(own, "a.png", bytes(2_000_000)).status_code == 413
    for number in range(10):
        assert upload(own, f"{number}.png", bytes([number]) * 95_000).status_code == 200
    # All of these are in use: they were sent just now.
    until(lambda: upload(own, "more.png", bytes(95_001)).status_code == 507)


def test_requests_are_bounded(server: Server) -> None:
    url = f"{server.url}gradio_api/queue/join"
    assert httpx.post(url, content=bytes(2_000_000), timeout=TIMEOUT).status_code == 413
    assert httpx.post(url, content=iter([b"a"]), timeout=TIMEOUT).status_code == 411
    deep = json.dumps({"fn_index": 0, "session_hash": "a"})[:-1] + ', "data": ' + "[" * 90_000
    assert 400 <= httpx.post(url, content=deep, timeout=TIMEOUT).status_code < 500
    assert health(server)["status"] == "ok"
