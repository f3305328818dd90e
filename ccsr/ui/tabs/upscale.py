"""The tab that upscales one picture with one seed."""

import dataclasses
import functools
import json
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

from ccsr.config import DEFAULT_SEED, MAX_RESULT_PIXELS, MAX_SEED, SEED, SamplingConfig
from ccsr.diffusion.timesteps import LoopStart, timestep_plan
from ccsr.errors import InputError
from ccsr.evaluation.plots import BICUBIC
from ccsr.evaluation.report import read_settings, settings_text
from ccsr.images.picture import Size
from ccsr.images.reader_pool import READERS
from ccsr.images.writing import save_png
from ccsr.inference.cost import Cost, cost_of
from ccsr.inference.events import Engine, ModelInfo, Progress, Restored
from ccsr.inference.sizes import HasSize, target_size
from ccsr.ui import snippets
from ccsr.ui.api import add_endpoint
from ccsr.ui.event_options import IN_ORDER, LIGHT
from ccsr.ui.examples import Example, made
from ccsr.ui.files import (
    archive_name,
    new_folder,
    remove_files_beside,
    result_name,
    write_bicubic,
    write_preview,
    write_zip,
)
from ccsr.ui.inputs import (
    Settings,
    number_box,
    picture_input,
    read_config,
    read_named,
    read_whole,
    refusals_told,
)
from ccsr.ui.loupe import Loupe, View, Views, loupe_update
from ccsr.ui.origin import Origin
from ccsr.ui.run_events import (
    Rerun,
    RunComponents,
    archive_button,
    archive_update,
    run_buttons,
    status_lines,
    wire_tab_run,
)
from ccsr.ui.shown_run import BuiltTab
from ccsr.ui.tab_run import Inputs, Job, Preview, TabRun, closed_at_end, new_job, results_state
from ccsr.ui.tabs.compressed import build_compressed
from ccsr.whole_file import write_whole

HINT = snippets.hint(
    "The result appears here",
    "beside the same picture enlarged bicubically. Drag the handle to compare them.",
)

RESULT = "CCSR"
"""Name of the result among the pictures."""
MAX_EARLIER = 8
"""Results that stay to be compared with."""
SOMETIMES_NAMED = ("num_steps", "variant", "color", "guidance_scale")
"""Settings that the name of a result has if they are not the default."""
BROUGHT_HELP = (
    "Earlier results of this picture are among the pictures above: choose two of them, or All. "
    "Here another program's result joins them."
)
SHIPPED = "made beforehand by this model, and compressed; Upscale makes it anew, to be downloaded"

Query = tuple[SamplingConfig, int]
"""Settings and seed."""
Pair = tuple[Path, Path]
"""The enlargement and the result."""


@dataclasses.dataclass(frozen=True, eq=False)
class Upscaled:
    """One finished result, as files and facts."""

    source: str
    """Path of the picture that was upscaled."""
    config: SamplingConfig
    seed: int
    bicubic: Path
    """The picture enlarged bicubically."""
    result: Path
    facts: dict[str, str]
    notes: tuple[str, ...]
    details: dict[str, Any]
    """The facts for programs."""
    ships: bool = False
    """Whether it came with the product, compressed."""
    earlier: tuple[View, ...] = ()
    """Earlier results of the picture in this size, the latest last."""
    others: tuple[View, ...] = ()
    """Pictures that the visitor brought to compare it with."""
    total: int = 1

    def __len__(self) -> int:
        """The number of results."""
        return 1

    @property
    def origin(self) -> Origin:
        """What it is made of."""
        return Origin(self.source, (self.config,), (self.seed,))

    @property
    def model(self) -> ModelInfo:
        """The model that made it."""
        return ModelInfo(**self.details["model"])

    @property
    def folder(self) -> Path:
        """Where the result is; the enlargement may be of an earlier run."""
        return self.result.parent

    @property
    def views(self) -> Views:
        """The pictures to compare."""
        plain = views_of(self.bicubic, self.result)
        views = (*plain.views, *self.others, *self.earlier)
        right = self.others[-1].name if self.others else RESULT
        left = RESULT if self.others else plain.views[0].name
        return Views(views, left, right, asked=len(self.others))

    @property
    def files(self) -> set[Path]:
        """All files that it is made of, but those that came with the product."""
        kept = {view.file for view in (*self.earlier, *self.others)}
        return kept if self.ships else {self.bicubic, self.result, *kept}

    @property
    def name(self) -> str:
        """Its settings, as far as they are not the default."""
        default, config = self.model.defaults.model_dump(), self.config.model_dump()
        changed = [name for name in SOMETIMES_NAMED if config[name] != default[name]]
        parts = [f"{name} {config[name]}" for name in ("t_max", "t_min", *changed)]
        return ", ".join([*parts, f"seed {self.seed}"])


