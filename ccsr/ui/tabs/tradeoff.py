"""The tab that compares settings of t_max and t_min on one picture."""

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.components.base import Component

from ccsr.config import (
    DEFAULT_SEED,
    DEFAULT_SWEEP_SEEDS,
    DEFAULT_T_MAXS,
    DEFAULT_T_MINS,
    NUM_SWEEP_SEEDS,
    SamplingConfig,
)
from ccsr.diffusion.timesteps import LoopStart
from ccsr.evaluation import tradeoff
from ccsr.evaluation.metrics import scorer_for
from ccsr.evaluation.plots import (
    SCORE_LABELS,
    TRADEOFF_PLOT,
    axes_of,
    preset_of,
    reachable,
    svg,
    tradeoff_figure,
    write_png,
)
from ccsr.evaluation.report import point_name, settings_text
from ccsr.evaluation.tradeoff import Point, PointResult, grid, num_evaluations, write_points
from ccsr.images.writing import save_png
from ccsr.inference.events import Decoded, Engine, Progress
from ccsr.ui import snippets
from ccsr.ui.api import add_endpoint
from ccsr.ui.files import new_folder
from ccsr.ui.inputs import (
    Settings,
    number_slider,
    read_config,
    read_fractions,
    read_named,
    read_picture,
    read_reference,
    read_whole,
)
from ccsr.ui.run_controller import LIGHT, PRIVATE, run_buttons, running
from ccsr.ui.sessions import SessionPicture, session_picture
from ccsr.ui.tab_run import Inputs, TabRun, results_state, wire_tab_run

HINT = snippets.hint(
    "Every setting becomes a point here",
    "fidelity across, perception upwards, colour for how much the seeds differ.",
)
HELP = (
    "Across: fidelity, measured against the reference picture, or against the input without one. "
    "Upwards: perception, LPIPS with a reference and NIQE without. Click a point to see its "
    "picture; A1 to A4 and CCSR are settings of the paper."
)
WIDEST = {"t_max": 1.0, "t_min": 0.0}
"""Stand in for the swept settings among the others."""
LOOKS: dict[str, Any] = {**PRIVATE, "concurrency_id": "tradeoff-looks", "concurrency_limit": 1}
"""Events with these come one after another: a choice is not undone by a look that began before."""
CLICKS = """
const choose = (event) => {
    const point = event.target.closest("[id^=point-]");
    if (!point) return;
    event.preventDefault();
    trigger("click", { index: Number(point.id.slice("point-".length)) });
};
element.addEventListener("click", choose);
element.addEventListener("keydown", (event) => {
    if (event.key === "Enter" || event.key === " ") choose(event);
});
"""


@dataclasses.dataclass(frozen=True, eq=False)
class Swept:
    """The points of a sweep so far."""

    folder: Path
    total: int
    points: tuple[Point, ...] = ()
    pictures: tuple[Path, ...] = ()
    """One a point."""
    files: tuple[Path, ...] = ()
    """Table, record and plot, once the sweep has ended."""

    def __len__(self) -> int:
        """Points that are there."""
        return len(self.points)


def build_tradeoff_tab(engine: Engine, subject: Inputs, settings: Settings) -> dict[str, Component]:
    """Lay out the tab and connect it; what a person chooses in it."""
    with gr.Row(elem_classes="actions"):
        t_maxs = _fractions_box("t_max", DEFAULT_T_MAXS)
        t_mins = _fractions_box("t_min", DEFAULT_T_MINS)
        seeds = number_slider(NUM_SWEEP_SEEDS, DEFAULT_SWEEP_SEEDS, min_width=260)
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

    swept = results_state()
    # What a person chose, apart from what is shown for want of a choice.
    left_chosen, right_chosen = gr.State(None), gr.State(None)
    left.input(_itself, left, left_chosen, **LOOKS)
    right.input(_itself, right, right_chosen, **LOOKS)
    swept.change(
        _show,
        [swept, left_chosen, right_chosen],
        [panel, plot, left, right, pair, table, files],
        trigger_mode="always_last",
        **LOOKS,
    )
    plot.click(_clicked, swept, [right, right_chosen], **LOOKS)
    gr.on([left.change, right.change], _pair, [swept, left, right], pair, **LIGHT)

    study = [t_maxs, t_mins, seeds]

    def cost_of(*values: Any) -> str:  # noqa: ANN401
        return _cost(engine.info.loop_start, *values)

    gr.on(
        [*(box.change for box in study), *(box.change for box in settings.components.values())],
        cost_of,
        [*study, *settings.values()],
        cost,
        trigger_mode="always_last",
        **LIGHT,
    )
    cost.value = cost_of(*(box.value for box in study), *(box.value for box in settings.values()))
    chosen = [*study, *settings.values()]
    wire_tab_run(engine, STUDY, subject, swept, chosen, buttons, status)
    _add_endpoint(engine, (subject.picture, subject.reference, *study), settings)
    return {"sweep_t_maxs": t_maxs, "sweep_t_mins": t_mins, "sweep_seeds": seeds}


