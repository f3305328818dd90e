"""The tab that compares settings of t_max and t_min on one picture."""

import dataclasses
import time
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from ccsr import tradeoff
from ccsr.config import (
    DEFAULT_SEED,
    DEFAULT_SWEEP_SEEDS,
    DEFAULT_T_MAXS,
    DEFAULT_T_MINS,
    MAX_RESULT_PIXELS,
    NUM_SWEEP_SEEDS,
    SamplingConfig,
)
from ccsr.events import Engine, Progress
from ccsr.images import save_png
from ccsr.metrics import judge_against
from ccsr.plots import (
    SCORE_LABELS,
    TRADEOFF_PLOT,
    axes_of,
    preset_of,
    svg,
    tradeoff_figure,
    write_png,
)
from ccsr.report import point_name, settings_text
from ccsr.tradeoff import Point, PointResult, grid, num_evaluations, write_points
from ccsr.ui import snippets
from ccsr.ui.exploring import Explored, explored
from ccsr.ui.files import new_folder, remove_folder
from ccsr.ui.inputs import (
    FIELDS,
    Settings,
    errors_shown,
    number_slider,
    read_config,
    read_fractions,
    read_picture,
    read_whole,
)
from ccsr.ui.runs import (
    IN_ORDER,
    LIGHT,
    MODEL,
    PRIVATE,
    UNFINISHED,
    Look,
    run_buttons,
    running,
    wire_run,
)

HINT = snippets.hint(
    "Every setting becomes a point here",
    "fidelity across, perception upwards, colour for how much the seeds differ.",
)
HELP = (
    "Across: fidelity, measured against the reference picture, or against the input without one. "
    "Upwards: perception, LPIPS with a reference and NIQE without. Click a point to see its "
    "picture; A1 to A4 and CCSR are settings of the paper."
)
CLICKS = """
element.addEventListener("click", (event) => {
    const point = event.target.closest("[id^=point-]");
    if (point) trigger("click", { index: Number(point.id.slice("point-".length)) });
});
"""


@dataclasses.dataclass(frozen=True, eq=False)
class Swept:
    """The points of a sweep so far."""

    folder: Path
    points: tuple[Point, ...]
    pictures: tuple[Path, ...]
    """One a point."""
    files: tuple[Path, ...] = ()
    """Table, record and plot, once the sweep has ended."""


def build_tradeoff_tab(
    engine: Engine,
    picture: gr.Image,
    reference: gr.Image,
    settings: Settings,
    kept: gr.State,
) -> None:
    """Lay out the tab and connect it."""
    with gr.Row(elem_classes="actions"):
        t_maxs = _fractions_box("t_max", DEFAULT_T_MAXS)
        t_mins = _fractions_box("t_min", DEFAULT_T_MINS)
        seeds = number_slider(NUM_SWEEP_SEEDS, DEFAULT_SWEEP_SEEDS, min_width=160)
        with gr.Row(elem_classes="run-buttons"):
            buttons = run_buttons("Compare")
    cost = gr.HTML(elem_id="sweep-cost")
    status = gr.HTML(HINT, elem_id="sweep-status")
    with gr.Column(visible=False) as panel:
        with gr.Row(elem_classes="looks"):
            with gr.Column(min_width=280):
                plot = gr.HTML(elem_id="sweep-plot", js_on_load=CLICKS)
                gr.HTML(snippets.line(HELP, "quiet"))
            with gr.Column(min_width=280):
                left = gr.Dropdown(label="Left", min_width=100, elem_id="sweep-left")
                right = gr.Dropdown(label="Right", min_width=100, elem_id="sweep-right")
                pair = gr.ImageSlider(
                    show_label=False,
                    format="png",
                    type="filepath",
                    image_mode=None,
                    interactive=False,
                    buttons=["fullscreen"],
                    max_height=460,
                    elem_id="sweep-pair",
                )
        table = gr.HTML(elem_id="sweep-table")
        files = gr.Files(label="CSV, JSON, PNG", interactive=False, elem_id="sweep-files")

    swept = gr.State(None, delete_callback=_forget)
    # What a person chose, apart from what is shown for want of a choice.
    left_chosen, right_chosen = gr.State(None), gr.State(None)
    left.input(_itself, left, left_chosen, **LIGHT)
    right.input(_itself, right, right_chosen, **LIGHT)
    swept.change(
        _show,
        [swept, left_chosen, right_chosen],
        [panel, plot, left, right, pair, table, files],
        trigger_mode="always_last",
        **IN_ORDER,
    )
    plot.click(_clicked, swept, [right, right_chosen], concurrency_limit=None, **PRIVATE)
    gr.on([left.change, right.change], _pair, [swept, left, right], pair, **LIGHT)

    study = [t_maxs, t_mins, seeds]
    gr.on(
        [*(box.change for box in study), *(box.change for box in settings.values())],
        _cost,
        [*study, *settings.values()],
        cost,
        trigger_mode="always_last",
        **LIGHT,
    )
    cost.value = _cost(*(box.value for box in study), *(box.value for box in settings.values()))
    _wire(engine, buttons, (swept, kept, picture, reference, *study), settings, status)
    _add_endpoint(engine, (picture, reference, *study), settings)


