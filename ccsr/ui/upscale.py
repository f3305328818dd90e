"""The tab that upscales one picture with one seed."""

import dataclasses
import random
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from ccsr.config import DEFAULT_SEED, MAX_SEED, SEED, SamplingConfig
from ccsr.events import Engine, Progress, Restored
from ccsr.images import save_png
from ccsr.pipeline import target_size
from ccsr.report import settings_text
from ccsr.schedule import path_for
from ccsr.ui import snippets
from ccsr.ui.files import new_folder, result_name, write_bicubic, write_look
from ccsr.ui.inputs import (
    Settings,
    errors_shown,
    number_box,
    read_config,
    read_picture,
    read_whole,
)
from ccsr.ui.runs import (
    IN_ORDER,
    LIGHT,
    MODEL,
    UNFINISHED,
    Look,
    run_buttons,
    running,
    wire_run,
)

HINT = snippets.hint(
    "The result appears here",
    "beside the same picture enlarged bicubically. Drag the handle to compare them.",
)


@dataclasses.dataclass(frozen=True, eq=False)
class Upscaled:
    """One finished result, as files and facts."""

    before: Path
    after: Path
    facts: dict[str, str]
    notes: tuple[str, ...]
    details: dict[str, Any]


def build_upscale_tab(engine: Engine, picture: gr.Image, settings: Settings) -> None:
    """Lay out the tab and connect it."""
    with gr.Row(elem_classes="actions"):
        with gr.Row(elem_classes="with-dice"):
            seed = number_box(SEED, DEFAULT_SEED)
            dice = gr.Button("⚄ Random", elem_classes="dice", min_width=100)
        with gr.Row(elem_classes="run-buttons"):
            buttons = run_buttons("Upscale")
    status = gr.HTML(HINT, elem_id="upscale-status")
    result = gr.ImageSlider(
        label="Bicubic | CCSR",
        format="png",
        type="filepath",
        image_mode=None,
        interactive=False,
        visible=False,
        buttons=["fullscreen"],
        max_height=460,
        elem_id="upscale-result",
    )
    with gr.Row(visible=False, elem_classes="below-result") as below:
        about = gr.HTML(elem_id="upscale-facts")
        download = gr.DownloadButton("Download PNG", size="md", min_width=160, scale=0)

    finished = gr.State(None)
    finished.change(_show, finished, [result, below, about, download], **IN_ORDER)

    run_inputs = [picture, seed, *settings.values()]
    run_outputs = [status, result, finished]

    def check(path: str | None, seed: float, *values: Any) -> None:  # noqa: ANN401
        with errors_shown():
            read_picture(path)
            read_whole(SEED, seed)
            read_config(values)

    def work(path: str, seed: float, *values: Any) -> Generator[Look]:  # noqa: ANN401
        started = time.perf_counter()
        pair = None
        try:
            with errors_shown():
                config = read_config(values)
                for event in upscaled(engine, path, config, read_whole(SEED, seed)):
                    if isinstance(event, Upscaled):
                        yield Look(("", _slider((event.before, event.after)), event), ended=True)
                    else:
                        progress, look = event
                        pair = look or pair
                        elapsed = time.perf_counter() - started
                        line = snippets.progress(progress, elapsed)
                        yield Look((line, _slider(pair), None))
        except gr.Error:
            yield Look((UNFINISHED, _slider(None), None), ended=True)
            raise

    def stopped(_: Look | None) -> Look:
        return Look((snippets.line("Stopped. Nothing was kept.", "quiet"), _slider(None), None))

    wire_run(buttons, check, work, stopped, run_inputs, run_outputs)
    dice.click(lambda: random.randint(0, MAX_SEED), None, seed, **LIGHT)
    _add_endpoint(engine, picture, seed, settings)


def _slider(pair: tuple[Path, Path] | None) -> Any:  # noqa: ANN401
    return gr.update(value=pair, visible=pair is not None)


def _show(result: Upscaled | None) -> tuple[Any, ...]:
    """Show the result, or clear away what is said of an earlier one."""
    if result is None:
        return gr.skip(), gr.update(visible=False), "", None
    return (
        _slider((result.before, result.after)),
        gr.update(visible=True),
        snippets.facts(result.facts, result.notes),
        result.after,
    )


def upscaled(
    engine: Engine, path: str, config: SamplingConfig, seed: int
) -> Iterator[tuple[Progress, tuple[Path, Path] | None] | Upscaled]:
    """Upscale a file: progress with what can be looked at, and at last the result."""
    picture = read_picture(path)
    folder = new_folder()
    before = write_bicubic(folder, picture, target_size(picture, config))
    with running(engine, picture, config, [seed], preview=True) as events:
        for event in events:
            if isinstance(event, Progress):
                look = None
                if event.preview is not None:
                    name = f"preview-{event.evaluation}.png"
                    look = before, write_look(folder / name, event.preview)
                yield event, look
            else:
                yield _finished(engine, folder, path, before, event)


def _finished(engine: Engine, folder: Path, source: str, before: Path, event: Restored) -> Upscaled:
    after = folder / result_name(source, event.config.scale, event.seed)
    text = settings_text(event.config, event.seed, engine.info)
    save_png(after, event.picture, text)
    facts = {
        "Size": str(event.picture.size),
        "Time": snippets.duration(event.seconds),
        "Seed": str(event.seed),
        "Evaluations": str(path_for(event.config).num_evaluations),
    }
    details = {
        "size": str(event.picture.size),
        "seconds": round(event.seconds, 3),
        "seed": event.seed,
        "config": dataclasses.asdict(event.config),
        "model": dataclasses.asdict(engine.info),
        "notes": list(event.picture.notes),
    }
    return Upscaled(before, after, facts, event.picture.notes, details)


def _add_endpoint(engine: Engine, picture: gr.Image, seed: gr.Number, settings: Settings) -> None:
    """Offer the run to programs as /upscale."""
    start = gr.Button(visible=False)
    result = gr.File(label="Result", visible=False)
    details = gr.JSON(label="Details", visible=False)

    def upscale(
        picture: str,
        seed: float,
        scale: float,
        variant: str,
        num_steps: float,
        t_max: float,
        t_min: float,
        color: str,
    ) -> Iterator[tuple[str | None, dict[str, Any]]]:
        """Upscale a picture: a PNG with its settings inside, and details of the run."""
        with errors_shown():
            config = read_config((scale, variant, num_steps, t_max, t_min, color))
            for event in upscaled(engine, picture, config, read_whole(SEED, seed)):
                if isinstance(event, Upscaled):
                    yield str(event.after), event.details
                else:
                    yield None, {"evaluation": event[0].evaluation, "total": event[0].total}

    start.click(
        upscale,
        [picture, seed, *settings.values()],
        [result, details],
        api_name="upscale",
        show_progress="hidden",
        **MODEL,
    )
