"""The tab that shows how the estimate of the clean picture grows along a run."""

import dataclasses
import time
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from ccsr.config import MAX_RESULT_PIXELS, SEED, SamplingConfig
from ccsr.events import Engine, Progress
from ccsr.images import save_png
from ccsr.metrics import judge_against
from ccsr.plots import SCORE_LABELS, svg, timesteps_across, trajectory_figure
from ccsr.sampler import Step
from ccsr.schedule import path_for
from ccsr.ui import snippets
from ccsr.ui.exploring import Explored, explored
from ccsr.ui.files import new_folder, remove_folder
from ccsr.ui.inputs import Settings, errors_shown, read_config, read_picture, read_whole
from ccsr.ui.runs import IN_ORDER, PRIVATE, UNFINISHED, Look, run_buttons, running, wire_run

HINT = snippets.hint(
    "The estimates of a run appear here",
    "from pure noise at T over t_max to t_min, decoded one by one.",
)
HELP = (
    "Each picture is the estimate of the clean result at one timestep. With a reference the plot "
    "shows how PSNR and LPIPS change; without one, PSNR to the input and sharpness. Drag t_max or "
    "t_min in the plot to change the setting."
)
SHOWN_ESTIMATES = 12
"""Estimates decoded at most; of a longer run they are spread evenly."""
PLOTTED = ("psnr", "lpips", "consistency", "sharpness")
DRAG = """
let name = null, from = 0, fraction = 0;
const marks = () => element.querySelectorAll(`[id^=mark-${name}-]`);
const across = (event) => {
    const box = element.querySelector("svg.plot").getBoundingClientRect();
    return (event.clientX - box.left) / box.width;
};
element.addEventListener("pointerdown", (event) => {
    const mark = event.target.closest("[id^=mark-]");
    if (!mark) return;
    event.preventDefault();
    name = mark.id.split("-")[1];
    from = fraction = across(event);
    element.setPointerCapture?.(event.pointerId);
});
element.addEventListener("pointermove", (event) => {
    if (!name) return;
    fraction = across(event);
    const width = element.querySelector("svg.plot").viewBox.baseVal.width;
    marks().forEach((g) => g.setAttribute("transform", `translate(${(fraction - from) * width})`));
});
element.addEventListener("pointerup", () => {
    if (name) trigger("input", { mark: name, across: fraction });
    name = null;
});
"""


@dataclasses.dataclass(frozen=True, eq=False)
class Trajectory:
    """The estimates of a run, as files and numbers."""

    folder: Path
    config: SamplingConfig
    timesteps: tuple[int, ...]
    pictures: tuple[Path, ...]
    """One a timestep."""
    scores: tuple[dict[str, float], ...]
    """One a timestep."""


def build_trajectory_tab(
    engine: Engine,
    chosen: tuple[gr.Image, gr.Image, gr.Number],
    settings: Settings,
    kept: gr.State,
) -> None:
    """Lay out the tab and connect it.

    Args:
        engine: The model.
        chosen: Picture, reference and seed.
        settings: The settings.
        kept: What has been made of the picture.
    """
    with gr.Row(elem_classes="run-buttons"):
        buttons = run_buttons("Show the trajectory")
    status = gr.HTML(HINT, elem_id="trajectory-status")
    with gr.Column(visible=False) as panel:
        strip = gr.Gallery(
            label="Estimates",
            show_label=False,
            format="png",
            columns=6,
            height="auto",
            object_fit="contain",
            interactive=False,
            buttons=["fullscreen"],
            elem_id="trajectory-strip",
        )
        plot = gr.HTML(elem_id="trajectory-plot", js_on_load=DRAG)
        gr.HTML(snippets.line(HELP, "quiet"))
    shown = gr.State(None, delete_callback=_forget)
    shown.change(_show, shown, [panel, strip, plot], trigger_mode="always_last", **IN_ORDER)
    moved = [settings.components["t_max"], settings.components["t_min"], settings.settled]
    plot.input(_dragged, [shown, *moved], moved, concurrency_limit=None, **PRIVATE)

    def check(_: Any, __: Any, path: str | None, reference: str | None, *rest: Any) -> None:  # noqa: ANN401
        seed, *values = rest
        with errors_shown():
            read_picture(path)
            if reference:
                read_picture(reference, MAX_RESULT_PIXELS)
            read_whole(SEED, seed)
            read_config(values)

    def work(
        before: Trajectory | None,
        exploration: Explored | None,
        path: str,
        reference: str | None,
        *rest: Any,  # noqa: ANN401
    ) -> Generator[Look]:
        _forget(before)
        seed, *values = rest
        started = time.perf_counter()
        now: Explored | None = None
        so_far: Trajectory | None = None
        line = snippets.waiting()
        try:
            with errors_shown():
                config, number = read_config(values), read_whole(SEED, seed)
                now = explored(engine, path, exploration)
                with running(estimates(now, config, number, reference)) as events:
                    for event in events:
                        if isinstance(event, Trajectory):
                            so_far = event
                            line = snippets.line(
                                f"{len(event.pictures)} estimates decoded", "quiet"
                            )
                        else:
                            line = snippets.progress(event, time.perf_counter() - started)
                        yield Look((line, so_far, now))
        except gr.Error:
            yield Look((UNFINISHED, so_far, now), ended=True)
            raise
        yield Look(("", so_far, now), ended=True)

    def stopped(last: Look | None) -> Look:
        _, so_far, now = last.values if last else ("", None, None)
        return Look((snippets.line("Stopped.", "quiet"), so_far, now))

    inputs = [shown, kept, *chosen, *settings.values()]
    wire_run(buttons, check, work, stopped, inputs, [status, shown, kept])