def _wire(
    engine: Engine,
    buttons: tuple[gr.Button, gr.Button],
    chosen: tuple[Any, ...],
    settings: Settings,
    status: gr.HTML,
) -> None:
    """Connect the buttons with a sweep.

    Args:
        engine: The model.
        buttons: Start and stop.
        chosen: Components of what was swept before, the exploration, the picture, the reference,
            both lists of fractions, and the number of seeds.
        settings: The other settings.
        status: Line of progress.
    """
    swept, kept = chosen[:2]

    def check(_: Any, __: Any, path: str | None, reference: str | None, *rest: Any) -> None:  # noqa: ANN401
        with errors_shown():
            read_picture(path)
            if reference:
                read_picture(reference, MAX_RESULT_PIXELS)
            read_study(rest)

    def work(
        before: Swept | None,
        exploration: Explored | None,
        path: str,
        reference: str | None,
        *rest: Any,  # noqa: ANN401
    ) -> Generator[Look]:
        _forget(before)
        started = time.perf_counter()
        so_far: Swept | None = None
        now: Explored | None = None
        line = snippets.waiting()
        try:
            with errors_shown():
                configs, seeds = read_study(rest)
                now = explored(engine, path, exploration)
                for event in compared(engine, now, configs, seeds, reference):
                    if isinstance(event, Swept):
                        so_far = event
                    else:
                        count = len(so_far.points) if so_far else 0
                        done = f"{count} of {snippets.counted(len(configs), 'setting')} done"
                        line = snippets.progress(event, time.perf_counter() - started, done)
                    yield Look((line, so_far, now))
        except gr.Error:
            yield Look((UNFINISHED, _ended(so_far), now), ended=True)
            raise
        yield Look(("", _ended(so_far), now), ended=True)

    def stopped(last: Look | None) -> Look:
        _, so_far, now = last.values if last else ("", None, None)
        count = len(so_far.points) if so_far else 0
        text = f"Stopped. {snippets.counted(count, 'setting')} kept."
        return Look((snippets.line(text, "quiet"), _ended(so_far), now))

    inputs = [*chosen, *settings.values()]
    wire_run(buttons, check, work, stopped, inputs, [status, swept, kept])


def compared(
    engine: Engine,
    explored: Explored,
    configs: Sequence[SamplingConfig],
    seeds: Sequence[int],
    reference_path: str | None,
) -> Iterator[Progress | Swept]:
    """Sweep over the settings: progress, and what there is after each of them."""
    picture = read_picture(explored.path)
    reference = read_picture(reference_path, MAX_RESULT_PIXELS) if reference_path else None
    judge = judge_against(picture, reference)
    swept = Swept(new_folder(), (), ())
    with running(tradeoff.sweep(explored.explorer, configs, seeds, judge)) as events:
        for event in events:
            if isinstance(event, PointResult):
                config = event.point.config
                path = swept.folder / point_name(config, seeds[0])
                save_png(path, event.picture, settings_text(config, seeds[0], engine.info))
                swept = dataclasses.replace(
                    swept,
                    points=(*swept.points, event.point),
                    pictures=(*swept.pictures, path),
                )
                yield swept
            else:
                yield event


def read_study(values: Sequence[Any]) -> tuple[list[SamplingConfig], list[int]]:
    """Settings and seeds of a sweep, from both lists of fractions, the seeds, and the settings.

    Raises:
        ValueError: If a value is missing or out of its range, or no setting is left.
    """
    t_maxs, t_mins, seeds, *rest = values
    base = read_config(rest, t_max=1.0, t_min=0.0)
    count = read_whole(NUM_SWEEP_SEEDS, seeds)
    configs = grid(base, read_fractions("t_max", t_maxs), read_fractions("t_min", t_mins))
    return configs, list(range(DEFAULT_SEED, DEFAULT_SEED + count))


def _fractions_box(name: str, values: Sequence[float]) -> gr.Textbox:
    return gr.Textbox(
        ", ".join(map(str, values)),
        label=f"Values of {name}",
        info="From 0 to 1, with commas.",
        min_width=150,
    )


