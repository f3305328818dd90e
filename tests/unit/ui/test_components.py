import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr
import pytest
from gradio.components.base import Component
from gradio.data_classes import ImageData

from ccsr.ui.components import NumberBox, NumberSlider, PictureFile
from tests.fakes import run_coroutine

KINDS = [(PictureFile, gr.Image), (NumberSlider, gr.Slider), (NumberBox, gr.Number)]


@pytest.mark.parametrize(("kind", "base"), KINDS)
def test_the_browser_draws_what_it_has(kind: type[Component], base: type[Component]) -> None:
    assert kind().get_block_name() == base().get_block_name()
    assert kind().get_config()["name"] == base().get_config()["name"]


def test_a_picture_arrives_as_the_file_that_was_sent(tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    assert PictureFile().preprocess(ImageData(path=str(broken))) == str(broken)
    assert PictureFile().preprocess(None) is None


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
