"""The tab that compares settings of t_max and t_min on one picture."""

import dataclasses
import functools
from collections.abc import Iterator, Mapping, Sequence
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
from ccsr.evaluation.plots import (
    BICUBIC,
    SCORE_LABELS,
    TRADEOFF_PLOT,
    focusable,
    preset_label,
    svg,
    tradeoff_axes,
    tradeoff_figure,
    write_png,
)
from ccsr.evaluation.report import point_name, settings_text
from ccsr.evaluation.scoring_memory import scorer_within
from ccsr.evaluation.tradeoff import Point, PointResult, grid, num_evaluations, write_points
from ccsr.images.writing import save_png
from ccsr.inference.cost import Cost
from ccsr.inference.events import Decoded, Engine, Progress
from ccsr.inference.sizes import HasSize, target_size
from ccsr.ui import snippets
from ccsr.ui.api import add_endpoint
from ccsr.ui.event_options import LIGHT, PRIVATE, changes_of
from ccsr.ui.files import archive_name, bicubic, new_folder, write_zip
from ccsr.ui.inputs import (
    MAX_FRACTIONS_LENGTH,
    STEPS,
    Settings,
    blank,
    number_slider,
    read_config,
    read_fractions,
    read_named,
    read_reference,
    read_whole,
)
from ccsr.ui.loupe import Loupe, View, Views
from ccsr.ui.origin import Origin
from ccsr.ui.run_events import RunComponents, run_buttons, status_lines, wire_tab_run
from ccsr.ui.shown_run import BuiltTab
from ccsr.ui.tab_run import Inputs, Job, TabRun, closed_at_end, new_job, results_state

HINT = snippets.hint(
    "Every setting becomes a point here",
    "fidelity across, perception upwards, colour for how much the seeds differ.",
)
HELP = (
    "Further up and further right is better. Across: fidelity, measured against the reference "
    "picture, or against the input without one. Upwards: perception, LPIPS with a reference and "
    "NIQE without. Bars: one G-STD over the seeds; differences within them are none. Click a point "
    "to see its picture; A1 to A4 and CCSR are settings of the paper. A triangle at the edge "
    "points to where the bicubic enlargement is, far from all settings."
)
WIDEST = {"t_max": 1.0, "t_min": 0.0}
"""Values of the swept settings while the others are read."""
CHOICES: dict[str, Any] = {
    **PRIVATE,
    "concurrency_id": "tradeoff-choices",
    "concurrency_limit": 1,
}
"""Events with these come one after another: new results do not undo a choice made meanwhile."""

Query = tuple[Sequence[SamplingConfig], Sequence[int]]
"""Settings and seeds."""
Clicks = tuple[int, str | None]
"""How many points were clicked, and the name of the last."""

CLICKS = """
const choose = (event) => {
    const point = event.target.closest("[id^=point-], [id^=halo-]");
    if (!point) return;
    event.preventDefault();
    trigger("click", { index: Number(point.id.split("-")[1]) });
};
element.addEventListener("click", choose);
element.addEventListener("keydown", (event) => {
    if (event.key === "Enter" || event.key === " ") choose(event);
});
"""


@dataclasses.dataclass(frozen=True, eq=False)
class Sweep:
    """The points of a sweep so far."""

    origin: Origin
    folder: Path
    total: int
    bicubic: Path
    """The picture enlarged bicubically."""
    baseline: dict[str, float]
    """Its scores."""
    points: tuple[Point, ...] = ()
    pictures: tuple[Path, ...] = ()
    """One for each point."""
    files: tuple[Path, ...] = ()
    """Table, record, plot, and the ZIP of these and the pictures, once the sweep has ended."""

    def __len__(self) -> int:
        """The number of points."""
        return len(self.points)


@dataclasses.dataclass(frozen=True)
class _SweepView:
    """The components that show a sweep."""

    panel: gr.Column
    plot: gr.HTML
    loupe: Loupe
    use: gr.Button
    """Sets t_max and t_min of the point that is looked at."""
    table: gr.HTML
    files: gr.Files

    def components(self) -> list[Any]:
        """All of them, in the order of `_show`."""
        return [getattr(self, field.name) for field in dataclasses.fields(self)]


