"""Where the mean of the seeds is wrong: measured with a reference, else expected."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np

from ccsr.config import MAX_RESULT_PIXELS, SamplingConfig
from ccsr.evaluation.calibration import Calibration
from ccsr.evaluation.comparison.uncertainty import FRACTIONS, SQUARE, uncertainty
from ccsr.evaluation.heatmap import GREY_LEVELS, nice_maximum
from ccsr.evaluation.plots import Sparsification, sparsification_figure, svg
from ccsr.images.picture import Picture
from ccsr.images.reading import load_picture
from ccsr.ui import snippets
from ccsr.ui.event_options import IN_ORDER
from ccsr.ui.loupe import Loupe, View, Views, map_view
from ccsr.ui.tabs.seed_run import SeedRun

TRUE_ERROR, EXPECTED_ERROR = "Error of the mean", "Expected error"
MEASURED_HELP = (
    "The error is the absolute difference of the mean of the seeds to the reference. Spearman is "
    f"the rank correlation of L-STD and error over squares of {SQUARE} pixels: at 1 the seeds "
    "disagree most where the error is largest, at 0 their disagreement says nothing. The curve "
    "shows how much of the error is left when the squares of most disagreement are left out; the "
    "dotted one, those of the largest errors."
)
EXPECTED_HELP = (
    "This is what squares that disagreed as much were wrong by in pictures whose true picture is "
    "known, not a measurement of this one. Where the seeds agree on something wrong, it is too low."
)
NO_TABLE = "With the true picture as reference, this shows where the mean of the seeds is wrong."
OTHER_SETTINGS = (
    "What error to expect is known for the default settings of the model that ships only. "
    + NO_TABLE
)


@dataclasses.dataclass(frozen=True)
class Errors:
    """A map of errors, and what to read of it as HTML."""

    views: Views
    text: str


def build_errors(results: gr.State, calibration: Calibration | None) -> None:
    """Lay out the maps, and show those of each run that has ended."""
    with gr.Accordion("Where is it wrong?", open=False, visible=False) as panel:
        loupe = Loupe(elem_id="errors-loupe")
        text = gr.HTML(elem_id="errors-text")

    def show(run: SeedRun | None) -> tuple[Any, ...]:
        if run is None or run.archive is None or len(run.seeds) < 2:
            return gr.update(visible=False), None, ""
        errors = errors_of(run, calibration)
        return gr.update(visible=True), errors.views, errors.text

    results.change(show, results, [panel, loupe, text], trigger_mode="always_last", **IN_ORDER)


def errors_of(run: SeedRun, calibration: Calibration | None) -> Errors:
    """The errors of a run that has ended."""
    mean, l_std_map = _read(run.mean), np.load(run.report_file("l_std.npy"))
    if run.reference is not None:
        return _measured(run, mean, l_std_map, _read(run.reference).visible_rgb)
    config = json.loads(run.report_file("report.json").read_text())["config"]
    if calibration is None or not calibration.holds_for(SamplingConfig(**config)):
        views = Views((*run.maps, View("Mean", run.mean)), mode="pair")
        return Errors(views, snippets.line(OTHER_SETTINGS if calibration else NO_TABLE, "quiet"))
    return _expected(run, mean, l_std_map, calibration)


def _read(path: Path) -> Picture:
    return load_picture(path, max_pixels=MAX_RESULT_PIXELS)


def _views(run: SeedRun, mean: Picture, name: str, error: np.ndarray) -> Views:
    """The map of the error, beside L-STD, mean and reference."""
    path = run.folder / f"errors-{len(run.seeds)}.png"
    shown = map_view(name, path, error, nice_maximum(error), mean.alpha)
    pictures = [shown, *run.maps, View("Mean", run.mean)]
    pictures += [View("Reference", run.reference)] if run.reference else []
    return Views(tuple(pictures), mode="pair")


def _measured(run: SeedRun, mean: Picture, l_std_map: np.ndarray, hr: np.ndarray) -> Errors:
    error = np.abs(mean.rgb - hr).mean(2)
    found = uncertainty(l_std_map, mean.rgb, hr)
    facts = {
        "Mean error": f"{GREY_LEVELS * error.mean():.2f} grey levels",
        "Spearman": "-" if found.spearman is None else f"{found.spearman:.2f}",
        "Area between the curves": f"{found.ause:.3f}",
    }
    curves = {"by L-STD": Sparsification(found.curve, found.oracle)}
    drawing = svg(sparsification_figure(FRACTIONS, curves), "Error left, by squares left out")
    text = snippets.facts(facts) + snippets.line(MEASURED_HELP, "quiet")
    figure = f'<figure class="sparsification">{drawing}</figure>'
    return Errors(_views(run, mean, TRUE_ERROR, error), text + figure)


def _expected(
    run: SeedRun, mean: Picture, l_std_map: np.ndarray, calibration: Calibration
) -> Errors:
    expected = calibration.expected_error(l_std_map, len(run.seeds))
    facts = {"Expected error on average": f"{GREY_LEVELS * expected.mean():.2f} grey levels"}
    rests_on = (
        f"It rests on {calibration.rests_on}: {calibration.num_squares:,} squares of {SQUARE} "
        f"pixels, over which L-STD and error have a rank correlation of {calibration.spearman:.2f}."
    )
    lines = [snippets.line(text, "quiet") for text in (EXPECTED_HELP, rests_on)]
    return Errors(
        _views(run, mean, EXPECTED_ERROR, expected), snippets.facts(facts) + "".join(lines)
    )
