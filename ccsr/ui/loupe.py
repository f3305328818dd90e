"""The loupe: pictures of one size, compared at one zoom and place that all loupes share.

The browser's part of it is `loupe.js` and `loupe.css` beside this file, which the page loads once.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import gradio as gr
import numpy as np
from gradio.data_classes import FileData
from PIL import Image

from ccsr.evaluation import heatmap
from ccsr.images.tensors import to_uint8
from ccsr.whole_file import whole_file

Side = Literal["left", "right"]
Mode = Literal["slide", "flicker", "pair", "all"]
"""Two pictures with a border between them, in turn, side by side; or all pictures."""


@dataclass(frozen=True)
class View:
    """One of the pictures."""

    name: str
    file: Path
    levels: float | None = None
    """Grey levels of the brightest colour, of a map or a picture with a map over it."""
    is_map: bool = False
    """Whether the file is of `write_map`, so that its values can be read."""


@dataclass(frozen=True)
class Views:
    """Pictures that show the same, the first of them in full size."""

    views: tuple[View, ...]
    left: str = ""
    """Name of what is compared first; by default the first."""
    right: str = ""
    """Of what it is compared with; by default the second. A visitor's choice stays."""
    mode: Mode = "slide"
    """At first; a visitor's choice stays."""
    opens: Side = "right"
    """Where a picture is shown that is clicked among all of them, in the place of another."""
    columns: int = 0
    """Of all pictures; 0: as many as fit."""
    asked: int = 0
    """When this number changes, `left`, `right` and `mode` are shown whatever was chosen."""

    @property
    def files(self) -> tuple[Path, ...]:
        """Those of the pictures."""
        return tuple(view.file for view in self.views)


class Loupe(gr.HTML):
    """Shows `Views`; its event `select` has the names `left` and `right` that a visitor chose."""

    def __init__(self, **kwargs: Any) -> None:  # noqa: ANN401 - those of gr.HTML
        kwargs |= {
            "html_template": '<div class="loupe" hidden></div>',
            "js_on_load": "ccsrLoupe(element, props, trigger, watch);",
            "apply_default_css": False,
        }
        super().__init__(**kwargs)

    def postprocess(  # type: ignore[override] - what is shown is no HTML here
        self, value: Views | None
    ) -> Any:  # noqa: ANN401
        """What the browser is sent."""
        if value is None or not value.views:
            return None
        names = [view.name for view in value.views]
        with Image.open(value.views[0].file) as first:
            width, height = first.size
        return {
            "views": [_sent(view) for view in value.views],
            "width": width,
            "height": height,
            "left": value.left or names[0],
            "right": value.right or names[min(1, len(names) - 1)],
            "mode": value.mode,
            "opens": value.opens,
            "columns": value.columns,
            "asked": value.asked,
            "palette": [bytes(color).hex() for color in palette()],
        }


def _sent(view: View) -> dict[str, Any]:
    file = FileData(path=str(view.file)).model_dump()
    return {"name": view.name, "file": file, "levels": view.levels, "is_map": view.is_map}


def palette() -> np.ndarray:
    """The colours of a map, [256,3] uint8; no two are the same."""
    return np.round(heatmap.colors(np.arange(256) / 255) * 255).astype(np.uint8)


def map_view(
    name: str, path: Path, values: np.ndarray, maximum: float, alpha: np.ndarray | None = None
) -> View:
    """Write a map to be looked at and read: its colours are 256 steps up to the maximum.

    Args:
        name: Of the view.
        path: Of the PNG.
        values: The map [H,W], at least 0.
        maximum: The value of the brightest colour, in the unit of the map, above 0.
        alpha: That of the results, [H,W] in [0,1]: where nothing of them is seen, nothing is of the
            map, and everywhere else its colours are whole, to be read. None: they are opaque.
    """
    image = Image.fromarray(np.round(np.clip(values / maximum, 0, 1) * 255).astype(np.uint8), "P")
    image.putpalette(palette().tobytes())
    if alpha is not None:
        image = image.convert("RGB")
        image.putalpha(Image.fromarray(to_uint8(alpha)).point(lambda level: 255 if level else 0))
    with whole_file(path, overwrite=True) as file:
        image.save(file, "PNG", compress_level=1)
    return View(name, path, round(heatmap.GREY_LEVELS * maximum, 6), is_map=True)


def loupe_update(views: Views | None) -> Any:  # noqa: ANN401
    """The loupe with these pictures, hidden without any."""
    return gr.update(value=views, visible=views is not None)
