"""The download of a result as JPEG or WEBP."""

from pathlib import Path
from typing import Any, Protocol

import gradio as gr

from ccsr.config import MAX_RESULT_PIXELS
from ccsr.evaluation.report import SETTINGS_KEY
from ccsr.images.reading import load_picture, read_texts
from ccsr.images.writing import save_compressed
from ccsr.ui.event_options import IN_ORDER, changes_of
from ccsr.ui.inputs import errors_shown

SUFFIXES = {"JPEG": ".jpg", "WEBP": ".webp"}
LEAST_QUALITY, QUALITY = 30, 90


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
        quality = gr.Slider(
            LEAST_QUALITY, 100, QUALITY, step=1, label="Quality", min_width=160,
            info="Higher is larger, and closer to the result.",
        )  # fmt: skip
        button = gr.DownloadButton("Download", size="md", elem_id="compressed-download")
    is_open = gr.State(False)
    shown = [results, is_open, kind, quality]
    last: dict[str, Any] = {"trigger_mode": "always_last", **IN_ORDER}
    # Nothing is written before somebody looks.
    panel.expand(lambda: True, None, is_open, **IN_ORDER)
    panel.collapse(lambda: False, None, is_open, **IN_ORDER)
    gr.on([results.change, is_open.change], _show, shown, [panel, button], **last)
    changes_of([kind, quality])(_show, shown, [panel, button], **last)


def _show(made: Result | None, is_open: bool, kind: str, quality: float) -> tuple[Any, Any]:
    if made is None or made.ships:
        return gr.update(visible=False), None
    if not is_open:
        return gr.update(visible=True), None
    with errors_shown():
        path = compressed(made.result, kind, round(quality))
    label = f"Download {kind} ({path.stat().st_size / 1000:,.0f} kB)"
    return gr.update(visible=True), gr.update(value=path, label=label)


def compressed(result: Path, kind: str, quality: int) -> Path:
    """Write a result as JPEG or WEBP, with the settings inside; the path.

    Raises:
        ValueError: If kind or quality are not among those to choose.
    """
    if kind not in SUFFIXES or not LEAST_QUALITY <= quality <= 100:
        raise ValueError(f"choose one of {', '.join(SUFFIXES)}, and a quality up to 100")
    path = result.parent / f"{result.stem}_q{quality}{SUFFIXES[kind]}"
    if not path.exists():
        picture = load_picture(result, max_pixels=MAX_RESULT_PIXELS)
        save_compressed(path, picture, read_texts(result).get(SETTINGS_KEY, ""), quality)
    return path