def build_tradeoff_tab(engine: Engine, inputs: Inputs, settings: Settings) -> BuiltTab:
    """Lay out the tab and connect it."""
    with gr.Row(elem_classes="actions"):
        t_maxs = _fractions_box("t_max", DEFAULT_T_MAXS)
        t_mins = _fractions_box("t_min", DEFAULT_T_MINS)
        seeds = number_slider(NUM_SWEEP_SEEDS, DEFAULT_SWEEP_SEEDS, min_width=260)
        with gr.Row(elem_classes="run-buttons"):
            buttons = run_buttons("Compare")
    swept = [t_maxs, t_mins, seeds]
    cost = gr.HTML(elem_id="sweep-cost")
    lines = status_lines("sweep", HINT)
    view = _sweep_view()
    results = results_state()
    _wire_view(view, results, settings)
    _wire_cost(cost, swept, settings, engine.info.loop_start)
    components = RunComponents(*buttons, *lines, results)
    run = wire_tab_run(TAB_RUN, inputs, components, swept, settings)
    _add_endpoint(inputs, swept, settings)
    return BuiltTab(run, {"sweep_t_maxs": t_maxs, "sweep_t_mins": t_mins, "sweep_seeds": seeds})


def _sweep_view() -> _SweepView:
    """Lay out what shows a sweep, hidden until there are points."""
    with gr.Column(visible=False) as panel:
        with gr.Row(elem_classes="result-columns"):
            # As wide as the plot at least, or the picture is below it; on a phone the plot scrolls.
            with gr.Column(min_width=480, elem_classes="plot-side"):
                plot = gr.HTML(elem_id="sweep-plot", js_on_load=CLICKS)
                gr.HTML(snippets.line(HELP, "quiet"))
            with gr.Column(min_width=280):
                loupe = Loupe(elem_id="sweep-loupe")
                use = gr.Button("Use this setting", size="md", elem_id="sweep-use")
        table = gr.HTML(elem_id="sweep-table")
        files = gr.Files(
            label="Numbers and plot, and all with the pictures (ZIP)",
            interactive=False,
            elem_id="sweep-files",
            visible=False,
        )
    return _SweepView(panel, plot, loupe, use, table, files)


def _wire_view(view: _SweepView, results: gr.State, settings: Settings) -> None:
    """Show the points and the picture of a point that is clicked, whose setting can be used."""
    # How often a point was clicked, and the last one.
    clicks = gr.State((0, None))
    results.change(
        _show, [results, clicks], view.components(), trigger_mode="always_last", **CHOICES
    )
    looking = [results, clicks]
    view.plot.click(_clicked, looking, [view.loupe, view.use, clicks], **CHOICES)
    view.loupe.select(_looked_at, looking, [view.use, clicks], **CHOICES)
    set_values = [*(settings.components[step] for step in STEPS), settings.settled]
    view.use.click(_use, [*looking, *set_values], set_values, concurrency_limit=None, **PRIVATE)


def _wire_cost(
    cost: gr.HTML,
    swept: Sequence[gr.Textbox | gr.Slider],
    settings: Settings,
    loop_start: LoopStart,
) -> None:
    """Update the line of what a sweep costs whenever a setting changes."""
    values = [*swept, *settings.values()]
    show = functools.partial(cost_line, loop_start)
    for listen in (changes_of(swept), settings.changed):
        listen(show, values, cost, trigger_mode="always_last", **LIGHT)
    cost.value = show(*(box.value for box in values))


def _fractions_box(name: str, values: Sequence[float]) -> gr.Textbox:
    return gr.Textbox(
        ", ".join(map(str, values)),
        label=f"Values of {name}",
        max_length=MAX_FRACTIONS_LENGTH,
        info="From 0 to 1, with commas.",
        min_width=150,
    )


def cost_line(loop_start: LoopStart, *values: Any) -> str:  # noqa: ANN401
    """The cost of a sweep without estimates of earlier runs, or why the sweep is refused."""
    try:
        configs, seeds = read_query(values)
    except ValueError as error:
        return snippets.line(str(error), "error")
    count = num_evaluations(configs, len(seeds), loop_start)
    evaluations = snippets.counted(count, "network evaluation")
    settings, decodes = snippets.counted(len(configs), "setting"), len(configs) * len(seeds)
    over = snippets.counted(len(seeds), "seed")
    text = f"{settings} with {over}: {evaluations} and {snippets.counted(decodes, 'decode')}"
    return snippets.line(text)


