"""The tab that shows the estimates of the clean picture along a run."""

import dataclasses
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import gradio as gr
from matplotlib.figure import Figure

from ccsr.config import SEED, SamplingConfig
from ccsr.diffusion.sampler import Step
from ccsr.diffusion.timesteps import LoopStart, ending_at, timestep_plan
from ccsr.evaluation.plots import (
    SCORE_LABELS,
    focusable,
    fraction_at,
    svg,
    timestep_at,
    trajectory_figure,
)
from ccsr.evaluation.report import settings_text
from ccsr.evaluation.scoring_memory import scorer_within
from ccsr.images.writing import save_png
from ccsr.inference.cost import Cost, cost_of
from ccsr.inference.events import Progress
from ccsr.inference.sizes import HasSize, target_size
from ccsr.ui import snippets
from ccsr.ui.event_options import IN_ORDER, LIGHT, Chosen, changes_of
from ccsr.ui.files import archive_name, new_folder, write_table, write_zip
from ccsr.ui.inputs import Settings, blank, read_config, read_reference, read_whole
from ccsr.ui.loupe import Loupe, View, Views
from ccsr.ui.origin import Origin
from ccsr.ui.run_events import (
    RunComponents,
    archive_button,
    archive_update,
    run_buttons,
    status_lines,
    wire_tab_run,
)
from ccsr.ui.shown_run import BuiltTab
from ccsr.ui.tab_run import Inputs, Job, TabRun, results_state

HINT = snippets.hint(
    "The estimates of a run appear here",
    "from pure noise at T over t_max to t_min, decoded one by one.",
)
HELP = (
    "Each picture is the estimate of the clean result at one timestep; click one to see it beside "
    "the last. With a reference the plot "
    "shows how PSNR and LPIPS change; without one, PSNR to the input and sharpness. Drag t_max or "
    "t_min in the plot, or move them with the arrow keys, to change the setting."
)
SHOWN_ESTIMATES = 24
"""Most estimates that are decoded; those of a longer run are spaced evenly."""

Query = tuple[SamplingConfig, int]
"""Settings and seed."""

PLOTTED = ("psnr", "lpips", "consistency", "sharpness")
MOVES = """
const STEP = 0.01;
let name = null, focused = null, count = 0;
// Where marks were moved to, as fractions of the width by their names, and the numbers of these
// moves, until the plot is drawn with them.
const places = {}, moves = {};
const drawing = () => element.querySelector("svg.plot");
const across = (x) => {
    const box = drawing().getBoundingClientRect();
    return (x - box.left) / box.width;
};
const place = (mark) => {
    const box = mark.getBoundingClientRect();
    return across(box.left + box.width / 2);
};
const show = (name) => {
    const width = drawing().viewBox.baseVal.width;
    for (const mark of element.querySelectorAll(`[id^=mark-${name}-]`)) {
        const moved = mark.transform.baseVal.consolidate()?.matrix.e ?? 0;
        const way = (places[name] - place(mark)) * width;
        // Else setting it would be observed again, without end.
        if (Math.abs(way) > 0.1) mark.setAttribute("transform", `translate(${moved + way})`);
    }
};
const take = (mark) => {
    name = mark.id.split("-")[1];
    places[name] = place(mark);
    moves[name] = ++count;
};
const move = (to) => {
    const { first, last } = element.querySelector("[data-first]").dataset;
    places[name] = Math.min(Math.max(to, first), last);
    show(name);
};
const leave = () => {
    // With what was moved before and is not drawn yet: the values of the page do not have it.
    if (name) trigger("input", { mark: name, places: { ...places }, move: count });
    name = null;
};
element.addEventListener("pointerdown", (event) => {
    const mark = event.target.closest("[id^=mark-]");
    if (!mark) return;
    event.preventDefault();
    take(mark);
    element.setPointerCapture?.(event.pointerId);
});
element.addEventListener("pointermove", (event) => {
    if (name) move(across(event.clientX));
});
// A browser cancels a pointer that it needs itself, as for a swipe: no `pointerup` follows.
for (const end of ["pointerup", "pointercancel"]) element.addEventListener(end, leave);
element.addEventListener("keydown", (event) => {
    const mark = event.target.closest("[id^=mark-]");
    const way = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!mark || !way) return;
    event.preventDefault();
    take(mark);
    move(places[name] + way * STEP);
    leave();
    focused = mark.id;
});
// The plot is drawn anew with its marks in the places of an earlier move. Gradio changes what
// differs: marks lose their transform.
new MutationObserver(() => {
    const drawn = Number(element.querySelector("[data-move]")?.dataset.move ?? 0);
    for (const moved of Object.keys(places)) {
        if (moves[moved] <= drawn) delete places[moved];
        else if (drawing()) show(moved);
    }
    if (focused && document.activeElement === document.body) {
        element.querySelector(`[id=${focused}]`)?.focus();
    }
}).observe(element, {
    childList: true,
    subtree: true,
    attributeFilter: ["data-move", "transform"],
});
element.addEventListener("focusin", ({ target }) => { focused = target.id; });
element.addEventListener("focusout", ({ relatedTarget }) => {
    if (relatedTarget) focused = null;
});
"""


