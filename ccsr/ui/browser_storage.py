"""The values of the inputs in the storage of the browser: a reloaded page keeps them."""

from collections.abc import Callable, Container, Mapping, Sequence
from typing import Any

import gradio as gr
from gradio.components.base import Component

from ccsr.config import SamplingConfig
from ccsr.ui.event_options import LIGHT, relay
from ccsr.ui.inputs import FIELDS, chosen_event, read_config

STORAGE = "ccsr-settings"
"""The name in the browser's storage, and what it is encoded with: nothing there is secret."""


def remember(
    page: gr.Blocks, components: Mapping[str, Component], settled: Callable[..., Any]
) -> None:
    """Keep the values of components over a reload.

    Args:
        page: The page they are on.
        components: By name; those of the settings must be among them.
        settled: The event of several of them having received values at once.
    """
    names = list(components)
    choices = {
        name: {value for _, value in component.choices}
        for name, component in components.items()
        if isinstance(component, gr.Radio)
    }
    stored = gr.BrowserState(None, storage_key=STORAGE, secret=STORAGE)

    def store(*values: Any) -> dict[str, Any]:  # noqa: ANN401
        return dict(zip(names, values, strict=True))

    def restore(found: Any) -> list[Any]:  # noqa: ANN401
        values = remembered(found, names, choices)
        return [values.get(name, component.value) for name, component in components.items()]

    # Not when values merely change: a page that fills in its defaults would store these.
    relay([settled, *map(chosen_event, components.values())])(
        store,
        list(components.values()),
        stored,
        trigger_mode="always_last",
        **LIGHT,
    )
    page.load(restore, stored, list(components.values()), **LIGHT)


def remembered(
    found: Any,  # noqa: ANN401
    names: Sequence[str],
    choices: Mapping[str, Container[Any]],
) -> dict[str, Any]:
    """The values that can be shown again; none if the settings among them no longer fit.

    What a browser sends may be of an earlier version, of another model, or of anybody.

    Args:
        found: What it is.
        names: Of the components.
        choices: The values that some of them can have.
    """
    if not isinstance(found, dict) or set(found) != set(names):
        return {}
    try:
        if any(found[name] not in allowed for name, allowed in choices.items()):
            return {}
        default = SamplingConfig().model_dump()
        read_config([(default | found)[name] for name in FIELDS])
    except (ValueError, TypeError):
        return {}
    return found
