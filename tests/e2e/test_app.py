import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.request import urlopen

import numpy as np
import pytest
from gradio_client import Client, handle_file
from PIL import Image
from skimage import data

import app
from ccsr.commands import main as command_line
from ccsr.errors import InputError
from ccsr.ui.introduction import TITLE
from tests.e2e.whole_files import check_whole
from tests.fakes import FakeEngine

pytestmark = pytest.mark.e2e

ROOT = Path(app.__file__).parent


SMALL = Image.fromarray(data.chelsea()).resize((60, 40), Image.Resampling.BICUBIC)
KILLS = int(os.environ.get("CCSR_TEST_KILLS", "1"))


@contextmanager
def started(files: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """The program in float32 and its address; its files go to `files`."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "app.py", "--public", "--dtype", "float32", "--port", str(port),
               "--host", "127.0.0.1"]  # fmt: skip
    environment = os.environ | {"GRADIO_TEMP_DIR": str(files)}
    url = f"http://127.0.0.1:{port}"
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, env=environment) as process:
        try:
            for _ in range(240):
                with suppress(OSError):
                    urlopen(url).close()
                    break
                time.sleep(0.5)
            yield process, url
        finally:
            process.kill()


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with started(tmp_path_factory.mktemp("served")) as (_, url):
        yield url


def test_program_serves_the_page(url: str) -> None:
    assert f'"title":"{TITLE}"' in urlopen(url).read().decode()
    health = urlopen(f"{url}/healthz").read()
    assert json.loads(health) == {"status": "ok", "working": False, "waiting": 0}


def test_page_and_command_line_make_the_same_picture(url: str, tmp_path: Path) -> None:
    source = tmp_path / "cat.png"
    SMALL.save(source)
    client = Client(url, verbose=False, analytics_enabled=False)
    served, _ = client.predict(
        picture=handle_file(str(source)), seed=7, num_steps=12, api_name="/upscale"
    )
    arguments = ["--output", str(tmp_path / "out"), "--dtype", "float32", "--seed", "7"]
    assert command_line(["upscale", str(source), *arguments, "--num-steps", "12"]) == 0
    pictures = [np.asarray(Image.open(path), int) for path in (served, tmp_path / "out/cat.png")]
    assert np.abs(pictures[0] - pictures[1]).max() <= 1


@pytest.mark.parametrize("number", range(KILLS))
def test_a_killed_program_leaves_whole_files(number: int, tmp_path: Path) -> None:
    source, files = tmp_path / "cat.png", tmp_path / "served"
    SMALL.save(source)
    with started(files) as (process, url):
        client = Client(url, verbose=False, analytics_enabled=False, download_files=False)
        for name in ("/seeds", "/sweep"):
            client.submit(picture=handle_file(str(source)), num_seeds=4, api_name=name)
        begun = time.monotonic()
        while len(list(files.rglob("*.png"))) < 4:  # besides the upload
            assert time.monotonic() - begun < 60
            time.sleep(0.05)
        time.sleep(3 * np.random.default_rng(number).random())
        process.kill()
        process.wait()
    for path in files.rglob("*"):
        if path.is_file() and path.suffix != ".part":
            check_whole(path)


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
    assert "error: Cannot find empty port" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("raised", "told"),
    [
        (KeyError("unet"), "app.py: KeyError: 'unet'. This is a fault of the program"),
        (ValueError("no such axis"), "app.py: no such axis. This is a fault of the program"),
        (InputError("model is no folder"), "error: model is no folder"),
    ],
)
def test_an_error_at_the_start_is_one_sentence(
    raised: Exception,
    told: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(*_: object) -> None:
        raise raised

    monkeypatch.setattr(app, "load_engine", fail)
    assert app.main([]) == 2
    printed = capsys.readouterr().err
    assert told in printed
    assert len(printed.splitlines()) == 1


def test_what_gradio_refuses_is_no_fault(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(app, "load_engine", lambda *_: FakeEngine())
    monkeypatch.setattr("gradio.networking.url_ok", lambda _: False)
    assert app.main(["--host", "127.0.0.1"]) == 2
    printed = capsys.readouterr().err
    assert "error: the page cannot be served: When localhost is not accessible" in printed
    assert "fault of the program" not in printed


def test_a_folder_that_cannot_be_written_to_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "file"))
    assert app.main([]) == 2
    assert "cannot be written to" in capsys.readouterr().err
