"""What is kept of pages that are open, and of those that were."""

import gradio as gr

from ccsr.ui.presence import Presence
from ccsr.ui.states import BoundedStates


def states(capacity: int, presence: Presence, forgotten: list[str]) -> BoundedStates:
    with gr.Blocks() as page:
        results = gr.State(
            None, delete_callback=lambda value: forgotten.append(f"files of {value}")
        )
    kept = BoundedStates(page, capacity, presence, forgotten.append)
    kept.results = results._id  # pyright: ignore
    return kept


def test_pages_that_are_closed_are_forgotten_with_their_files() -> None:
    forgotten: list[str] = []
    presence = Presence()
    kept = states(3, presence, forgotten)
    for name in "abc":
        kept[name][kept.results] = name  # pyright: ignore
    presence.enter("a")
    kept["d"]
    assert forgotten == ["files of b", "b"]
    assert set(kept.session_data) == {"a", "c", "d"}


def test_thousands_of_pages_do_not_push_out_one_that_is_open() -> None:
    presence, forgotten = Presence(), []
    kept = states(10, presence, forgotten)
    presence.enter("visitor")
    kept["visitor"]
    for number in range(2000):
        kept[f"attack {number}"]
    assert len(kept.session_data) == 10
    assert "visitor" in kept
    assert len(forgotten) == 1991