def _show(sweep: Sweep | None, clicks: Clicks) -> tuple[Any, ...]:
    if sweep is None or not sweep.points:
        return gr.update(visible=False), *[gr.skip()] * 5
    names = [name_of(point) for point in sweep.points]
    alt = f"Fidelity against perception of {len(names)} settings"
    drawing = svg(tradeoff_figure(sweep.points, sweep.baseline), alt)
    for index, name in enumerate(names):
        drawing = focusable(drawing, f"point-{index}", "button", name)
    return (
        gr.update(visible=True),
        drawing,
        views_of(sweep, clicks),
        _use_update(sweep, clicks),
        points_table(sweep.points, sweep.baseline),
        gr.update(value=[*map(str, sweep.files)] or None, visible=bool(sweep.files)),
    )


def views_of(sweep: Sweep, clicks: Clicks) -> Views:
    """The pictures of all points: that of CCSR, and the last, or that of the last click."""
    number, _ = clicks
    names = [name_of(point) for point in sweep.points]
    labels = [preset_label(point) for point in sweep.points]
    first = names[labels.index("CCSR")] if "CCSR" in labels else names[0]
    views = (*map(View, names, sweep.pictures), View(BICUBIC, sweep.bicubic))
    return Views(views, first, name_of(looked_at(sweep, clicks)), asked=number)


def looked_at(sweep: Sweep, clicks: Clicks) -> Point:
    """The point that was clicked last; that of CCSR, or the last, before any was."""
    named = {name_of(point): point for point in sweep.points}
    return named.get(clicks[1] or "", sweep.points[-1])


def _use_update(sweep: Sweep, clicks: Clicks) -> Any:  # noqa: ANN401
    return gr.update(value=f"Use {name_of(looked_at(sweep, clicks))}")


def _use(sweep: Sweep | None, clicks: Clicks, *values: Any) -> tuple[Any, ...]:  # noqa: ANN401
    """Values of t_max, t_min and S of the point, and the count of values received at once."""
    *steps, count = values
    if sweep is None or not sweep.points:
        return *map(blank, steps), count
    config = looked_at(sweep, clicks).config
    return *(getattr(config, step) for step in STEPS), count + 1


def _looked_at(sweep: Sweep | None, clicks: Clicks, event: gr.EventData) -> tuple[Any, Any]:
    """The button and the last click, after a picture was chosen in the loupe."""
    if sweep is None or event.right not in map(name_of, sweep.points):
        return gr.skip(), gr.skip()
    clicks = clicks[0], str(event.right)
    return _use_update(sweep, clicks), clicks


def name_of(point: Point) -> str:
    """The name of a point in the choices: preset, t_max and t_min."""
    pair = f"t_max {point.config.t_max:g}, t_min {point.config.t_min:g}"
    preset = preset_label(point)
    return f"{preset}: {pair}" if preset else pair


def _clicked(sweep: Sweep | None, clicks: Clicks, event: gr.EventData) -> tuple[Any, ...]:
    if sweep is None or not 0 <= event.index < len(sweep.points):
        return (gr.skip(),) * 3
    clicks = clicks[0] + 1, name_of(sweep.points[event.index])
    return views_of(sweep, clicks), _use_update(sweep, clicks), clicks


def points_table(points: Sequence[Point], baseline: Mapping[str, float]) -> str:
    """The numbers of all points, and of the bicubic enlargement."""
    across, upwards = tradeoff_axes(points)
    has_l_std = points[0].l_std is not None
    rows: list[tuple[str, Sequence[float | None]]] = []
    for name, scores, l_std in (
        *((name_of(point), point.scores, point.l_std) for point in points),
        (BICUBIC, baseline, None),
    ):
        row: list[float | None] = [scores[score] for score in points[0].scores]
        rows.append((name, [*row, l_std] if has_l_std else row))
    heads = ["", *(SCORE_LABELS[name] for name in points[0].scores)]
    heads += ["L-STD"] if has_l_std else []
    return snippets.table(heads, rows) + snippets.line(f"{across.label}. {upwards.label}.", "quiet")


def read_query(values: Sequence[Any]) -> Query:
    """Settings and seeds of a sweep, from both lists of fractions, the seeds, and the settings.

    Raises:
        InputError: If a value is missing or out of its range, or no setting is left.
    """
    t_maxs, t_mins, num_seeds, *rest = values
    return _query(read_config(rest, **WIDEST), t_maxs, t_mins, num_seeds)


def _query(base: SamplingConfig, t_maxs: str, t_mins: str, num_seeds: float) -> Query:
    count = read_whole(NUM_SWEEP_SEEDS, num_seeds)
    configs = grid(base, read_fractions("t_max", t_maxs), read_fractions("t_min", t_mins))
    return configs, range(DEFAULT_SEED, DEFAULT_SEED + count)