def _cost(*values: Any) -> str:  # noqa: ANN401
    try:
        configs, seeds = read_study(values)
    except ValueError as error:
        return snippets.line(str(error), "error")
    evaluations = snippets.counted(num_evaluations(configs, len(seeds)), "network evaluation")
    count, decodes = snippets.counted(len(configs), "setting"), len(configs) * len(seeds)
    over = snippets.counted(len(seeds), "seed")
    text = f"{count} with {over}: {evaluations} and {snippets.counted(decodes, 'decode')}"
    return snippets.line(text)


def _show(swept: Swept | None, left: str | None, right: str | None) -> tuple[Any, ...]:
    if swept is None or not swept.points:
        return gr.update(visible=False), *[gr.skip()] * 6
    names = [name_of(point) for point in swept.points]
    first = next((n for n, p in zip(names, swept.points, strict=True) if preset_of(p) == "CCSR"),
                 names[0])  # fmt: skip
    left = left if left in names else first
    right = right if right in names else names[-1]
    alt = f"Fidelity against perception of {len(names)} settings"
    return (
        gr.update(visible=True),
        svg(tradeoff_figure(swept.points), alt),
        gr.update(choices=names, value=left),
        gr.update(choices=names, value=right),
        _pair(swept, left, right),
        points_table(swept.points),
        [str(path) for path in swept.files] or None,
    )


def name_of(point: Point) -> str:
    """What a point is called where it is chosen."""
    pair = f"t_max {point.config.t_max:g}, t_min {point.config.t_min:g}"
    preset = preset_of(point)
    return f"{preset}: {pair}" if preset else pair


def _itself(name: str | None) -> str | None:
    return name


def _clicked(swept: Swept | None, event: gr.EventData) -> Any:  # noqa: ANN401
    if swept is None or not 0 <= event.index < len(swept.points):
        return gr.skip(), gr.skip()
    return (name_of(swept.points[event.index]),) * 2


def _pair(swept: Swept | None, left: str | None, right: str | None) -> tuple[Path, Path] | None:
    if swept is None:
        return None
    files = {name_of(p): f for p, f in zip(swept.points, swept.pictures, strict=True)}
    return files.get(left or "", swept.pictures[0]), files.get(right or "", swept.pictures[-1])


def points_table(points: Sequence[Point]) -> str:
    """The numbers of all points."""
    across, upwards = axes_of(points)
    rows = [
        (name_of(point), [point.scores[name] for name in points[0].scores]
         + ([] if point.l_std is None else [point.l_std]))
        for point in points
    ]  # fmt: skip
    scores = [SCORE_LABELS[name] for name in points[0].scores]
    heads = ["", *scores, *([] if points[0].l_std is None else ["L-STD"])]
    return snippets.table(heads, rows) + snippets.line(f"{across.label}. {upwards.label}.", "quiet")


def _ended(swept: Swept | None) -> Swept | None:
    """What was swept, with its files."""
    if swept is None:
        return None
    files = write_points(swept.folder, swept.points)
    plot = write_png(tradeoff_figure(swept.points), swept.folder / TRADEOFF_PLOT)
    return dataclasses.replace(swept, files=(*files, plot))


def _add_endpoint(engine: Engine, chosen: tuple[Any, ...], settings: Settings) -> None:
    """Offer the sweep to programs as /sweep."""
    picture, reference, *study = chosen
    start = gr.Button(visible=False)
    files = gr.Files(label="CSV, JSON, PNG", visible=False)
    details = gr.JSON(label="Points", visible=False)
    fixed = {name: settings.components[name] for name in FIELDS if name not in ("t_max", "t_min")}

    def run_sweep(  # noqa: PLR0913 - the names are the parameters of the endpoint
        picture: str,
        t_maxs: str,
        t_mins: str,
        num_seeds: float,
        scale: float,
        variant: str,
        num_steps: float,
        color: str,
        reference: str | None = None,
    ) -> Iterator[tuple[list[str] | None, dict[str, Any]]]:
        """Compare settings of t_max and t_min: CSV, JSON and a plot, and the points."""
        swept: Swept | None = None
        with errors_shown():
            values = (scale, variant, num_steps, 1.0, 0.0, color)
            configs, seeds = read_study((t_maxs, t_mins, num_seeds, *values))
            now = explored(engine, picture)
            for event in compared(engine, now, configs, seeds, reference):
                if isinstance(event, Swept):
                    swept = event
                else:
                    yield None, {"evaluation": event.evaluation, "total": event.total}
            ended = _ended(swept)
            if ended is not None:
                rows = [point.row() for point in ended.points]
                yield [str(path) for path in ended.files], {"points": rows}

    start.click(
        run_sweep,
        [picture, *study, *fixed.values(), reference],
        [files, details],
        api_name="sweep",
        show_progress="hidden",
        **MODEL,
    )


def _forget(swept: Swept | None) -> None:
    remove_folder(swept.folder if swept else None)