@dataclasses.dataclass(frozen=True, eq=False)
class Trajectory:
    """The estimates of a run, as files and numbers."""

    origin: Origin
    folder: Path
    total: int
    loop_start: LoopStart
    """The model's."""
    timesteps: tuple[int, ...] = ()
    pictures: tuple[Path, ...] = ()
    """One for each timestep."""
    scores: tuple[dict[str, float], ...] = ()
    """One for each timestep."""
    archive: Path | None = None
    """The ZIP of pictures and numbers, once the run has ended."""

    @property
    def config(self) -> SamplingConfig:
        """The settings of the run."""
        return self.origin.configs[0]

    def __len__(self) -> int:
        """Estimates that are decoded."""
        return len(self.pictures)


def build_trajectory_tab(inputs: Inputs, seed: Chosen, settings: Settings) -> BuiltTab:
    """Lay out the tab and connect it."""
    with gr.Row(elem_classes="run-buttons"):
        buttons = run_buttons("Show the trajectory")
    lines = status_lines("trajectory", HINT)
    with gr.Column(visible=False) as panel:
        strip = Loupe(elem_id="trajectory-strip")
        plot = gr.HTML(elem_id="trajectory-plot", js_on_load=MOVES)
        gr.HTML(snippets.line(HELP, "quiet"))
        download = archive_button()
    results = results_state()
    _wire_view((panel, strip, plot, download), results, settings)
    components = RunComponents(*buttons, *lines, results)
    return BuiltTab(wire_tab_run(TAB_RUN, inputs, components, [seed], settings), {})


def _wire_view(
    view: tuple[gr.Column, Loupe, gr.HTML, gr.DownloadButton], results: gr.State, settings: Settings
) -> None:
    """Show the results, and let the marks of the plot follow the settings and the other way."""
    plot = view[2]
    fractions = [settings.components["t_max"], settings.components["t_min"]]
    shown = [results, *fractions]
    results.change(_show, shown, list(view), trigger_mode="always_last", **IN_ORDER)
    changes_of(fractions)(_marked, shown, plot, trigger_mode="always_last", **LIGHT)
    moved = [*fractions, settings.settled]
    # Not "always_last": of the events that wait, Gradio may take one that is not the last.
    plot.input(_dragged, [results, *moved], [*moved, plot], trigger_mode="multiple", **IN_ORDER)


def read_query(values: Sequence[Any]) -> Query:
    """Settings and seed, from the seed and the values of the settings.

    Raises:
        InputError: If a value is missing or out of its range.
    """
    seed, *rest = values
    return read_config(rest), read_whole(SEED, seed)


def decode_estimates(job: Job[Query, Trajectory]) -> Iterator[Progress | Trajectory]:
    """Make the estimates of a run that are missing, then decode them one by one."""
    config, seed = job.query
    info, session, picture = job.engine.info, job.source.session, job.source.picture
    reference = read_reference(job.reference, picture, config)
    scorer = scorer_within(
        picture, reference, target_size(picture, config), job.engine.info.max_memory
    )
    yield from session.refine(config, seed)
    steps = spread_out(session.steps(config, seed), SHOWN_ESTIMATES)
    trajectory = Trajectory(job.origin, new_folder(), len(steps), info.loop_start)
    for step in steps:
        result = session.restore(config, seed, step).picture
        path = trajectory.folder / f"t-{step.timestep:03d}.png"
        ending = ending_at(config, step.evaluation, info.loop_start)
        save_png(path, result, settings_text(ending, seed, info) if ending else {})
        trajectory = dataclasses.replace(
            trajectory,
            timesteps=(*trajectory.timesteps, step.timestep),
            pictures=(*trajectory.pictures, path),
            scores=(*trajectory.scores, scorer(result.rgb)),
        )
        yield trajectory


def spread_out(steps: Sequence[Step], most: int) -> list[Step]:
    """At most `most` of the steps, evenly spaced, with the first and the last."""
    if len(steps) <= most:
        return list(steps)
    return [steps[round(i * (len(steps) - 1) / (most - 1))] for i in range(most)]


def _show(trajectory: Trajectory | None, t_max: float, t_min: float) -> tuple[Any, ...]:
    if trajectory is None or not trajectory.pictures:
        return gr.update(visible=False), *[gr.skip()] * 3
    names = [f"t = {timestep}" for timestep in trajectory.timesteps]
    strip = Views(
        tuple(map(View, names, trajectory.pictures)), names[0], names[-1], "all", opens="left"
    )
    plot, archive = plot_of(trajectory, t_max, t_min), archive_update(trajectory.archive)
    return gr.update(visible=True), strip, plot, archive