def sweep_settings(job: Job[Query, Sweep]) -> Iterator[Progress | Decoded | Sweep]:
    """Sweep over settings with seeds: progress, and all points so far after each setting."""
    configs, seeds = job.query
    picture = job.source.picture
    reference = read_reference(job.reference, picture, configs[0])
    size = target_size(picture, configs[0])
    scorer = scorer_within(picture, reference, size, job.engine.info.max_memory)
    enlarged, folder = bicubic(picture, size), new_folder()
    save_png(folder / "bicubic.png", enlarged)
    baseline, loop_start = scorer(enlarged.rgb), job.engine.info.loop_start
    sweep = Sweep(job.origin, folder, len(configs), folder / "bicubic.png", baseline)
    work = tradeoff.sweep(job.source.session, configs, seeds, scorer, loop_start)
    with closed_at_end(work) as events:
        for event in events:
            if isinstance(event, PointResult):
                config = event.point.config
                path = sweep.folder / point_name(config, seeds[0])
                save_png(path, event.picture, settings_text(config, seeds[0], job.engine.info))
                sweep = dataclasses.replace(
                    sweep,
                    points=(*sweep.points, event.point),
                    pictures=(*sweep.pictures, path),
                )
                yield sweep
            else:
                yield event


def with_files(sweep: Sweep) -> Sweep:
    """The sweep with its files."""
    files = write_points(sweep.folder, sweep.points)
    plot = write_png(tradeoff_figure(sweep.points, sweep.baseline), sweep.folder / TRADEOFF_PLOT)
    path = sweep.folder / archive_name(sweep.origin.picture, "trade-off")
    archive = write_zip(path, [*sweep.pictures, sweep.bicubic, *files, plot])
    return dataclasses.replace(sweep, files=(*files, plot, archive))


def cost_of_query(query: Query, picture: HasSize, loop_start: LoopStart) -> Cost:
    """What a sweep costs if nothing of it is there."""
    configs, seeds = query
    size = target_size(picture, configs[0])
    return tradeoff.cost_of_sweep(configs, len(seeds), size, loop_start)


TAB_RUN = TabRun(
    read_query, sweep_settings, cost_of_query, "sweep", noun="setting", finish=with_files
)


def _add_endpoint(inputs: Inputs, swept: Sequence[Component], settings: Settings) -> None:
    """Offer the sweep to programs as /sweep."""
    files = gr.Files(label="CSV, JSON, PNG, and a ZIP with all pictures", visible=False)
    details = gr.JSON(label="Points", visible=False)
    others = {name: box for name, box in settings.named().items() if name not in WIDEST}

    def run_endpoint(
        picture: str,
        t_maxs: str,
        t_mins: str,
        num_seeds: float,
        *,
        reference: str | None = None,
        **values: Any,  # noqa: ANN401
    ) -> Iterator[tuple[list[str] | None, dict[str, Any]]]:
        """Compare settings of t_max and t_min: CSV, JSON, a plot and a ZIP, and the points.

        t_maxs and t_mins are texts such as "0.5, 0.6667"; all pairs with t_min <= t_max are run
        with num_seeds seeds from 0 on. A reference, which is optional, is the true picture of
        exactly the size of the results: with it points have PSNR in dB, SSIM and LPIPS, without
        it PSNR to the input and NIQE.

        The last answer has {"points": [...]} with the scores of each pair, their G-STD over
        the seeds, and L-STD of pixels in [0, 1].
        """
        sweep: Sweep | None = None
        query = _query(read_named(values | WIDEST), t_maxs, t_mins, num_seeds)
        job = new_job(inputs, TAB_RUN, query, picture, reference)
        for event in sweep_settings(job):
            if isinstance(event, Sweep):
                sweep = event
            elif isinstance(event, Progress):
                yield None, {"evaluation": event.evaluation, "total": event.total}
        if sweep is not None:
            rows = [point.row() for point in sweep.points]
            yield [str(path) for path in with_files(sweep).files], {"points": rows}

    own = dict(zip(("t_maxs", "t_mins", "num_seeds"), swept, strict=True))
    parameters = {"picture": inputs.picture, **own, **others, "reference": inputs.reference}
    add_endpoint("sweep", run_endpoint, parameters, [files, details], inputs.queue)
