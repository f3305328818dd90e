"""The longest side of the result in pixels, which is the scale said in another way."""

import math
from typing import Any

import gradio as gr

from ccsr.config import SamplingConfig
from ccsr.option import option
from ccsr.ui.components import NumberBox
from ccsr.ui.event_options import LIGHT, PRIVATE, changes_of
from ccsr.ui.fitting import MAX_READ_PIXELS
from ccsr.ui.inputs import blank, read_facts


def longest_side_box(first: int | None) -> gr.Number:
    """Make the box, with the longest side of the result that the page opens with.

    It is out of sight while that is not known: empty, the browser would draw it as 0.
    """
    return NumberBox(
        first,
        label="Longest side, pixels",
        step=1,
        min_width=250,
        scale=0,
        visible=first is not None,
        elem_classes="inline",
    )


def wire_longest_side(
    box: gr.Number, picture: gr.Image, scale: gr.Slider, settled: gr.State
) -> None:
    """Let the box follow picture and scale, and the scale follow the box.

    Args:
        box: The box.
        picture: The picture.
        scale: The scale.
        settled: Its change says that the settings have received values.
    """
    changes_of([picture, scale])(_shown, [picture, scale], box, trigger_mode="always_last", **LIGHT)
    # In the queue: only there do changes of a state start further events.
    # Not when the box loses the focus: the answer would undo what is meanwhile typed elsewhere.
    box.submit(
        _chosen,
        [picture, box, scale, settled],
        [box, scale, settled],
        concurrency_limit=None,
        **PRIVATE,
    )


def _shown(path: str | None, scale: float) -> Any:  # noqa: ANN401
    longest = longest_side(path, scale)
    return gr.update(value=longest, visible=longest is not None)


def longest_side(path: str | None, scale: float) -> int | None:
    """The longest side of the result in pixels; None if it is not known."""
    longest = _longest(path)
    return None if longest is None or math.isnan(scale) else round(longest * scale)


def scale_for(path: str | None, side: float) -> float | None:
    """The scale, as far as it is allowed, of a result with this longest side; None if unknown."""
    longest = _longest(path)
    if longest is None or math.isnan(side):
        return None
    lowest, highest = _scales()
    return round(min(max(side / longest, lowest), highest), 6)


def _scales() -> tuple[float, float]:
    """The lowest and the highest scale."""
    about = option(SamplingConfig, "scale")
    assert about.minimum is not None
    assert about.maximum is not None
    return about.minimum, about.maximum


def _longest(path: str | None) -> int | None:
    try:
        return max(read_facts(path, MAX_READ_PIXELS).size) if path else None
    except ValueError:  # the line about the picture says it
        return None


def _chosen(
    path: str | None, side: float, scale: float, count: int
) -> tuple[float | None, float | None, int]:
    """The longest side, the scale, and the count of values received at once."""
    wanted = scale_for(path, side)
    if wanted is None:
        # Values, never gr.skip(): see `ui.browser_storage`.
        return blank(side), blank(scale), count
    made = longest_side(path, wanted)
    if made != side:
        lowest, highest = (longest_side(path, limit) for limit in _scales())
        gr.Warning(
            f"The longest side must be a whole number from {lowest} to {highest} for this picture, "
            f"got {side:g}: it is {made} now"
        )
    is_new = longest_side(path, scale) != made
    return made, wanted if is_new else blank(scale), count + is_new
