"""What can be done about a picture that is too large: shrink it, or cut out a part."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.data_classes import FileData

from ccsr.config import MAX_RESULT_PIXELS, SamplingConfig
from ccsr.images.cutting import Box, cut_out, fitting_size, shrunk
from ccsr.images.picture import MAX_INPUT_PIXELS, Picture
from ccsr.images.reader_pool import READERS
from ccsr.images.writing import save_png
from ccsr.ui.event_options import IN_ORDER
from ccsr.ui.files import new_folder, write_preview
from ccsr.ui.inputs import Settings, read_config, read_facts, refusals_told
from ccsr.ui.limits import Limits

MAX_READ_PIXELS = MAX_RESULT_PIXELS
"""Of a picture that is made smaller here: 4000x3000 and more."""
SHOWN_PIXELS = 1_000_000
"""Of the picture on which a part is marked."""


class CutFrame(gr.HTML):
    """A picture with a frame to be dragged; the event `select` has the box that was cut out."""

    def __init__(self, **kwargs: Any) -> None:  # noqa: ANN401 - those of gr.HTML
        kwargs |= {
            "html_template": '<div class="cut-frame" hidden></div>',
            "js_on_load": "ccsrCutFrame(element, props, trigger, watch); // 'select'",
            "apply_default_css": False,
        }
        super().__init__(**kwargs)

    def postprocess(  # type: ignore[override] - what is shown is no HTML here
        self, value: dict[str, Any] | None
    ) -> Any:  # noqa: ANN401
        """What the browser is sent: `file`, `width`, `height`, and the `most` pixels of a part."""
        if value is None:
            return None
        return value | {"file": FileData(path=str(value["file"])).model_dump()}


def most_pixels(config: SamplingConfig, limits: Limits) -> int:
    """Most pixels of an input with these settings."""
    # Each side of the result is rounded up by half a pixel at most.
    result = min(limits.max_result_pixels, MAX_RESULT_PIXELS)
    return min(MAX_INPUT_PIXELS, int(0.999 * result / config.scale**2))


def is_too_large(path: str | None, config: SamplingConfig, limits: Limits) -> bool:
    """Whether a picture could be used if it were smaller."""
    if not path:
        return False
    try:
        size = read_facts(path, MAX_READ_PIXELS).size
    except ValueError:
        return False
    return size.height * size.width > most_pixels(config, limits)


def build_fitting() -> tuple[gr.Row, gr.Button, gr.Button, CutFrame]:
    """Lay out both buttons, in sight for a picture that is too large, and the frame."""
    with gr.Row(visible=False, elem_id="fitting") as row:
        shrink = gr.Button("Shrink to fit", size="md", min_width=120)
        cut = gr.Button("Cut out a part", size="md", min_width=120)
    return row, shrink, cut, CutFrame(elem_id="cut-frame")


def wire_fitting(
    parts: tuple[gr.Row, gr.Button, gr.Button, CutFrame],
    picture: gr.Image,
    settings: Settings,
    limits: Limits,
) -> None:
    """Let the buttons and the frame replace the picture by a smaller one."""
    _, shrink, cut, frame = parts
    values = [picture, *settings.values()]
    shrink.click(functools.partial(_shrunk, limits), values, picture, **IN_ORDER)
    cut.click(functools.partial(_framed, limits), values, frame, **IN_ORDER)
    frame.select(_cut, picture, [picture, frame], **IN_ORDER)
    picture.change(lambda: None, None, frame, **IN_ORDER)


def _smaller(path: str, make: Callable[[Picture], Picture]) -> str:
    """Write what is made of a picture; its path."""
    made = make(READERS.picture(path, MAX_READ_PIXELS))
    written = new_folder() / f"{Path(path).stem}.png"
    save_png(written, made)
    return str(written)


@refusals_told
def _shrunk(limits: Limits, path: str, *values: Any) -> str:  # noqa: ANN401
    most = most_pixels(read_config(values), limits)
    return _smaller(path, lambda picture: shrunk(picture, fitting_size(picture.size, most)))


@refusals_told
def _framed(limits: Limits, path: str, *values: Any) -> dict[str, Any]:  # noqa: ANN401
    """The picture to mark a part of."""
    most = most_pixels(read_config(values), limits)
    picture = READERS.picture(path, MAX_READ_PIXELS)
    small = shrunk(picture, fitting_size(picture.size, SHOWN_PIXELS))
    file = write_preview(new_folder() / "whole.png", small.rgb, small.alpha)
    width, height = picture.size.width, picture.size.height
    return {"file": file, "width": width, "height": height, "most": most}


@refusals_told
def _cut(path: str, event: gr.EventData) -> tuple[str, None]:
    box = Box(event.left, event.top, event.width, event.height)
    return _smaller(path, lambda picture: cut_out(picture, box)), None
