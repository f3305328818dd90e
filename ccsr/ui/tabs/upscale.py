"""The tab that upscales one picture with one seed."""

import dataclasses
import random
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from ccsr.config import DEFAULT_SEED, MAX_SEED, SEED, SamplingConfig
from ccsr.diffusion.timesteps import timestep_plan
from ccsr.evaluation.report import settings_text
from ccsr.images.writing import save_png
from ccsr.inference.events import Engine, Progress, Restored
from ccsr.inference.pipeline import target_size
from ccsr.ui import snippets
from ccsr.ui.api import add_endpoint
from ccsr.ui.files import (
    new_folder,
    remove_files_beside,
    result_name,
    write_bicubic,
    write_look,
)
from ccsr.ui.inputs import (
    Settings,
    errors_shown,
    number_box,
    read_config,
    read_named,
    read_picture,
    read_whole,
)
from ccsr.ui.run_controller import (
    IN_ORDER,
    LIGHT,
    UNFINISHED,
    Frame,
    Rerun,
    run_buttons,
    running,
    wire_run,
)
from ccsr.ui.sessions import SessionPicture, session_picture
from ccsr.ui.tab_run import Inputs

HINT = snippets.hint(
    "The result appears here",
    "beside the same picture enlarged bicubically. Drag the handle to compare them.",
)
PREVIEW_LEFT = (
    "Stopped. This is a small preview of the estimate so far; another run of this picture goes on "
    "from there."
)


@dataclasses.dataclass(frozen=True, eq=False)
class Upscaled:
    """One finished result, as files and facts."""

    source: str
    """Path of the picture that was upscaled."""
    config: SamplingConfig
    seed: int
    before: Path
    after: Path
    facts: dict[str, str]
    notes: tuple[str, ...]
    details: dict[str, Any]


def build_upscale_tab(engine: Engine, subject: Inputs, settings: Settings) -> gr.Number:
    """Lay out the tab and connect it; the seed."""
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
    with gr.Accordion("Make it again", open=False, visible=False) as again:
        command = gr.Textbox(
            label="On the command line", buttons=["copy"], interactive=False, elem_id="command"
        )
        code = gr.Textbox(
            label="In Python", buttons=["copy"], lines=5, interactive=False, elem_id="code"
        )

    finished = gr.State(None, delete_callback=_forget)
    shown = [result, below, about, download, again, command, code]
    finished.change(_show, finished, shown, **IN_ORDER)

    run_inputs = [finished, subject.picture, seed, *settings.values()]
    run_outputs = [status, result, finished]

    def check(_: Any, path: str | None, seed: float, *values: Any) -> None:  # noqa: ANN401
        with errors_shown():
            read_picture(path)
            read_whole(SEED, seed)
            read_config(values)

    def work(
        visitor: str | None,
        shown: Upscaled | None,
        path: str,
        seed: float,
        *values: Any,  # noqa: ANN401
    ) -> Generator[Frame]:
        started = time.perf_counter()
        # What is shown of the same picture stays until there is something better.
        earlier = shown
        shown = shown if shown is not None and shown.source == path else None
        pair = (shown.before, shown.after) if shown else None
        try:
            with errors_shown():
                config, number = read_config(values), read_whole(SEED, seed)
                # It is the same picture at every setting.
                same = shown is not None and shown.config.scale == config.scale
                before = shown.before if shown is not None and same else None
                with subject.sessions.lent(visitor, path) as kept:
                    for event in upscaled(engine, kept, config, number, before):
                        if isinstance(event, Upscaled):
                            _forget(earlier, event.before)
                            pair = event.before, event.after
                            yield Frame(("", _slider(pair), event), ended=True)
                            continue
                        progress, look = event
                        pair = pair if shown else look or pair
                        line = snippets.progress(progress, time.perf_counter() - started)
                        yield Frame((line, _slider(pair), shown))
        except gr.Error:
            yield Frame((UNFINISHED, _slider(pair if shown else None), shown), ended=True)
            raise

    def stopped(last: Frame | None) -> Frame:
        if last is None:
            return Frame((snippets.line("Stopped.", "quiet"), *[gr.skip()] * 2))
        _, pair, shown = last.values
        text = "Stopped. The earlier result is shown."
        if shown is None:
            text = PREVIEW_LEFT if pair["visible"] else "Stopped."
        return Frame((snippets.line(text, "quiet"), pair, shown))

    def shows_another_setting(
        shown: Upscaled | None,
        path: str | None,
        seed: float,
        *values: Any,  # noqa: ANN401
    ) -> bool:
        if shown is None or shown.source != path:
            return False
        with errors_shown():
            return shown.config != read_config(values)

    rerun = Rerun(settings.chosen(), shows_another_setting)
    wire_run(buttons, check, work, stopped, run_inputs, run_outputs, rerun)
    dice.click(lambda: random.randint(0, MAX_SEED), None, seed, **LIGHT)
    _add_endpoint(engine, subject.picture, seed, settings)
    return seed


