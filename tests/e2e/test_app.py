import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.request import urlopen

import pytest

import app

pytestmark = pytest.mark.e2e

ROOT = Path(app.__file__).parent


def test_program_serves_the_page() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "app.py", "--port", str(port), "--host", "127.0.0.1"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL) as process:
        try:
            page = ""
            for _ in range(240):
                try:
                    page = urlopen(f"http://127.0.0.1:{port}").read().decode()
                    break
                except OSError:
                    time.sleep(0.5)
            assert '"title":"CCSR"' in page
        finally:
            process.terminate()


def test_model_can_be_chosen_by_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CCSR_MODEL", str(tmp_path))
    assert app.main([]) == 2
    assert f"{tmp_path} holds no model_index.json" in capsys.readouterr().err
