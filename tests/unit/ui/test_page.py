from collections import defaultdict

import gradio as gr

from ccsr.ui.page import build_page
from tests.fakes import FakeEngine


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
