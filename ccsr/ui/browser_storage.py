"""The values of the inputs in the storage of the browser: a reloaded page keeps them."""

from collections.abc import Callable, Container, Mapping, Sequence
from contextlib import suppress
from typing import Any
from urllib.parse import urlencode

import gradio as gr
from gradio.components.base import Component

from ccsr.config import MAX_PROMPT_LENGTH, SamplingConfig
from ccsr.ui import snippets
from ccsr.ui.event_options import LIGHT, relay
from ccsr.ui.inputs import FIELDS, blank, chosen_event, read_config

LINK = "Link to these settings"
STORAGE = "ccsr-settings"
"""The name in the browser's storage, and what it is encoded with: nothing there is secret."""


def remember(
    page: gr.Blocks,
    components: Mapping[str, Component],
    settled: Callable[..., Any],
    link: gr.HTML,
) -> None:
    """Keep the values of components over a reload, and take those of a link.

    Args:
        page: The page they are on.
        components: By name; those of the settings must be among them.
        settled: The event of several of them having received values at once.
        link: Gets a link to the values.
    """
    names = list(components)
    choices = _choices(components)
    stored = gr.BrowserState(None, storage_key=STORAGE, secret=STORAGE)

    defaults = {name: component.value for name, component in components.items()}

    def store(*values: Any) -> tuple[dict[str, Any], str]:  # noqa: ANN401
        found = {name: blank(value) for name, value in zip(names, values, strict=True)}
        return found, snippets.link(LINK, link_to(found, defaults))

    def restore(request: gr.Request, found: Any) -> list[Any]:  # noqa: ANN401
        values = defaults | remembered(found, names, choices)
        asked = linked(dict(request.query_params), defaults)
        # A link says what differs from the defaults.
        values = remembered(defaults | asked, names, choices) if asked else values
        return [values.get(name, component.value) for name, component in components.items()]

    # Not when values merely change: a page that fills in its defaults would store these.
    relay([settled, *map(chosen_event, components.values())])(
        store,
        list(components.values()),
        [stored, link],
        trigger_mode="always_last",
        **LIGHT,
    )
    page.load(restore, stored, list(components.values()), **LIGHT)


def _choices(components: Mapping[str, Component]) -> dict[str, set[Any]]:
    """The values that components can have, of those that offer a choice."""
    return {
        name: {value for _, value in component.choices}
        for name, component in components.items()
        if isinstance(component, gr.Radio)
    }


def linked(parameters: Mapping[str, str], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """The values in the parameters of a link, by name; not all of them need be allowed.

    Args:
        parameters: Of the address, others among them.
        defaults: Of the components, whose types the values have.
    """
    found: dict[str, Any] = {}
    for name in defaults.keys() & parameters.keys():
        text, default = parameters[name], defaults[name]
        with suppress(ValueError):
            is_number = isinstance(default, int | float)
            found[name] = float(text) if is_number else text[:MAX_PROMPT_LENGTH]
    return found


def link_to(values: Mapping[str, Any], defaults: Mapping[str, Any]) -> str:
    """The parameters of a link to values, as far as they are not the defaults."""
    return "?" + urlencode({n: v for n, v in values.items() if v is not None and v != defaults[n]})


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
