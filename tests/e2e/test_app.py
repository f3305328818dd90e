import json
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.request import urlopen

import pytest

import app
from ccsr.ui.introduction import TITLE
from tests.fakes import FakeEngine

pytestmark = pytest.mark.e2e

ROOT = Path(app.__file__).parent


def test_program_serves_the_page() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "app.py", "--public", "--port", str(port), "--host", "127.0.0.1"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL) as process:
        try:
            page = ""
            for _ in range(240):
                try:
                    page = urlopen(f"http://127.0.0.1:{port}").read().decode()
                    break
                except OSError:
                    time.sleep(0.5)
            assert f'"title":"{TITLE}"' in page
            health = urlopen(f"http://127.0.0.1:{port}/healthz").read()
            assert json.loads(health) == {"status": "ok", "working": False, "waiting": 0}
        finally:
            process.terminate()


def test_model_can_be_chosen_by_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CCSR_MODEL", str(tmp_path))
    assert app.main([]) == 2
    assert f"{tmp_path} holds no model_index.json" in capsys.readouterr().err


def test_a_port_that_is_taken_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(app, "load_engine", lambda *_: FakeEngine())
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert app.main(["--host", "127.0.0.1", "--port", str(taken.getsockname()[1])]) == 2
    assert "app.py: Cannot find empty port" in capsys.readouterr().err


def test_a_folder_that_cannot_be_written_to_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "file"))
    assert app.main([]) == 2
    assert "cannot be written to" in capsys.readouterr().err
