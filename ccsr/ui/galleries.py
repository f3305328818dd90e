"""Galleries of results."""

import gradio as gr


def picture_gallery(label: str, columns: int, elem_id: str) -> gr.Gallery:
    """Make a gallery of whole pictures, shown as PNG, each enlarged by a click."""
    return gr.Gallery(
        label=label,
        show_label=False,
        format="png",
        columns=columns,
        height="auto",
        object_fit="contain",
        interactive=False,
        buttons=["fullscreen"],
        elem_id=elem_id,
    )