def views_of(bicubic: Path, result: Path) -> Views:
    """A result beside the enlargement."""
    return Views((View(BICUBIC, bicubic), View(RESULT, result)))


@dataclasses.dataclass(frozen=True)
class _ResultView:
    """The components that show a result."""

    loupe: Loupe
    below: gr.Row
    facts: gr.HTML
    download: gr.DownloadButton
    again: gr.Accordion
    command: gr.Textbox
    code: gr.Textbox

    def components(self) -> list[Any]:
        """All of them, in the order of `_show`."""
        return [getattr(self, field.name) for field in dataclasses.fields(self)]


def build_upscale_tab(engine: Engine, inputs: Inputs, settings: Settings) -> BuiltTab:
    """Lay out the tab and connect it; its seed is among its own values."""
    with gr.Row(elem_classes="actions"):
        with gr.Row(elem_classes="run-buttons"):
            buttons = run_buttons("Upscale")
        seed = _seed_box()
    lines = status_lines("upscale", HINT)
    view, archive = _result_view()
    results = results_state(_release)
    brought = _build_brought(results)
    # One event: each takes time of the browser before the result is seen.
    results.change(_show, results, [*view.components(), brought, lines[0]], **IN_ORDER)
    # After the result is shown, which does not wait for it.
    results.change(_packed, results, archive, **IN_ORDER)
    build_compressed(results)
    run = wire_tab_run(
        TAB_RUN,
        inputs,
        RunComponents(*buttons, *lines, results, view.loupe),
        [seed],
        settings,
        Rerun(settings.chosen(), _shows_another_setting, inputs.is_upscale_seen),
    )
    _add_endpoint(inputs, seed, settings)
    return BuiltTab(run, {"seed": seed})


def _build_brought(results: gr.State) -> gr.Accordion:
    """Lay out the upload of a picture to compare the result with."""
    with gr.Accordion("Compare with another result", open=False, visible=False) as panel:
        gr.HTML(snippets.line(BROUGHT_HELP, "quiet"))
        brought = picture_input("Result of another program", "brought", 120)
    brought.upload(_bring, [results, brought], [results, brought], **IN_ORDER)
    return panel


@refusals_told
def _bring(upscaled: Upscaled | None, path: str | None) -> tuple[Upscaled, None]:
    """The result with one more picture to compare it with."""
    if upscaled is None or not path:
        raise InputError("Upscale a picture first: there is no result to compare with yet")
    picture = READERS.picture(path, MAX_RESULT_PIXELS)
    with Image.open(upscaled.result) as result:
        size = Size(result.height, result.width)
    if picture.size != size:
        raise InputError(
            f"{Path(path).name} is {picture.size} pixels; to be compared it must be {size}, as the "
            "result is: upscale it by the same factor, without a border"
        )
    name = f"{Path(path).stem} (yours)"
    others = [view for view in upscaled.others if view.name != name]
    file = write_preview(new_folder() / "brought.png", picture.visible_rgb, picture.alpha)
    return dataclasses.replace(upscaled, others=(*others, View(name, file))), None


