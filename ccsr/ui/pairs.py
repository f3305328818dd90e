"""Two pictures compared by an image slider."""

from pathlib import Path
from typing import Any

import gradio as gr

Pair = tuple[Path, Path]
"""Pictures of one size, left and right."""


def pair_slider(
    elem_id: str, max_height: int, label: str | None = None, visible: bool = True
) -> gr.ImageSlider:
    """Make a slider between two pictures, shown as PNG, at most `max_height` pixels high."""
    return gr.ImageSlider(
        label=label,
        show_label=label is not None,
        format="png",
        type="filepath",
        image_mode=None,
        interactive=False,
        visible=visible,
        buttons=["fullscreen"],
        max_height=max_height,
        elem_id=elem_id,
    )


def slider_update(pair: Pair | None) -> Any:  # noqa: ANN401
    """The slider with these pictures, hidden without any."""
    return gr.update(value=pair, visible=pair is not None)
