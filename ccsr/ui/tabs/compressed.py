"""The download of a result as JPEG or WEBP."""

from pathlib import Path
from typing import Any, Protocol

import gradio as gr

from ccsr.config import DEFAULT_QUALITY, MAX_RESULT_PIXELS, QUALITY
from ccsr.evaluation.report import SETTINGS_KEY
from ccsr.images.reading import load_picture, read_texts
from ccsr.images.writing import save_compressed
from ccsr.ui.event_options import IN_ORDER, changes_of
from ccsr.ui.inputs import number_slider, read_whole, refusals_told

SUFFIXES = {"JPEG": ".jpg", "WEBP": ".webp"}


class Result(Protocol):
    """A result as far as it is written anew."""

    @property
    def result(self) -> Path:
        """Its PNG."""
        ...

    @property
    def ships(self) -> bool:
        """Whether it came with the product, compressed already."""
        ...


def build_compressed(results: gr.State) -> None:
    """Lay out the choice of format and quality, in sight while there is a result."""
    with gr.Accordion("Download as JPEG or WEBP", open=False, visible=False) as panel, gr.Row():
        kind = gr.Radio(list(SUFFIXES), value="JPEG", label="Format", min_width=160)
        quality = number_slider(QUALITY, DEFAULT_QUALITY)
        button = gr.DownloadButton("Download", size="md", elem_id="compressed-download")
    is_open = gr.State(False)
    shown = [results, is_open, kind, quality]
    last: dict[str, Any] = {"trigger_mode": "always_last", **IN_ORDER}
    # Nothing is written before somebody looks.
    panel.expand(lambda: True, None, is_open, **IN_ORDER)
    panel.collapse(lambda: False, None, is_open, **IN_ORDER)
    gr.on([results.change, is_open.change], _show, shown, [panel, button], **last)
    changes_of([kind, quality])(_show, shown, [panel, button], **last)


@refusals_told
def _show(made: Result | None, is_open: bool, kind: str, quality: float) -> tuple[Any, Any]:
    if made is None or made.ships:
        return gr.update(visible=False), None
    if not is_open:
        return gr.update(visible=True), None
    path = compressed(made.result, kind, read_whole(QUALITY, quality))
    label = f"Download {kind} ({path.stat().st_size / 1000:,.0f} kB)"
    return gr.update(visible=True), gr.update(value=path, label=label)


def compressed(result: Path, kind: str, quality: int) -> Path:
    """Write a result as JPEG or WEBP, one of `SUFFIXES`, with the settings inside; the path."""
    path = result.parent / f"{result.stem}_q{quality}{SUFFIXES[kind]}"
    if not path.exists():
        picture = load_picture(result, max_pixels=MAX_RESULT_PIXELS)
        save_compressed(path, picture, read_texts(result).get(SETTINGS_KEY, ""), quality)
    return path
