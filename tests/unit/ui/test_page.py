import asyncio
import json
import re
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import gradio as gr

from ccsr.ui.model_queue import ModelQueue
from ccsr.ui.page import build_page, launch_kwargs
from ccsr.ui.presence import Presence
from ccsr.ui.sessions import Sessions
from tests.fakes import FakeEngine


def test_page_and_server_keep_the_sessions_and_the_presence_that_they_are_given() -> None:
    """Also while both are empty."""
    engine, queue = FakeEngine(), ModelQueue(presence=Presence())
    sessions = Sessions(engine)
    assert (len(sessions), len(queue.presence or ())) == (0, 0)
    page = build_page(engine, queue, sessions)
    owners = [getattr(function.fn, "__self__", None) for function in page.fns.values()]
    assert any(owner is sessions for owner in owners)

    async def started() -> object:
        app = SimpleNamespace(get_blocks=lambda: page)
        async with launch_kwargs(queue, sessions)["app_kwargs"]["lifespan"](app):
            return app.state_holder.presence

    # In a thread of its own: the browser of other tests has an event loop in this one.
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(asyncio.run, started()).result() is queue.presence


def test_deferred_listener_of_an_event_is_its_only_one() -> None:
    """Gradio sends a deferred event to all its listeners again; see `event_options.relay`.

    Changes of a `gr.State` are excepted: Gradio sends them to each listener by itself.
    """
    page = build_page(FakeEngine(reads_text=True))
    modes: defaultdict[tuple[int, str], list[str]] = defaultdict(list)
    for function in page.fns.values():
        for target, event in function.targets:
            if function.fn and target and not isinstance(page.blocks.get(target), gr.State):
                modes[target, event].append(function.trigger_mode)
    assert any("always_last" in listeners for listeners in modes.values())
    several = {key: listeners for key, listeners in modes.items() if len(listeners) > 1}
    assert {key: some for key, some in several.items() if "always_last" in some} == {}


def test_no_number_is_written_for_machines() -> None:
    """Neither of the limits in labels and help, nor of those in what programs are told."""
    page = build_page(FakeEngine(reads_text=True))
    told = [json.dumps(page.get_api_info())]
    for block in page.blocks.values():
        props = block.get_config()
        told += [
            str(props.get(key)) for key in ("label", "info", "value", "placeholder", "choices")
        ]
    text = "\n".join(told)
    assert re.findall(r"\de\+\d+|\binf\b|Infinity|\bnan\b", text) == []


def test_events_of_the_page_show_their_progress_nowhere() -> None:
    """Or the browser updates it for all outputs of all events with each; see `PRIVATE`."""
    config = build_page(FakeEngine(reads_text=True)).config
    shown = [
        function["show_progress_on"]
        for function in config.get("dependencies", [])
        if function["api_visibility"] == "private" and function["outputs"]
    ]
    assert len(shown) > 50
    assert all(where == [] for where in shown)