def _seed_box() -> gr.Number:
    """Lay out the seed with the button that draws one at random."""
    with gr.Row(elem_classes="with-dice"):
        seed = number_box(SEED, DEFAULT_SEED, info=None)
        dice = gr.Button("⚄ Random", elem_classes="dice", min_width=100)
    dice.click(lambda: random.randint(0, MAX_SEED), None, seed, **LIGHT)
    return seed


def _result_view() -> tuple[_ResultView, gr.DownloadButton]:
    """Lay out the result and what is below it, with the download of all its files."""
    loupe = Loupe(visible=False, elem_id="upscale-result")
    with gr.Row(visible=False, elem_classes="below-result") as below:
        facts = gr.HTML(elem_id="upscale-facts")
        download = gr.DownloadButton("Download PNG", size="md", min_width=160, scale=0)
        archive = archive_button()
    copied = functools.partial(gr.Textbox, buttons=["copy"], interactive=False)
    with gr.Accordion("Make it again", open=False, visible=False) as again:
        command = copied(label="On the command line", elem_id="command")
        code = copied(label="In Python", lines=5, elem_id="code")
    return _ResultView(loupe, below, facts, download, again, command, code), archive


def _show(upscaled: Upscaled | None) -> tuple[Any, ...]:
    """Updates that show the result, or hide what belongs to an earlier one."""
    if upscaled is None:
        hidden = gr.update(visible=False)
        return gr.skip(), hidden, "", None, hidden, "", "", hidden, gr.skip()
    made = Path(upscaled.source).name, upscaled.config, upscaled.seed, upscaled.model
    seen = gr.update(visible=True)
    return (
        loupe_update(upscaled.views),
        seen,
        snippets.facts(upscaled.facts, upscaled.notes),
        _download_update(upscaled),
        seen,
        snippets.command_line(*made),
        snippets.python_code(*made),
        seen,
        # In the place of the hint: no run tells of a result that ships.
        "" if upscaled.ships else gr.skip(),
    )


@refusals_told
def _packed(upscaled: Upscaled | None) -> Any:  # noqa: ANN401
    """The download of all files of a result; one that ships has none."""
    if upscaled is None or upscaled.ships:
        return archive_update(None)
    try:
        return archive_update(_write_archive(upscaled))
    except OSError:
        # Another result may have taken its place, and removed its files.
        if upscaled.result.exists():
            raise
    return archive_update(None)


def _write_archive(upscaled: Upscaled) -> Path:
    """Pack the result, the enlargement, earlier results and the numbers; the path."""
    numbers = json.dumps({"picture": Path(upscaled.source).name, **upscaled.details}, indent=1)
    details = write_whole(upscaled.folder / "details.json", numbers, overwrite=True)
    earlier = [view.file for view in upscaled.earlier]
    path = upscaled.folder / archive_name(upscaled.source, "upscaled")
    return write_zip(path, [upscaled.result, upscaled.bicubic, *earlier, details])


def _download_update(upscaled: Upscaled) -> Any:  # noqa: ANN401
    """The download of a result; one that ships is compressed, so that it has none."""
    path = None if upscaled.ships else upscaled.result
    return gr.update(value=path, interactive=path is not None)


def _shows_another_setting(
    upscaled: Upscaled | None,
    path: str | None,
    seed: float,
    *values: Any,  # noqa: ANN401
) -> bool:
    """Whether the result is of this picture and not of these settings, whatever the seed."""
    if upscaled is None or upscaled.source != path:
        return False
    return upscaled.config != read_config(values)


def _views(upscaled: Upscaled) -> Views:
    return upscaled.views


def _of_picture(upscaled: Upscaled, path: str) -> bool:
    return upscaled.source == path


