"""What is kept of the picture a visitor looks at, for all tabs."""

from dataclasses import dataclass

import gradio as gr

from ccsr.events import Engine, Explorer
from ccsr.ui.inputs import read_picture

KEEP_SECONDS = 900
"""How long estimates stay in memory after the last run of a visitor, there or gone."""


@dataclass(frozen=True, eq=False)
class Explored:
    """A chosen picture, with all that has been made of it."""

    path: str
    explorer: Explorer


def kept_exploration() -> gr.State:
    """Make the state that holds it for KEEP_SECONDS."""
    return gr.State(None, time_to_live=KEEP_SECONDS)


def explored(engine: Engine, path: str, before: Explored | None = None) -> Explored:
    """The picture of a file, or what was there `before` if it is the same."""
    if before is not None and before.path == path:
        return before
    return Explored(path, engine.explore(read_picture(path)))
