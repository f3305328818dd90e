"""The slider that blends a result with the mean of the seeds where they do not agree."""

import dataclasses
import functools
from contextlib import suppress
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np

from ccsr.config import AGREEMENT, DEFAULT_AGREEMENT, MAX_RESULT_PIXELS
from ccsr.evaluation.heatmap import GREY_LEVELS
from ccsr.evaluation.metrics import METRICS, measure
from ccsr.evaluation.stability import blend_with_mean
from ccsr.images.reading import load_picture
from ccsr.images.writing import save_png
from ccsr.ui import snippets
from ccsr.ui.compute_thread import compute
from ccsr.ui.event_options import IN_ORDER
from ccsr.ui.inputs import number_slider, read_number
from ccsr.ui.loupe import Loupe, View, Views
from ccsr.ui.tabs.seed_run import SeedRun

KEPT_PICTURES = 4
"""Blended pictures of a run that stay on disk; a browser may still be loading the last."""


def build_agreement(results: gr.State, chosen: gr.State) -> None:
    """Lay out the slider and connect it to the results and to the name of the chosen one."""
    with gr.Accordion("Keep only what the seeds agree on", open=False, visible=False) as panel:
        threshold = number_slider(AGREEMENT, DEFAULT_AGREEMENT)
        pair = Loupe(elem_id="agreement-pair")
        facts = gr.HTML(elem_id="agreement-facts")
        download = gr.DownloadButton("Download PNG", size="md", elem_id="agreement-download")
    # In order and only the last of many: the slider sends an event at every step.
    gr.on(
        [results.change, chosen.change, threshold.input],
        _show,
        [results, chosen, threshold],
        [panel, pair, facts, download],
        trigger_mode="always_last",
        **IN_ORDER,
    )


def _show(run: SeedRun | None, choice: str | None, threshold: float) -> tuple[Any, ...]:
    if run is None or len(run.seeds) < 2:
        return gr.update(visible=False), None, "", None
    try:
        threshold = read_number(AGREEMENT, threshold)
    except ValueError as error:
        return gr.skip(), gr.skip(), snippets.line(str(error), "error"), gr.skip()
    source = run.picture_of(choice)
    with suppress(FileNotFoundError, ValueError):
        # A run under way replaces its files; its next change calls this again.
        blended, text = blend(run, source, threshold)
        views = Views((View("As it is", source), View("Blended with the mean", blended)))
        return gr.update(visible=True), views, text, blended
    return (gr.skip(),) * 4


def blend(run: SeedRun, source: Path, threshold: float) -> tuple[Path, str]:
    """Write the result in `source`, blended with the mean.

    Args:
        run: The results.
        source: One of its pictures.
        threshold: The deviation that is allowed, in grey levels.

    Returns:
        Path of the blended picture, and its facts as HTML.
    """
    picture, mean = (load_picture(p, max_pixels=MAX_RESULT_PIXELS) for p in (source, run.mean))
    result = blend_with_mean(
        picture.rgb, mean.rgb, np.load(run.l_std_numbers), threshold / GREY_LEVELS
    )
    for old in sorted(run.folder.glob("agreed-*"), key=_age)[:-KEPT_PICTURES]:
        old.unlink(missing_ok=True)
    name = f"agreed-{len(run.seeds)}-{threshold:g}-{source.name}"
    path = run.folder / name
    save_png(path, dataclasses.replace(picture, rgb=result.rgb), overwrite=True)
    facts = {"Share of the mean": f"{result.share:.1%}"}
    if run.reference is not None:
        hr = load_picture(run.reference, max_pixels=MAX_RESULT_PIXELS).visible_rgb
        before = _scores(source, run.reference, source.stat().st_mtime_ns)
        after = compute(measure, result.rgb, hr)
        for name, metric in METRICS.items():
            change = after[name] - before[name]
            facts[metric.label] = f"{after[name]:.4f} {metric.unit} ({change:+.4f})"
    return path, snippets.facts(facts)


@functools.lru_cache(maxsize=16)
def _scores(path: Path, reference: Path, written: int) -> dict[str, float]:
    """Scores of a file, the same while the slider moves; `written` distinguishes its versions."""
    sr, hr = (load_picture(p, max_pixels=MAX_RESULT_PIXELS).visible_rgb for p in (path, reference))
    return compute(measure, sr, hr)


def _age(path: Path) -> float:
    with suppress(FileNotFoundError):
        return path.stat().st_mtime
    return 0.0
