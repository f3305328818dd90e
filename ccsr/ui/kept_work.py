"""Picture and result in the storage of the browser: a reloaded page has them again.

The browser keeps the paths of two files that were served to it. They are there as long as the page
keeps files; a result holds its settings.
"""

import filecmp
import functools
from pathlib import Path
from typing import Any

import gradio as gr

from ccsr.config import COMPACT
from ccsr.inference.events import ModelInfo
from ccsr.ui.components import uploaded
from ccsr.ui.event_options import IN_ORDER, LIGHT, changes_of
from ccsr.ui.example_strip import chosen
from ccsr.ui.examples import EXAMPLES, Example
from ccsr.ui.tab_run import Inputs
from ccsr.ui.tabs.upscale import Upscaled, reopened

STORAGE = "ccsr-work"
"""The name in the browser's storage, and what it is encoded with: nothing there is secret."""


def keep_work(page: gr.Blocks, about: gr.HTML, inputs: Inputs, results: gr.State) -> None:
    """Keep the picture and its result over a reload; without any the page opens with an example.

    Args:
        page: The page.
        about: Says what an example shows.
        inputs: Get the picture and, of an example, its true picture.
        results: Those of the tab Upscale.
    """
    stored = gr.BrowserState(None, storage_key=STORAGE, secret=STORAGE)
    shown = [inputs.picture, results]
    for change in (changes_of([inputs.picture]), results.change):
        change(work_of, shown, stored, trigger_mode="multiple", **LIGHT)
    page.load(
        functools.partial(opened, inputs.sessions.engine.info),
        stored,
        [inputs.picture, inputs.reference, about, results],
        **IN_ORDER,
    )


def work_of(picture: str | None, upscaled: Upscaled | None) -> dict[str, str] | None:
    """What the browser keeps: the picture, and its result unless that ships."""
    if not picture:
        return None
    if upscaled is None or upscaled.source != picture or upscaled.ships:
        return {"picture": picture}
    return {"picture": picture, "result": str(upscaled.result)}


def opened(info: ModelInfo, found: Any) -> tuple[Any, ...]:  # noqa: ANN401
    """Picture, reference, what an example shows, and results of a page that opens.

    Args:
        info: The model.
        found: What the browser sends: of an earlier visit, or of anybody.
    """
    kept = found if isinstance(found, dict) else {}
    picture = _file(kept.get("picture"))
    if picture is None:
        return chosen(EXAMPLES[0], info, None) if info.name == COMPACT else (gr.skip(),) * 4
    example = _example(picture)
    result = _file(kept.get("result"))
    if example is not None and result is None:
        return chosen(example, info, None)
    try:
        upscaled = None if result is None else reopened(picture, result, info)
    except (ValueError, OSError):  # the files have gone, or are of another version
        upscaled = None
    return picture, None, "", upscaled


def _file(path: Any) -> str | None:  # noqa: ANN401
    """The path of a file that was sent here or made here and is there; None for any other."""
    try:
        found = uploaded(path) if isinstance(path, str) else None
    except gr.Error:
        return None
    return found if found and Path(found).is_file() else None


def _example(path: str) -> Example | None:
    """The example whose picture this is."""
    return next((e for e in EXAMPLES if filecmp.cmp(path, e.picture, shallow=False)), None)
