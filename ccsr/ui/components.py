"""Components that pass on what the browser sent, so that `ccsr.ui.inputs` checks it.

Gradio's own raise errors while they read a value, some without a message for people. A subclass,
because Gradio builds components anew from their class when it updates them. `is_template` lets
the browser draw it as its base class.
"""

import math

import gradio as gr
from gradio.data_classes import ImageData


class PictureFile(gr.Image):
    """An upload of a picture, read as the path of the file as it was sent."""

    is_template = True

    def preprocess(self, payload: ImageData | None) -> str | None:
        """The path, or None without a picture."""
        return payload.path if payload else None


class NumberSlider(gr.Slider):
    """A slider with a number box, read as any number."""

    is_template = True

    def preprocess(self, payload: float | None) -> float:
        """The number, or NaN for an empty box."""
        return math.nan if payload is None else payload


class NumberBox(gr.Number):
    """A number box, read as any number."""

    is_template = True

    def preprocess(self, payload: float | None) -> float:
        """The number, or NaN for an empty box."""
        return math.nan if payload is None else payload
