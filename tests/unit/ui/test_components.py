import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr
import pytest
from gradio.components.base import Component
from gradio.data_classes import FileData, ImageData, ListFiles

from ccsr.ui.components import (
    NumberBox,
    NumberSlider,
    PictureFile,
    PictureFiles,
    SettingsFile,
)
from ccsr.ui.inputs import read_facts
from ccsr.ui.page import build_page
from tests.fakes import FakeEngine, run_coroutine

KINDS = [
    (PictureFile, gr.Image),
    (SettingsFile, gr.File),
    (PictureFiles, gr.File),
    (NumberSlider, gr.Slider),
    (NumberBox, gr.Number),
]


@pytest.mark.parametrize(("kind", "base"), KINDS)
def test_the_browser_draws_what_it_has(kind: type[Component], base: type[Component]) -> None:
    assert kind().get_block_name() == base().get_block_name()
    assert kind().get_config()["name"] == base().get_config()["name"]


def file_list(path: str) -> ListFiles:
    """Files as several of them are sent."""
    return ListFiles(root=[FileData(path=path)])


@pytest.fixture
def uploads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of uploads."""
    folder = tmp_path / "uploads"
    folder.mkdir()
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(folder))
    return folder


@pytest.mark.parametrize(("kind", "data"), [(PictureFile, ImageData), (SettingsFile, FileData)])
def test_a_picture_arrives_as_the_file_that_was_sent(
    kind: type[Any], data: type[Any], uploads: Path
) -> None:
    broken = uploads / "broken.png"
    broken.write_bytes(b"no picture")
    assert kind().preprocess(data(path=str(broken))) == str(broken)
    assert kind().preprocess(None) is None


@pytest.mark.parametrize(
    ("kind", "data"),
    [(PictureFile, ImageData), (SettingsFile, FileData), (PictureFiles, file_list)],
)
@pytest.mark.parametrize(
    "path",
    [
        "{outside}/secret.png",
        "{uploads}/../secret.png",
        "{uploads}/link.png",
        "{uploads}",
        "secret.png",
        "http://127.0.0.1/secret.png",
        "{uploads}/\0.png",
        "{uploads}/" + "a" * 5000,
    ],
)
def test_no_other_file_is_taken(
    kind: type[Any],
    data: Callable[..., Any],
    path: str,
    uploads: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    secret = uploads.parent / "secret.png"
    secret.write_bytes(b"secret")
    (uploads / "link.png").symlink_to(secret)
    monkeypatch.chdir(uploads.parent)
    named = path.format(outside=uploads.parent, uploads=uploads)
    with pytest.raises(gr.Error, match="no file that was sent to this page"):
        kind().preprocess(data(path=named))


@pytest.mark.parametrize(("kind", "data"), [(PictureFile, ImageData), (SettingsFile, FileData)])
def test_a_file_that_has_gone_is_left_to_be_told_of(
    kind: type[Any], data: type[Any], uploads: Path
) -> None:
    gone = str(uploads / "gone.png")
    assert kind().preprocess(data(path=gone)) == gone
    with pytest.raises(ValueError, match=r"gone\.png is no longer there; upload it again"):
        read_facts(gone)


def test_several_pictures_arrive_as_the_files_that_were_sent(uploads: Path) -> None:
    (uploads / "broken.png").write_bytes(b"no picture")
    sent = file_list(str(uploads / "broken.png"))
    assert PictureFiles().preprocess(sent) == [str(uploads / "broken.png")]
    assert PictureFiles().preprocess(None) == []


@pytest.mark.parametrize("kind", [PictureFile, PictureFiles, SettingsFile])
def test_no_address_is_fetched(kind: type[Any]) -> None:
    with pytest.raises(gr.Error, match="no file that was sent to this page"):
        run_coroutine(kind().async_move_resource_to_block_cache("http://127.0.0.1:9/a.png"))


def test_every_input_that_can_hold_a_file_checks_it() -> None:
    page = build_page(FakeEngine(reads_text=True))
    inputs = {block for function in page.fns.values() for block in function.inputs}
    with_files = {type(block) for block in inputs if getattr(block, "data_model", None)}
    assert with_files == {PictureFile, PictureFiles, SettingsFile}


@pytest.mark.parametrize("make", [lambda: NumberSlider(0, 1, 0.5), lambda: NumberBox(3, maximum=9)])
def test_numbers_arrive_as_they_were_sent(make: Callable[[], Any]) -> None:
    assert make().preprocess(77.5) == 77.5
    assert math.isnan(make().preprocess(None))


def test_a_component_reads_the_same_way_after_an_update() -> None:
    with gr.Blocks() as page:
        slider = NumberSlider(0, 1, 0.5, label="Share")
        slider.change(lambda: gr.update(maximum=2), None, slider)
    (event,) = page.fns.values()
    state = gr.state_holder.SessionState(page)
    run_coroutine(page.postprocess_data(event, gr.update(maximum=2), state))
    updated = state[slider._id]
    assert isinstance(updated, NumberSlider)
    assert updated is not slider
    assert updated.maximum == 2
    assert updated.preprocess(77.0) == 77.0


def test_every_number_arrives_as_it_was_sent() -> None:
    page = build_page(FakeEngine(reads_text=True))
    inputs = {block for function in page.fns.values() for block in function.inputs}
    numbers = {type(block) for block in inputs if isinstance(block, gr.Slider | gr.Number)}
    assert numbers == {NumberSlider, NumberBox}