def _marked(trajectory: Trajectory | None, t_max: float, t_min: float) -> Any:  # noqa: ANN401
    if trajectory is None or not trajectory.pictures:
        return gr.skip()
    return plot_of(trajectory, t_max, t_min)


def plot_of(trajectory: Trajectory, t_max: float, t_min: float, move: int = 0) -> str:
    """Scores against the timestep, with marks at the settings that are chosen, as SVG.

    Args:
        trajectory: The estimates.
        t_max: Chosen now.
        t_min: The same.
        move: Number of the last move of a mark that the settings have.
    """
    names = " and ".join(_scores(trajectory))
    alt = f"{names} of {len(trajectory.timesteps)} estimates against the timestep"
    figure = _figure(trajectory, t_max, t_min)
    drawing = svg(figure, alt)
    for name, timestep in _marks(trajectory, t_max, t_min).items():
        label = f"{name}, moved by the arrow keys"
        drawing = focusable(drawing, f"mark-{name}-0", "slider", label, timestep)
    first, last = (fraction_at(figure, timestep) for timestep in (999, 0))
    limits = f'data-first="{first:.4f}" data-last="{last:.4f}"'
    return f'<div {limits} data-move="{int(move)}">{drawing}</div>'


def _figure(trajectory: Trajectory, t_max: float, t_min: float) -> Figure:
    marks = _marks(trajectory, t_max, t_min)
    return trajectory_figure(trajectory.timesteps, _scores(trajectory), marks)


def _marks(trajectory: Trajectory, t_max: float, t_min: float) -> dict[str, int]:
    return marked_timesteps(trajectory.config, t_max, t_min, trajectory.loop_start)


def _scores(trajectory: Trajectory) -> dict[str, list[float]]:
    """The plotted scores by label."""
    names = [name for name in PLOTTED if name in trajectory.scores[0]]
    return {SCORE_LABELS[name]: [row[name] for row in trajectory.scores] for name in names}


def marked_timesteps(
    config: SamplingConfig, t_max: float, t_min: float, loop_start: LoopStart = "paper"
) -> dict[str, int]:
    """Timesteps of t_max and t_min; none for V1, a run without refinement, or an empty box.

    Args:
        config: Settings of the run.
        t_max: On the page now, NaN if its box is empty.
        t_min: The same.
        loop_start: The model's.
    """
    if config.variant == "v1" or not timestep_plan(config, loop_start).indices:
        return {}
    fractions = {"t_max": t_max, "t_min": t_min}
    return {name: round(999 * x) for name, x in fractions.items() if not math.isnan(x)}


def _dragged(
    trajectory: Trajectory | None, t_max: float, t_min: float, count: int, event: gr.EventData
) -> tuple[Any, ...]:
    """Values of t_max and t_min, the count of values received at once, and the new plot.

    The plot changes even if the values stay at their limits: the browser has moved the mark.
    """
    if trajectory is None:
        # Values, never gr.skip(): see `ui.browser_storage`.
        return blank(t_max), blank(t_min), count, None
    figure = _figure(trajectory, t_max, t_min)
    moved = {name: _fraction(figure, across) for name, across in event.places.items()}
    t_max, t_min = moved.get("t_max", t_max), moved.get("t_min", t_min)
    if event.mark == "t_max":
        t_max = max(t_max, t_min)
    else:
        t_min = min(t_min, t_max)
    drawing = plot_of(trajectory, t_max, t_min, move=event.move)
    return blank(t_max), blank(t_min), count + 1, drawing


def _fraction(figure: Figure, across: float) -> float:
    """The value of a mark at this fraction of the width of the plot, in [0,1]."""
    return round(min(max(timestep_at(figure, across) / 999, 0), 1), 4)


def cost_of_query(query: Query, picture: HasSize, loop_start: LoopStart) -> Cost:
    """What a run costs if nothing of it is there."""
    config, _ = query
    cost = cost_of(config, 1, target_size(picture, config), loop_start)
    decodes = min(timestep_plan(config, loop_start).num_evaluations, SHOWN_ESTIMATES)
    return dataclasses.replace(cost, decodes=decodes)


def packed(trajectory: Trajectory) -> Trajectory:
    """The trajectory with its ZIP: all estimates, and their scores as CSV."""
    folder, scores = trajectory.folder, zip(trajectory.timesteps, trajectory.scores, strict=True)
    rows = [{"timestep": timestep, **row} for timestep, row in scores]
    path = folder / archive_name(trajectory.origin.picture, "trajectory")
    files = [*trajectory.pictures, write_table(folder / "trajectory.csv", rows)]
    return dataclasses.replace(trajectory, archive=write_zip(path, files))


TAB_RUN = TabRun(
    read_query, decode_estimates, cost_of_query, "trajectory", noun="estimate", finish=packed
)