def estimates(
    explored: Explored, config: SamplingConfig, seed: int, reference_path: str | None
) -> Iterator[Progress | Trajectory]:
    """Make the estimates of a run that are missing, then decode them one by one."""
    picture = read_picture(explored.path)
    reference = read_picture(reference_path, MAX_RESULT_PIXELS) if reference_path else None
    judge = judge_against(picture, reference)
    yield from explored.explorer.refine(config, seed)
    trajectory = Trajectory(new_folder(), config, (), (), ())
    for step in spread_out(explored.explorer.steps(config, seed), SHOWN_ESTIMATES):
        result = explored.explorer.restore(config, seed, step).picture
        path = trajectory.folder / f"t-{step.timestep:03d}.png"
        save_png(path, result)
        trajectory = dataclasses.replace(
            trajectory,
            timesteps=(*trajectory.timesteps, step.timestep),
            pictures=(*trajectory.pictures, path),
            scores=(*trajectory.scores, judge(result.rgb)),
        )
        yield trajectory


def spread_out(steps: Sequence[Step], most: int) -> list[Step]:
    """At most so many of the steps, evenly spread, first and last among them."""
    if len(steps) <= most:
        return list(steps)
    return [steps[round(i * (len(steps) - 1) / (most - 1))] for i in range(most)]


def _show(trajectory: Trajectory | None) -> tuple[Any, ...]:
    if trajectory is None or not trajectory.pictures:
        return gr.update(visible=False), gr.skip(), gr.skip()
    strip = [
        (path, f"t = {timestep}")
        for path, timestep in zip(trajectory.pictures, trajectory.timesteps, strict=True)
    ]
    return gr.update(visible=True), strip, plot_of(trajectory)


def plot_of(trajectory: Trajectory) -> str:
    """Scores against the timestep, as SVG."""
    names = [name for name in PLOTTED if name in trajectory.scores[0]]
    scores = {SCORE_LABELS[name]: [row[name] for row in trajectory.scores] for name in names}
    marks = marked_timesteps(trajectory.config)
    alt = f"{' and '.join(scores)} of {len(trajectory.timesteps)} estimates against the timestep"
    return svg(trajectory_figure(trajectory.timesteps, scores, marks), alt)


def marked_timesteps(config: SamplingConfig) -> dict[str, int]:
    """Where t_max and t_min lie; V1 has none."""
    if config.variant == "v1" or not path_for(config).indices:
        return {}
    return {"t_max": round(999 * config.t_max), "t_min": round(999 * config.t_min)}


def _dragged(
    trajectory: Trajectory | None, t_max: float, t_min: float, count: int, event: gr.EventData
) -> tuple[Any, ...]:
    """Values of t_max and t_min, and the count of values received at once."""
    if trajectory is None:
        return (gr.skip(),) * 3
    names = [name for name in PLOTTED if name in trajectory.scores[0]]
    scores = {name: [row[name] for row in trajectory.scores] for name in names}
    marks = marked_timesteps(trajectory.config)
    figure = trajectory_figure(trajectory.timesteps, scores, marks)
    fraction = round(min(max(timesteps_across(figure, event.across) / 999, 0), 1), 4)
    if event.mark == "t_max":
        return max(fraction, t_min), t_min, count + 1
    return t_max, min(fraction, t_max), count + 1


def _forget(trajectory: Trajectory | None) -> None:
    remove_folder(trajectory.folder if trajectory else None)
