"""What a program can and cannot make the server do."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr
import httpx
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image

from ccsr.ui.components import PictureFile, SettingsFile
from ccsr.ui.event_options import Block
from tests.e2e.page.conftest import Server, launched
from tests.fakes import FakeEngine

pytestmark = pytest.mark.e2e

FILE = {"_type": "gradio.FileData"}
REFUSED = "no file that was sent to this page"
TIMEOUT = 30


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[gr.Blocks, str]]:
    """The page and its address."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(tmp_path_factory.mktemp("served")))
        with launched(FakeEngine()) as page_and_url:
            yield page_and_url


def answers(url: str, index: int, data: list[Any]) -> Iterator[dict[str, Any]]:
    """What the server sends to somebody who starts one of its functions, whether public or not."""
    body = {"fn_index": index, "data": data, "session_hash": f"attack-{index}"}
    joined = httpx.post(f"{url}gradio_api/queue/join", json=body, timeout=TIMEOUT)
    assert joined.status_code == 200, joined.text
    stream = f"{url}gradio_api/queue/data?session_hash=attack-{index}"
    with httpx.stream("GET", stream, timeout=TIMEOUT) as response:
        for line in response.iter_lines():
            if line.startswith("data:"):
                yield json.loads(line.removeprefix("data:"))


def with_files(page: gr.Blocks) -> list[tuple[int, int]]:
    """Every field of every function that can hold a file: indices of both."""
    return [
        (index, place)
        for index, function in page.fns.items()
        for place, block in enumerate(function.inputs)
        if isinstance(block, PictureFile | SettingsFile)
    ]


def sendable(block: Block) -> Any:  # noqa: ANN401
    """The default of an input; the values of states stay on the server."""
    return None if isinstance(block, gr.State) else getattr(block, "value", None)


@pytest.mark.parametrize("meta", [None, FILE])
def test_no_field_reads_a_file_of_the_server(
    served: tuple[gr.Blocks, str], picture_file: Path, meta: dict[str, str] | None
) -> None:
    page, url = served
    fields = with_files(page)
    assert len(fields) > 10
    for index, place in fields:
        data = [sendable(block) for block in page.fns[index].inputs]
        data[place] = {"path": str(picture_file)} | ({"meta": meta} if meta else {})
        *_, last = (m for m in answers(url, index, data) if m["msg"] == "process_completed")
        assert not last["success"], (index, page.fns[index].name)
        assert str(picture_file.parent) not in json.dumps(last)


def test_the_endpoints_say_why(server: Server, picture_file: Path) -> None:
    for path in (str(picture_file), "http://127.0.0.1:9/a.png"):
        for name in ("upscale", "seeds", "sweep"):
            url = f"{server.url}gradio_api/call/v2/{name}"
            event = httpx.post(url, json={"picture": {"path": path}}, timeout=TIMEOUT).json()
            answer = httpx.get(f"{url}/{event['event_id']}", timeout=TIMEOUT).text
            assert REFUSED in answer
            assert str(picture_file.parent) not in answer


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("seeds", {"num_seeds": 50, "num_steps": 200, "t_max": 1, "t_min": 0}, "megapixels"),
        ("sweep", {"t_maxs": ",".join([".9"] * 60), "num_steps": 200}, "at most 36 values"),
        ("sweep", {"t_mins": "0.1," * 3000}, "at most 200 characters"),
        ("upscale", {"scale": 8}, "limit"),
    ],
)
def test_what_costs_too_much_is_refused_before_it_begins(
    client: Client,
    engine: FakeEngine,
    tmp_path: Path,
    name: str,
    values: dict[str, Any],
    message: str,
) -> None:
    path = tmp_path / "large.png"
    Image.new("RGB", (1000, 800)).save(path)
    started = time.monotonic()
    with pytest.raises(AppError, match=message):
        client.predict(picture=handle_file(str(path)), api_name=f"/{name}", **values)
    assert time.monotonic() - started < 10
    assert engine.evaluations == 0