def _release(upscaled: Upscaled | None, following: Upscaled | None = None) -> None:
    """Remove the files of a result but for those that the following one shares."""
    if upscaled is not None:
        for folder in {file.parent for file in upscaled.files}:
            remove_files_beside(following.files if following else set(), folder)


def read_query(values: Sequence[Any]) -> Query:
    """Settings and seed, from the seed and the values of the settings.

    Raises:
        InputError: If a value is missing or out of its range.
    """
    seed, *rest = values
    return read_config(rest), read_whole(SEED, seed)


def upscale(
    job: Job[Query, Upscaled], *, preview: bool = True
) -> Iterator[Preview | Progress | Upscaled]:
    """Upscale a picture: progress, with previews if they are seen, and at last the result."""
    (config, seed), before = job.query, job.before
    folder = new_folder()
    # The enlargement is the same at every setting of one scale.
    if before is not None and _has_bicubic(before, config):
        bicubic = before.bicubic
    else:
        bicubic = write_bicubic(folder, job.source.picture, target_size(job.source.picture, config))
    yield Preview(Views((View(BICUBIC, bicubic),)))
    evaluations = 0
    with closed_at_end(job.source.session.run(config, seed, preview=preview)) as events:
        for event in events:
            if isinstance(event, Progress):
                evaluations += 1
                if event.preview is not None:
                    path = folder / f"preview-{event.evaluation}.png"
                    name = f"Estimate after step {event.evaluation} of {event.total}"
                    look = View(name, write_preview(path, event.preview))
                    yield Preview(Views((View(BICUBIC, bicubic), look)))
                yield event
            else:
                result = folder / result_name(job.source.path, config.scale, seed)
                save_png(result, event.picture, settings_text(config, seed, job.engine.info))
                yield _upscaled(job, event, evaluations, (bicubic, result))


def _has_bicubic(before: Upscaled, config: SamplingConfig) -> bool:
    """Whether an earlier result has the enlargement of these settings, without loss."""
    is_same = before.config.scale == config.scale and not before.ships
    return is_same and before.bicubic.exists()


def shipped(example: Example, path: str, info: ModelInfo) -> Upscaled:
    """The result of an example that ships.

    Args:
        example: The example.
        path: Where its picture was copied to.
        info: The model.
    """
    origin = made()
    plan = timestep_plan(origin.config, info.loop_start)
    with Image.open(example.result) as result:
        size = Size(result.height, result.width)
    facts = _known_facts(size, origin.seed, plan.num_evaluations)
    details = {"model": dataclasses.asdict(info)}
    files = example.bicubic, example.result
    return Upscaled(
        path, origin.config, origin.seed, *files, facts, (SHIPPED,), details, ships=True
    )


def reopened(picture: str, result: str, info: ModelInfo) -> Upscaled:
    """A result that a browser kept over a reload, in files of its own.

    Args:
        picture: Path of the picture.
        result: Path of the result, which holds its settings.
        info: The model.

    Raises:
        InputError: If the files are not what they were.
        OSError: If they have gone.
    """
    found, source = read_settings(Path(result), READERS.texts), READERS.picture(picture)
    size = target_size(source, found.config)
    with Image.open(result) as image:
        if image.size != (size.width, size.height):
            raise InputError(f"the result is not of {size} pixels, as its settings say")
    folder = new_folder()
    kept = write_whole(folder / Path(result).name, Path(result).read_bytes())
    plan = timestep_plan(found.config, info.loop_start)
    facts = _known_facts(size, found.seed, plan.num_evaluations)
    details = {"model": dataclasses.asdict(info)}
    files = write_bicubic(folder, source, size), kept
    return Upscaled(picture, found.config, found.seed, *files, facts, (), details)


def _known_facts(size: Size, seed: int, evaluations: int) -> dict[str, str]:
    """What is known of a result that was not made just now."""
    return {"Size": str(size), "Seed": str(seed), "Network evaluations": str(evaluations)}


