"""The slider that drops what the seeds do not agree on, in a result that is there."""

import dataclasses
import functools
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import gradio as gr
import numpy as np

from ccsr.config import AGREEMENT, DEFAULT_AGREEMENT, MAX_RESULT_PIXELS
from ccsr.evaluation.metrics import METRICS, measure
from ccsr.evaluation.stability import agreed
from ccsr.images.reading import load_picture
from ccsr.images.writing import save_png
from ccsr.ui import snippets
from ccsr.ui.compute_thread import compute
from ccsr.ui.inputs import number_slider
from ccsr.ui.run_controller import IN_ORDER

KEPT_LOOKS = 4
"""Faded pictures of a run that stay on disk; a browser may still be loading the last."""


class Survey(Protocol):
    """What fading needs of a run over seeds."""

    @property
    def folder(self) -> Path:
        """Where files of the run go."""
        ...

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds that are done."""
        ...

    @property
    def mean(self) -> Path:
        """Mean picture of the seeds."""
        ...

    @property
    def l_std_numbers(self) -> Path:
        """Their L-STD map as an array."""
        ...

    @property
    def reference(self) -> Path | None:
        """The true picture."""
        ...

    def look(self, choice: str | None) -> Path:
        """The file of a seed."""
        ...


def build_agreement(kept: gr.State, seed: gr.Dropdown) -> None:
    """Lay out the slider and connect it to what a run keeps and to the chosen seed."""
    with gr.Accordion("Keep only what the seeds agree on", open=False, visible=False) as panel:
        gr.HTML(snippets.line(AGREEMENT.help, "quiet"))
        threshold = number_slider(AGREEMENT, DEFAULT_AGREEMENT)
        pair = gr.ImageSlider(
            label="As it is | Faded",
            format="png",
            type="filepath",
            image_mode=None,
            interactive=False,
            buttons=["fullscreen"],
            max_height=520,
            elem_id="agreement-pair",
        )
        told = gr.HTML(elem_id="agreement-facts")
        download = gr.DownloadButton("Download PNG", size="md", elem_id="agreement-download")
    # In order and only the last of many: the slider sends an event at every step.
    gr.on(
        [kept.change, seed.change, threshold.input],
        _fade,
        [kept, seed, threshold],
        [panel, pair, told, download],
        trigger_mode="always_last",
        **IN_ORDER,
    )


def _fade(kept: Survey | None, choice: str | None, threshold: float) -> tuple[Any, ...]:
    if kept is None or len(kept.seeds) < 2:
        return gr.update(visible=False), None, "", None
    source = kept.look(choice)
    with suppress(FileNotFoundError, ValueError):
        # A run that goes on replaces its files; its next change comes here again.
        faded, text = fade(kept, source, threshold)
        return gr.update(visible=True), (source, faded), text, faded
    return (gr.skip(),) * 4


def fade(kept: Survey, source: Path, threshold: float) -> tuple[Path, str]:
    """Write the result in `source`, faded; where it is, and what to say of it."""
    AGREEMENT.check(AGREEMENT.label, threshold)
    picture, mean = (load_picture(p, max_pixels=MAX_RESULT_PIXELS) for p in (source, kept.mean))
    result = agreed(picture.rgb, mean.rgb, np.load(kept.l_std_numbers), threshold)
    for old in sorted(kept.folder.glob("agreed-*"), key=_age)[:-KEPT_LOOKS]:
        old.unlink(missing_ok=True)
    name = f"agreed-{len(kept.seeds)}-{threshold:g}-{source.name}"
    path = kept.folder / name
    save_png(path, dataclasses.replace(picture, rgb=result.rgb), overwrite=True)
    facts = {"Faded": f"{result.share:.1%}"}
    if kept.reference is not None:
        hr = load_picture(kept.reference, max_pixels=MAX_RESULT_PIXELS).rgb
        before = _scores(source, kept.reference, source.stat().st_mtime_ns)
        after = compute(measure, result.rgb, hr)
        for name, metric in METRICS.items():
            change = after[name] - before[name]
            facts[metric.label] = f"{after[name]:.4f} {metric.unit} ({change:+.4f})"
    return path, snippets.facts(facts)


@functools.lru_cache(maxsize=16)
def _scores(path: Path, reference: Path, written: int) -> dict[str, float]:
    """Scores of what does not change while the slider moves; `written` tells versions apart."""
    return compute(
        measure, *(load_picture(p, max_pixels=MAX_RESULT_PIXELS).rgb for p in (path, reference))
    )


def _age(path: Path) -> float:
    with suppress(FileNotFoundError):
        return path.stat().st_mtime
    return 0.0
