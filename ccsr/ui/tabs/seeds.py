"""The tab that upscales one picture with many seeds and shows how much they differ."""

import dataclasses
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from ccsr.config import (
    DEFAULT_NUM_SEEDS,
    DEFAULT_SEED,
    G_STD_HELP,
    L_STD_HELP,
    MAX_SEED,
    NUM_SEEDS,
    SEED,
    SamplingConfig,
)
from ccsr.diffusion.timesteps import LoopStart
from ccsr.errors import InputError
from ccsr.evaluation import heatmap
from ccsr.evaluation.calibration import read_calibration
from ccsr.evaluation.metrics import METRICS
from ccsr.evaluation.plots import BICUBIC
from ccsr.evaluation.report import picture_name, settings_text, write_report
from ccsr.evaluation.scoring_memory import scorer_within
from ccsr.evaluation.stability import StabilityReport
from ccsr.images.writing import save_png
from ccsr.inference.cost import Cost, cost_of
from ccsr.inference.events import Progress, Restored
from ccsr.inference.sizes import HasSize, target_size
from ccsr.ui import snippets
from ccsr.ui.api import add_endpoint
from ccsr.ui.event_options import IN_ORDER
from ccsr.ui.files import (
    archive_name,
    bicubic,
    new_folder,
    remove_fetched,
    write_preview,
    write_zip,
)
from ccsr.ui.inputs import (
    Settings,
    number_box,
    number_slider,
    read_config,
    read_named,
    read_reference,
    read_whole,
)
from ccsr.ui.loupe import Loupe, View, map_view
from ccsr.ui.run_events import (
    RunComponents,
    archive_update,
    run_buttons,
    status_lines,
    wire_tab_run,
)
from ccsr.ui.shown_run import BuiltTab
from ccsr.ui.tab_run import Inputs, Job, TabRun, closed_at_end, new_job, results_state
from ccsr.ui.tabs.agreement import build_agreement
from ccsr.ui.tabs.alternatives import build_alternatives
from ccsr.ui.tabs.errors import build_errors
from ccsr.ui.tabs.seed_run import SeedRun

HINT = snippets.hint(
    "The results of all seeds appear here",
    "side by side, with a map of where they differ.",
)

Query = tuple[SamplingConfig, Sequence[int]]
"""Settings and seeds."""


@dataclasses.dataclass(frozen=True)
class _RunView:
    """The components that show a run."""

    panel: gr.Column
    facts: gr.HTML
    loupe: Loupe
    scores: gr.HTML
    download: gr.DownloadButton

    def components(self) -> list[Any]:
        """All of them, in the order of `_show`."""
        return [getattr(self, field.name) for field in dataclasses.fields(self)]


def build_seeds_tab(inputs: Inputs, settings: Settings) -> BuiltTab:
    """Lay out the tab and connect it."""
    with gr.Row(elem_classes="actions"):
        num_seeds = number_slider(NUM_SEEDS, DEFAULT_NUM_SEEDS, min_width=200)
        first_seed = number_box(SEED, DEFAULT_SEED, label="First seed")
        with gr.Row(elem_classes="run-buttons"):
            buttons = run_buttons("Run seeds")
    lines = status_lines("seeds", HINT)
    results = results_state()
    view = _run_view()
    results.change(_show, results, view.components(), trigger_mode="always_last", **IN_ORDER)
    chosen_seed = gr.State(None)
    view.loupe.select(_chosen, None, chosen_seed, **IN_ORDER)
    build_errors(results, read_calibration(inputs.sessions.engine.info.name))
    build_agreement(results, chosen_seed)
    build_alternatives(results)

    components = RunComponents(*buttons, *lines, results)
    run = wire_tab_run(TAB_RUN, inputs, components, [first_seed, num_seeds], settings)
    _add_endpoint(inputs, (first_seed, num_seeds), settings)
    return BuiltTab(run, {"first_seed": first_seed, "num_seeds": num_seeds})


def _run_view() -> _RunView:
    """Lay out what shows a run, hidden until there are results."""
    with gr.Column(visible=False) as panel:
        facts = gr.HTML(elem_id="seeds-facts")
        loupe = Loupe(elem_id="seeds-loupe")
        scores = gr.HTML(elem_id="seeds-scores")
        download = gr.DownloadButton("Download report (ZIP)", size="md")
    return _RunView(panel, facts, loupe, scores, download)


