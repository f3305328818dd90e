"""What the events of the page share: their options, and how several follow one change."""

from collections.abc import Callable, Iterable
from typing import Any

import gradio as gr
from gradio.blocks import BlockContext
from gradio.components.base import Component

Block = Component | BlockContext
"""What an event takes values from or gives values to."""

Chosen = gr.Slider | gr.Radio | gr.Textbox | gr.Dropdown | gr.Image | gr.Number
"""Components whose change events follow."""

PRIVATE: dict[str, Any] = {
    "api_visibility": "private",
    "show_progress": "hidden",
    "show_progress_on": [],
}
"""Events with these are the page's own. Their progress is shown on no component: with each event
the browser would update the progress of all outputs of all events, hidden as it is."""
LIGHT: dict[str, Any] = {**PRIVATE, "queue": False}
"""Events with these answer at once, in any order."""
IN_ORDER: dict[str, Any] = {**PRIVATE, "concurrency_limit": 1}
"""Events with these answer one after another, so that the latest request is answered last."""


def relay(events: Iterable[Callable[..., Any]]) -> Callable[..., Any]:
    """One event for any number of listeners that follow any of these events.

    Gradio sends an event that one listener of mode "always_last" deferred to all its listeners
    again: two of them can trigger each other without end. So these events have one listener, which
    does nothing but trigger the others, each by itself.
    """
    return gr.on(list(events), None, **LIGHT).then


def changes_of(components: Iterable[Chosen]) -> Callable[..., Any]:
    """The event of a change of any of these components, see `relay`."""
    return relay(component.change for component in components)