def compared(
    engine: Engine,
    session_picture: SessionPicture,
    query: tuple[Sequence[SamplingConfig], Sequence[int]],
    reference_path: str | None,
) -> Iterator[Progress | Decoded | Swept]:
    """Sweep over settings with seeds: progress, and what there is after each setting."""
    configs, seeds = query
    picture = read_picture(session_picture.path)
    reference = read_reference(reference_path, picture, configs[0])
    scorer = scorer_for(picture, reference)
    swept = Swept(new_folder(), len(configs))
    session, loop_start = session_picture.explorer, engine.info.loop_start
    with running(tradeoff.sweep(session, configs, seeds, scorer, loop_start)) as events:
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
    t_maxs, t_mins, num_seeds, *rest = values
    return _study(read_config(rest, **WIDEST), t_maxs, t_mins, num_seeds)


def _study(
    base: SamplingConfig, t_maxs: str, t_mins: str, num_seeds: float
) -> tuple[list[SamplingConfig], list[int]]:
    count = read_whole(NUM_SWEEP_SEEDS, num_seeds)
    configs = grid(base, read_fractions("t_max", t_maxs), read_fractions("t_min", t_mins))
    return configs, list(range(DEFAULT_SEED, DEFAULT_SEED + count))


def _fractions_box(name: str, values: Sequence[float]) -> gr.Textbox:
    return gr.Textbox(
        ", ".join(map(str, values)),
        label=f"Values of {name}",
        max_length=200,
        info="From 0 to 1, with commas.",
        min_width=150,
    )


def _cost(loop_start: LoopStart, *values: Any) -> str:  # noqa: ANN401
    try:
        configs, seeds = read_study(values)
    except ValueError as error:
        return snippets.line(str(error), "error")
    needed = num_evaluations(configs, len(seeds), loop_start)
    evaluations = snippets.counted(needed, "network evaluation")
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
    drawing = svg(tradeoff_figure(swept.points), alt)
    for index, name in enumerate(names):
        drawing = reachable(drawing, f"point-{index}", "button", name)
    return (
        gr.update(visible=True),
        drawing,
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


def with_files(swept: Swept) -> Swept:
    """What was swept, with its files."""
    files = write_points(swept.folder, swept.points)
    plot = write_png(tradeoff_figure(swept.points), swept.folder / TRADEOFF_PLOT)
    return dataclasses.replace(swept, files=(*files, plot))


def _add_endpoint(engine: Engine, chosen: tuple[Any, ...], settings: Settings) -> None:
    """Offer the sweep to programs as /sweep."""
    picture, reference, t_maxs, t_mins, num_seeds = chosen
    files = gr.Files(label="CSV, JSON, PNG", visible=False)
    details = gr.JSON(label="Points", visible=False)
    others = {name: box for name, box in settings.named().items() if name not in WIDEST}

    def run_sweep(
        picture: str,
        t_maxs: str,
        t_mins: str,
        num_seeds: float,
        *,
        reference: str | None = None,
        **values: Any,  # noqa: ANN401
    ) -> Iterator[tuple[list[str] | None, dict[str, Any]]]:
        """Compare settings of t_max and t_min: CSV, JSON and a plot, and the points."""
        swept: Swept | None = None
        query = _study(read_named(values | WIDEST), t_maxs, t_mins, num_seeds)
        for event in compared(engine, session_picture(engine, picture), query, reference):
            if isinstance(event, Swept):
                swept = event
            elif isinstance(event, Progress):
                yield None, {"evaluation": event.evaluation, "total": event.total}
        if swept is not None:
            rows = [point.row() for point in swept.points]
            yield [str(path) for path in with_files(swept).files], {"points": rows}

    inputs = {"picture": picture, "t_maxs": t_maxs, "t_mins": t_mins, "num_seeds": num_seeds}
    inputs |= {**others, "reference": reference}
    add_endpoint("sweep", run_sweep, inputs, [files, details])


STUDY = TabRun("setting", read_study, compared, with_files)