def _chosen(choice: gr.EventData) -> str:
    """The name of what a visitor chose to see on the right."""
    return str(choice.right)


def _show(run: SeedRun | None) -> tuple[Any, ...]:
    """Values of the components of `_RunView`."""
    if run is None:
        return gr.update(visible=False), *[gr.skip()] * 4
    return (
        gr.update(visible=True),
        facts(run),
        run.views(),
        scores_table(run),
        archive_update(run.archive),
    )


def facts(run: SeedRun) -> str:
    """L-STD over the seeds so far, its curve over their number, and how to read it."""
    if len(run.seeds) < 2:
        return snippets.line("L-STD is measured from two seeds on.", "quiet")
    l_std = run.l_std_by_count[-1]
    values = {
        "L-STD": f"{l_std:.4f}",
        "In grey levels": f"{heatmap.GREY_LEVELS * l_std:.2f} of {heatmap.GREY_LEVELS}",
        "Seeds": f"{len(run.seeds)} of {run.total}",
        "Time a seed": snippets.duration(run.seconds / len(run.seeds)),
    }
    return (
        f'<div class="stability"><div>{snippets.facts(values)}'
        f"{snippets.line(L_STD_HELP, 'quiet')}</div>{snippets.curve(run.l_std_by_count)}</div>"
    )


def scores_table(run: SeedRun) -> str:
    """Scores against the reference: mean, G-STD, bicubic, and each seed."""
    if not run.statistics:
        return ""
    statistics = [run.statistics[name] for name in METRICS]
    heads = [
        f"{m.label}{f' ({m.unit})' if m.unit else ''} {'↑' if m.higher_is_better else '↓'}"
        for m in METRICS.values()
    ]
    rows: list[tuple[str, list[float]]] = [
        ("Mean", [score.mean for score in statistics]),
        ("G-STD", [score.g_std for score in statistics]),
        (BICUBIC, [run.baseline[name] for name in METRICS]),
    ]
    for index, seed in enumerate(run.seeds):
        rows.append((f"Seed {seed}", [score.per_seed[index] for score in statistics]))
    helps = " ".join([G_STD_HELP, *(f"{m.label}: {m.help}" for m in METRICS.values())])
    return snippets.table(["", *heads], rows) + snippets.line(helps, "quiet")


def read_query(values: Sequence[Any]) -> Query:
    """Settings and seeds, from the first seed, their number, and the values of the settings.

    Raises:
        InputError: If a value is missing or out of its range.
    """
    first, number, *rest = values
    return read_config(rest), read_seeds(first, number)


def read_seeds(first: Any, number: Any) -> list[int]:  # noqa: ANN401 - values of number boxes
    """The seeds of a run.

    Raises:
        InputError: If a number is missing or out of its range.
    """
    start, count = read_whole(SEED, first), read_whole(NUM_SEEDS, number)
    if start + count - 1 > MAX_SEED:
        raise InputError(f"The last seed must be at most {MAX_SEED}; lower the first seed")
    return list(range(start, start + count))


def run_seeds(job: Job[Query, SeedRun]) -> Iterator[Progress | SeedRun]:
    """Upscale a picture with every seed: progress, and all results so far after each seed."""
    config, seeds = job.query
    picture = job.source.picture
    size = target_size(picture, config)
    enlarged = bicubic(picture, size)
    reference = read_reference(job.reference, picture, config)
    scorer = reference and scorer_within(picture, reference, size, job.engine.info.max_memory)
    baseline = scorer(enlarged.rgb) if scorer else {}

    folder = new_folder()
    save_png(folder / "bicubic.png", enlarged)
    report = StabilityReport(config)
    run = _no_results(job, folder, baseline)
    if reference is not None:
        save_png(folder / "reference.png", reference)
        run = dataclasses.replace(run, reference=folder / "reference.png")
    with closed_at_end(job.engine.run(picture, config, seeds)) as events:
        for event in events:
            if isinstance(event, Progress):
                yield event
                continue
            scores = scorer(event.picture.rgb) if scorer else None
            report.add(event.seed, event.picture.rgb, scores, event.picture.alpha)
            text = settings_text(config, event.seed, job.engine.info)
            save_png(folder / picture_name(event.seed), event.picture, text)
            run = _with_seed(run, report, event)
            yield run


