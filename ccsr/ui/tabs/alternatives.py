"""What could also be there: the mean of the seeds, moved along their principal components."""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np

from ccsr.config import DEVIATION, MAX_RESULT_PIXELS
from ccsr.evaluation.principal_components import PrincipalComponents, principal_components
from ccsr.evaluation.report import write_array
from ccsr.images.picture import Picture
from ccsr.images.reading import load_picture
from ccsr.images.tensors import to_uint8
from ccsr.inference.memory import spill_to_disk
from ccsr.ui import snippets
from ccsr.ui.event_options import IN_ORDER
from ccsr.ui.files import write_preview
from ccsr.ui.inputs import number_slider, read_number, refusals_told
from ccsr.ui.loupe import Loupe, View, Views
from ccsr.ui.tabs.seed_run import SeedRun

COUNT = 3
"""Most components that have a slider."""
HELP = (
    "The seeds differ from their mean mostly along a few directions, their principal components. "
    "Move along them: everything up to two standard deviations is about as likely as the results "
    "themselves. The pictures are blends of the pixels of the results; nothing is computed anew by "
    "the model."
)


def build_alternatives(results: gr.State) -> None:
    """Lay out the sliders, and connect them to the results of a run that has ended."""
    with gr.Accordion("What could also be there", open=False, visible=False) as panel:
        gr.HTML(snippets.line(HELP, "quiet"))
        with gr.Row():
            sliders = [_slider(number) for number in range(COUNT)]
        loupe = Loupe(elem_id="alternatives-loupe")

    results.change(_show, results, [panel, *sliders, loupe], trigger_mode="always_last", **IN_ORDER)
    gr.on(
        [slider.input for slider in sliders],
        _moved,
        [results, *sliders],
        loupe,
        trigger_mode="always_last",
        **IN_ORDER,
    )


def _slider(number: int) -> gr.Slider:
    slider = number_slider(DEVIATION, DEVIATION.default, 180, info=None)
    slider.label, slider.elem_id = _label(number), f"component-{number + 1}"
    return slider


def _label(number: int) -> str:
    return f"{DEVIATION.label} {number + 1}"


def _show(run: SeedRun | None) -> tuple[Any, ...]:
    """Updates of the panel, the sliders and the loupe."""
    if run is None or run.archive is None or len(run.pictures) < 3:
        return gr.update(visible=False), *[gr.skip()] * COUNT, None
    shares = components_of(run).shares
    sliders = [
        gr.update(value=0, visible=True,
                  label=f"{_label(number)}: {shares[number]:.0%} of the variance")
        if number < len(shares) else gr.update(visible=False)
        for number in range(COUNT)
    ]  # fmt: skip
    return gr.update(visible=True), *sliders, _moved(run, *[0.0] * COUNT)


@refusals_told
def _moved(run: SeedRun | None, *deviations: float) -> Views | None:
    """The picture at these deviations, beside the mean."""
    if run is None or run.archive is None:
        return None
    for number, deviation in enumerate(deviations):
        read_number(DEVIATION, deviation, _label(number))
    picture = components_of(run).at(deviations)
    moved = write_preview(_file(run, deviations), picture, _read(run.mean).alpha)
    return Views((View("Mean", run.mean), View("Could also be there", moved)))


def _file(run: SeedRun, deviations: Sequence[float]) -> Path:
    """The file of a picture at some deviations: a browser caches files by name."""
    name = "_".join(f"{deviation:.1f}" for deviation in deviations)
    return run.folder / f"components-{len(run.pictures)}_{name}.png"


def components_of(run: SeedRun) -> PrincipalComponents:
    """The components of a run, computed once and kept as files beside its results."""
    folder = run.folder / f"components-of-{len(run.pictures)}"
    if not folder.exists():
        results = [spill_to_disk(to_uint8(_read(path).rgb)) for path in run.pictures]
        made = principal_components(results, COUNT)
        folder.mkdir()
        write_array(folder / "mean.npy", made.mean)
        write_array(folder / "pictures.npy", made.pictures)
        write_array(folder / "shares.npy", np.array(made.shares))
    load = functools.partial(np.load, mmap_mode="r")
    mean, pictures, shares = (load(folder / f"{n}.npy") for n in ("mean", "pictures", "shares"))
    return PrincipalComponents(mean, pictures, tuple(map(float, shares)))


def _read(path: Path) -> Picture:
    return load_picture(path, max_pixels=MAX_RESULT_PIXELS)