def _upscaled(
    job: Job[Query, Upscaled], event: Restored, evaluations: int, files: Pair
) -> Upscaled:
    config, seed = job.query
    return Upscaled(
        job.source.path,
        config,
        seed,
        *files,
        result_facts(event, evaluations, job.engine.info),
        event.picture.notes,
        result_details(event, job.engine.info),
        earlier=_earlier(job.before, event),
        others=_comparable(job.before, event),
    )


def _comparable(before: Upscaled | None, event: Restored) -> tuple[View, ...]:
    """The visitor's own pictures, if they are of the size of the new result."""
    is_same = before is not None and before.config.scale == event.config.scale
    return before.others if before is not None and is_same else ()


def _earlier(before: Upscaled | None, event: Restored) -> tuple[View, ...]:
    """The results before the new one, as many as are kept."""
    if before is None or before.config.scale != event.config.scale:
        return ()
    last = () if before.ships else (View(before.name, before.result),)
    new = dataclasses.replace(before, config=event.config, seed=event.seed).name
    # A setting that comes again takes the place of its earlier result.
    kept = [view for view in (*before.earlier, *last) if view.name != new]
    return tuple({view.name: view for view in kept}.values())[-MAX_EARLIER:]


def result_facts(event: Restored, evaluations: int, info: ModelInfo) -> dict[str, str]:
    """Names and values to read, of a result.

    Args:
        event: The result.
        evaluations: Network evaluations made for it; others were kept from earlier runs.
        info: The model.
    """
    total = timestep_plan(event.config, info.loop_start).num_evaluations
    return {
        "Size": str(event.picture.size),
        "Time": snippets.duration(event.seconds),
        "Seed": str(event.seed),
        "Network evaluations": str(total)
        if evaluations == total
        else f"{evaluations} new of {total}",
    }


def result_details(event: Restored, info: ModelInfo) -> dict[str, Any]:
    """The same for programs, with settings and model."""
    return {
        "size": str(event.picture.size),
        "seconds": round(event.seconds, 3),
        "seed": event.seed,
        "config": event.config.model_dump(),
        "model": dataclasses.asdict(info),
        "notes": list(event.picture.notes),
    }


def cost_of_query(query: Query, picture: HasSize, loop_start: LoopStart) -> Cost:
    """What a run costs if nothing of it is there."""
    config, _ = query
    return cost_of(config, 1, target_size(picture, config), loop_start)


TAB_RUN = TabRun(
    read_query,
    upscale,
    cost_of_query,
    "upscale",
    measures=False,
    stays=_of_picture,
    views=_views,
    release=_release,
)

UNSEEN_RUN = dataclasses.replace(TAB_RUN, work=functools.partial(upscale, preview=False))
"""The same where nobody sees previews."""


def _add_endpoint(inputs: Inputs, seed: gr.Number, settings: Settings) -> None:
    """Offer the run to programs as /upscale."""
    result = gr.File(label="Result", visible=False)
    details = gr.JSON(label="Details", visible=False)

    def run_endpoint(
        picture: str,
        seed: float,
        **values: Any,  # noqa: ANN401
    ) -> Iterator[tuple[str | None, dict[str, Any]]]:
        """Upscale a picture: a PNG with its settings inside, and details of the run.

        The last answer has the PNG, `scale` times the input on each side, and size, seconds,
        seed, settings, model and notes. An error is a message of what was expected and what came.
        """
        query = read_named(values), read_whole(SEED, seed)
        for event in upscale(new_job(inputs, TAB_RUN, query, picture), preview=False):
            if isinstance(event, Upscaled):
                yield str(event.result), event.details
            elif isinstance(event, Progress):
                yield None, {"evaluation": event.evaluation, "total": event.total}

    parameters = {"picture": inputs.picture, "seed": seed, **settings.named()}
    add_endpoint("upscale", run_endpoint, parameters, [result, details], inputs.queue)