def _no_results(job: Job[Query, SeedRun], folder: Path, baseline: dict[str, float]) -> SeedRun:
    """A run before its first seed."""
    enlarged = folder / "bicubic.png"
    return SeedRun(
        origin=job.origin,
        folder=folder,
        total=len(job.query[1]),
        bicubic=enlarged,
        mean=enlarged,
        baseline=baseline,
        reference=None,
    )


def _with_seed(run: SeedRun, report: StabilityReport, event: Restored) -> SeedRun:
    """The run with one more seed, which the report has already."""
    count = len(report.seeds)
    # Every count has its own folder: a browser caches files by name.
    folder = run.folder / f"after-{count}"
    folder.mkdir()
    remove_fetched(run.folder / f"after-{number}" for number in range(1, count - 1))
    files = write_report(folder, report)
    return dataclasses.replace(
        run,
        seconds=run.seconds + event.seconds,
        seeds=(*run.seeds, event.seed),
        pictures=(*run.pictures, run.folder / picture_name(event.seed)),
        mean=folder / "mean.png",
        maps=_write_maps(folder, report) if count > 1 else (),
        l_std_by_count=tuple(report.l_std_by_count),
        statistics=report.score_statistics(),
        report=tuple(files),
    )


def _write_maps(folder: Path, report: StabilityReport) -> tuple[View, View]:
    """The L-STD map, and the same over the mean picture."""
    l_std_map = report.pixels.l_std_map
    maximum = heatmap.nice_maximum(l_std_map)
    alone = map_view("L-STD", folder / "map.png", l_std_map, maximum, report.alpha)
    overlay = heatmap.overlay(report.pixels.mean, l_std_map, maximum)
    path = write_preview(folder / "overlay.png", overlay, report.alpha)
    return alone, View("L-STD over the mean", path, alone.levels)


def pack(run: SeedRun) -> Path:
    """Write the ZIP of a run: all pictures and the files of the report."""
    name = archive_name(run.origin.picture, f"{len(run.seeds)}-seeds")
    return write_zip(run.folder / name, [*run.pictures, *run.report])


def packed(run: SeedRun) -> SeedRun:
    """The run with its ZIP."""
    return dataclasses.replace(run, archive=pack(run))


def cost_of_query(query: Query, picture: HasSize, loop_start: LoopStart) -> Cost:
    """What a run costs if nothing of it is there."""
    config, seeds = query
    return cost_of(config, len(seeds), target_size(picture, config), loop_start)


TAB_RUN = TabRun(read_query, run_seeds, cost_of_query, "seeds", noun="seed", finish=packed)


def _add_endpoint(
    inputs: Inputs,
    seeds: tuple[gr.Number, gr.Slider],
    settings: Settings,
) -> None:
    """Offer the run to programs as /seeds."""
    archive = gr.File(label="Report and pictures", visible=False)
    l_std_map = gr.File(label="L-STD map", visible=False)
    details = gr.JSON(label="Report", visible=False)

    def run_endpoint(
        picture: str,
        first_seed: float,
        num_seeds: float,
        *,
        reference: str | None = None,
        **values: Any,  # noqa: ANN401
    ) -> Iterator[tuple[str | None, str | None, dict[str, Any]]]:
        """Upscale a picture with many seeds: a ZIP, the L-STD map, and the report.

        The seeds are first_seed and those after it, num_seeds of them; L-STD needs two. A reference
        is the true picture in the size of the results, and adds PSNR in dB, SSIM and LPIPS with
        their G-STD. The report has L-STD over 1, 2, ... seeds, of pixels in [0, 1].
        """
        run: SeedRun | None = None
        query = read_named(values), read_seeds(first_seed, num_seeds)
        for event in run_seeds(new_job(inputs, TAB_RUN, query, picture, reference)):
            if isinstance(event, SeedRun):
                run = event
            else:
                yield None, None, {"evaluation": event.evaluation, "total": event.total}
        if run is not None:
            report = json.loads(run.report_file("report.json").read_text())
            yield str(pack(run)), str(run.report_file("l_std.png")), report

    first_seed, num_seeds = seeds
    own = {"picture": inputs.picture, "first_seed": first_seed, "num_seeds": num_seeds}
    parameters = {**own, **settings.named(), "reference": inputs.reference}
    add_endpoint("seeds", run_endpoint, parameters, [archive, l_std_map, details], inputs.queue)