def _forget(result: Upscaled | None, kept: Path | None = None) -> None:
    """Remove the files of a result, but for one that serves the next, too."""
    if result is not None:
        for folder in {result.before.parent, result.after.parent}:
            remove_files_beside(kept, folder)


def _slider(pair: tuple[Path, Path] | None) -> Any:  # noqa: ANN401
    return gr.update(value=pair, visible=pair is not None)


def _show(result: Upscaled | None) -> tuple[Any, ...]:
    """Show the result, or clear away what is said of an earlier one."""
    if result is None:
        hidden = gr.update(visible=False)
        return gr.skip(), hidden, "", None, hidden, "", ""
    source, model = Path(result.source).name, result.details["model"]["name"]
    return (
        _slider((result.before, result.after)),
        gr.update(visible=True),
        snippets.facts(result.facts, result.notes),
        result.after,
        gr.update(visible=True),
        snippets.command_line(source, result.config, result.seed, model),
        snippets.python_code(source, result.config, result.seed, model),
    )


def upscaled(
    engine: Engine,
    session_picture: SessionPicture,
    config: SamplingConfig,
    seed: int,
    before: Path | None = None,
) -> Iterator[tuple[Progress, tuple[Path, Path] | None] | Upscaled]:
    """Upscale a file: progress with what can be looked at, and at last the result.

    Args:
        engine: The model.
        session_picture: The picture.
        config: Settings.
        seed: Of the run.
        before: The picture as plainly enlarged, if it is written already.
    """
    picture = read_picture(session_picture.path)
    folder = new_folder()
    if before is None or not before.exists():
        before = write_bicubic(folder, picture, target_size(picture, config))
    evaluations = 0
    with running(session_picture.explorer.run(config, seed, preview=True)) as events:
        for event in events:
            if isinstance(event, Progress):
                evaluations += 1
                look = None
                if event.preview is not None:
                    name = f"preview-{event.evaluation}.png"
                    look = before, write_look(folder / name, event.preview)
                yield event, look
            else:
                after = folder / result_name(session_picture.path, config.scale, seed)
                save_png(after, event.picture, settings_text(config, seed, engine.info))
                facts, details = _told(engine, event, evaluations)
                notes = event.picture.notes
                source = session_picture.path
                yield Upscaled(source, config, seed, before, after, facts, notes, details)


def _told(engine: Engine, event: Restored, made: int) -> tuple[dict[str, str], dict[str, Any]]:
    """Facts for people and details for programs.

    Args:
        engine: What made the result.
        event: The result.
        made: Network evaluations made for it; others were there from earlier runs.
    """
    total = timestep_plan(event.config).num_evaluations
    facts = {
        "Size": str(event.picture.size),
        "Time": snippets.duration(event.seconds),
        "Seed": str(event.seed),
        "Evaluations": str(total) if made == total else f"{made} new of {total}",
    }
    details = {
        "size": str(event.picture.size),
        "seconds": round(event.seconds, 3),
        "seed": event.seed,
        "config": dataclasses.asdict(event.config),
        "model": dataclasses.asdict(engine.info),
        "notes": list(event.picture.notes),
    }
    return facts, details


def _add_endpoint(engine: Engine, picture: gr.Image, seed: gr.Number, settings: Settings) -> None:
    """Offer the run to programs as /upscale."""
    result = gr.File(label="Result", visible=False)
    details = gr.JSON(label="Details", visible=False)

    def upscale(
        picture: str,
        seed: float,
        **values: Any,  # noqa: ANN401
    ) -> Iterator[tuple[str | None, dict[str, Any]]]:
        """Upscale a picture: a PNG with its settings inside, and details of the run."""
        config, number = read_named(values), read_whole(SEED, seed)
        for event in upscaled(engine, session_picture(engine, picture), config, number):
            if isinstance(event, Upscaled):
                yield str(event.after), event.details
            else:
                yield None, {"evaluation": event[0].evaluation, "total": event[0].total}

    inputs = {"picture": picture, "seed": seed, **settings.named()}
    add_endpoint("upscale", upscale, inputs, [result, details])
