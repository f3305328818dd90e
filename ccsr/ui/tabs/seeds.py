"""The tab that upscales one picture with many seeds and shows how much they differ."""

import dataclasses
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.components.base import Component

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
from ccsr.evaluation import heatmap
from ccsr.evaluation.metrics import METRICS, measure
from ccsr.evaluation.report import picture_name, settings_text, write_report
from ccsr.evaluation.stability import ScoreSpread, StabilityReport
from ccsr.images.writing import save_png
from ccsr.inference.events import Engine, Progress, Restored
from ccsr.inference.pipeline import target_size
from ccsr.ui import snippets
from ccsr.ui.api import add_endpoint
from ccsr.ui.files import (
    bicubic,
    new_folder,
    remove_folder,
    write_look,
    write_zip,
)
from ccsr.ui.inputs import (
    Settings,
    number_box,
    number_slider,
    read_config,
    read_named,
    read_picture,
    read_reference,
    read_whole,
)
from ccsr.ui.run_controller import IN_ORDER, LIGHT, run_buttons, running
from ccsr.ui.sessions import SessionPicture, session_picture
from ccsr.ui.tab_run import Inputs, TabRun, results_state, wire_tab_run
from ccsr.ui.tabs.agreement import build_agreement

HINT = snippets.hint(
    "The results of all seeds appear here",
    "side by side, with a map of where they differ.",
)
MEAN, BICUBIC = "mean", "bicubic"
"""What a seed can be compared with, besides another seed."""
OTHERS = (("mean", MEAN), ("bicubic", BICUBIC))
MAP, OVERLAY = "Map", "Over the picture"


@dataclasses.dataclass(frozen=True, eq=False)
class SeedRun:
    """What a run over seeds has made so far, as files and numbers."""

    name: str
    folder: Path
    total: int
    seconds: float
    bicubic: Path
    seeds: tuple[int, ...]
    pictures: tuple[Path, ...]
    """One a seed."""
    mean: Path
    maps: dict[str, Path]
    """The L-STD map alone and over the picture; empty for a single seed."""
    l_std_by_count: tuple[float, ...]
    spreads: dict[str, ScoreSpread]
    baseline: dict[str, float]
    """Scores of the bicubic enlargement; empty without a reference."""
    reference: Path | None
    report: tuple[Path, ...]
    """The files of the report."""
    archive: Path | None = None
    """The ZIP of all of it, once the run has ended."""

    def __len__(self) -> int:
        """Seeds that are done."""
        return len(self.seeds)

    @property
    def l_std_numbers(self) -> Path:
        """The L-STD map as an array."""
        return next(path for path in self.report if path.suffix == ".npy")

    def look(self, choice: str | None) -> Path:
        """The file of what was chosen: MEAN, BICUBIC or a seed; the first seed if unknown."""
        files = {str(seed): path for seed, path in zip(self.seeds, self.pictures, strict=True)}
        files |= {MEAN: self.mean, BICUBIC: self.bicubic}
        return files.get(choice or "", self.pictures[0])


@dataclasses.dataclass(frozen=True)
class _Looks:
    """The components that show a run."""

    panel: gr.Column
    gallery: gr.Gallery
    facts: gr.HTML
    other: gr.Dropdown
    seed: gr.Dropdown
    pair: gr.ImageSlider
    view: gr.Radio
    map: gr.Image
    scores: gr.HTML
    download: gr.DownloadButton


def build_seeds_tab(engine: Engine, subject: Inputs, settings: Settings) -> dict[str, Component]:
    """Lay out the tab and connect it; what a person chooses in it."""
    with gr.Row(elem_classes="actions"):
        num_seeds = number_slider(NUM_SEEDS, DEFAULT_NUM_SEEDS, min_width=200)
        first_seed = number_box(SEED, DEFAULT_SEED, label="First seed")
        with gr.Row(elem_classes="run-buttons"):
            buttons = run_buttons("Run seeds")
    status = gr.HTML(HINT, elem_id="seeds-status")
    kept = results_state()
    looks = _lay_out_looks()
    _wire_looks(looks, kept)
    build_agreement(kept, looks.seed)

    chosen = [first_seed, num_seeds, *settings.values()]
    wire_tab_run(engine, STUDY, subject, kept, chosen, buttons, status)
    _add_endpoint(engine, subject, (first_seed, num_seeds), settings)
    return {"first_seed": first_seed, "num_seeds": num_seeds}


def _lay_out_looks() -> _Looks:
    with gr.Column(visible=False) as panel:
        gr.HTML(snippets.line("Choose a result to compare it.", "quiet"))
        gallery = gr.Gallery(
            label="Results",
            show_label=False,
            format="png",
            columns=8,
            object_fit="cover",
            allow_preview=False,
            interactive=False,
            buttons=[],
            elem_id="seeds-gallery",
        )
        facts = gr.HTML(elem_id="seeds-facts")
        with gr.Row(elem_classes="looks"):
            with gr.Column(min_width=280):
                with gr.Row():
                    other = gr.Dropdown(list(OTHERS), value=MEAN, label="Left", min_width=100)
                    seed = gr.Dropdown(label="Right", min_width=100)
                pair = gr.ImageSlider(
                    show_label=False,
                    format="png",
                    type="filepath",
                    image_mode=None,
                    interactive=False,
                    buttons=["fullscreen"],
                    max_height=520,
                    elem_id="seeds-pair",
                )
            with gr.Column(min_width=280):
                view = gr.Radio([MAP, OVERLAY], value=MAP, label="Where the seeds differ")
                map_picture = gr.Image(
                    show_label=False,
                    format="png",
                    interactive=False,
                    buttons=["download", "fullscreen"],
                    alt_text="Map of the standard deviation over the seeds",
                    elem_id="seeds-map",
                )
        scores = gr.HTML(elem_id="seeds-scores")
        download = gr.DownloadButton("Download report (ZIP)", size="md")
    return _Looks(panel, gallery, facts, other, seed, pair, view, map_picture, scores, download)


def _wire_looks(looks: _Looks, kept: gr.State) -> None:
    """Show what a run keeps, and let a person choose what to look at.

    All of it is on file, so the model is not asked.
    """
    choices = [looks.other, looks.seed, looks.view]
    kept.change(
        _show,
        [kept, *choices],
        [getattr(looks, field.name) for field in dataclasses.fields(looks)],
        trigger_mode="always_last",
        **IN_ORDER,
    )

    def clicked(kept: SeedRun | None, choice: gr.SelectData) -> Any:  # noqa: ANN401
        return str(kept.seeds[choice.index]) if kept else gr.skip()

    looks.gallery.select(clicked, kept, looks.seed, **LIGHT)
    gr.on(
        [looks.other.change, looks.seed.change],
        _pair,
        [kept, looks.other, looks.seed],
        looks.pair,
        **LIGHT,
    )
    looks.view.change(_map, [kept, looks.view], looks.map, **LIGHT)


def _show(kept: SeedRun | None, other: str | None, seed: str | None, view: str) -> tuple[Any, ...]:
    """Values of all looks; what was chosen stays chosen as long as it is there."""
    if kept is None:
        return gr.update(visible=False), *[gr.skip()] * 9
    seeds = [(f"seed {seed}", str(seed)) for seed in kept.seeds]
    names = [name for _, name in seeds]
    seed = seed if seed in names else names[0]
    other = other if other in (MEAN, BICUBIC, *names) else MEAN
    return (
        gr.update(visible=True),
        [(path, f"seed {seed}") for seed, path in zip(kept.seeds, kept.pictures, strict=True)],
        facts(kept),
        gr.update(choices=[*OTHERS, *seeds], value=other),
        gr.update(choices=seeds, value=seed),
        _pair(kept, other, seed),
        gr.skip(),
        _map(kept, view),
        scores_table(kept),
        gr.update(value=kept.archive, interactive=kept.archive is not None),
    )


def _pair(kept: SeedRun | None, other: str | None, seed: str | None) -> tuple[Path, Path] | None:
    return (kept.look(other), kept.look(seed)) if kept else None


def _map(kept: SeedRun | None, view: str) -> Path | None:
    return kept.maps.get(view) if kept else None


def facts(kept: SeedRun) -> str:
    """L-STD of what is there, its curve over the number of seeds, and how to read it."""
    if len(kept.seeds) < 2:
        return snippets.line("L-STD is measured from two seeds on.", "quiet")
    l_std = kept.l_std_by_count[-1]
    values = {
        "L-STD": f"{l_std:.4f}",
        "In grey levels": f"{heatmap.GREY_LEVELS * l_std:.2f} of {heatmap.GREY_LEVELS}",
        "Seeds": f"{len(kept.seeds)} of {kept.total}",
        "Time a seed": snippets.duration(kept.seconds / len(kept.seeds)),
    }
    return (
        f'<div class="stability"><div>{snippets.facts(values)}'
        f"{snippets.line(L_STD_HELP, 'quiet')}</div>{snippets.curve(kept.l_std_by_count)}</div>"
    )


def scores_table(kept: SeedRun) -> str:
    """Scores against the reference: mean, G-STD, bicubic, and each seed."""
    if not kept.spreads:
        return ""
    spreads = [kept.spreads[name] for name in METRICS]
    heads = [
        f"{m.label}{f' ({m.unit})' if m.unit else ''} {'↑' if m.higher_is_better else '↓'}"
        for m in METRICS.values()
    ]
    rows: list[tuple[str, list[float]]] = [
        ("Mean", [spread.mean for spread in spreads]),
        ("G-STD", [spread.g_std for spread in spreads]),
        ("Bicubic", [kept.baseline[name] for name in METRICS]),
    ]
    for index, seed in enumerate(kept.seeds):
        rows.append((f"Seed {seed}", [spread.per_seed[index] for spread in spreads]))
    helps = " ".join([G_STD_HELP, *(f"{m.label}: {m.help}" for m in METRICS.values())])
    return snippets.table(["", *heads], rows) + snippets.line(helps, "quiet")


def read_survey(values: Sequence[Any]) -> tuple[SamplingConfig, list[int]]:
    """Settings and seeds, from the first seed, their number, and the values of the settings.

    Raises:
        ValueError: If a value is missing or out of its range.
    """
    first, number, *rest = values
    return read_config(rest), read_seeds(first, number)


def read_seeds(first: Any, number: Any) -> list[int]:  # noqa: ANN401 - values of number boxes
    """The seeds of a run.

    Raises:
        ValueError: If a number is missing or out of its range.
    """
    start, count = read_whole(SEED, first), read_whole(NUM_SEEDS, number)
    if start + count - 1 > MAX_SEED:
        raise ValueError(f"The last seed must be at most {MAX_SEED}; lower the first seed")
    return list(range(start, start + count))


def surveyed(
    engine: Engine,
    session_picture: SessionPicture,
    query: tuple[SamplingConfig, Sequence[int]],
    reference_path: str | None,
) -> Iterator[Progress | SeedRun]:
    """Upscale a picture with every seed: progress, and what there is after each seed."""
    config, seeds = query
    picture = read_picture(session_picture.path)
    plain = bicubic(picture, target_size(picture, config))
    reference = read_reference(reference_path, picture, config)
    baseline = measure(plain.rgb, reference.rgb) if reference else {}

    folder = new_folder()
    save_png(folder / "bicubic.png", plain)
    report = StabilityReport(config)
    kept: SeedRun | None = None
    with running(engine.run(picture, config, seeds)) as events:
        for event in events:
            if isinstance(event, Progress):
                yield event
                continue
            scores = measure(event.picture.rgb, reference.rgb) if reference else None
            report.add(event.seed, event.picture.rgb, scores)
            text = settings_text(config, event.seed, engine.info)
            save_png(folder / picture_name(event.seed), event.picture, text)
            if kept is None:
                kept = _nothing(Path(session_picture.path).stem, folder, len(seeds))
                if reference_path:
                    kept = dataclasses.replace(
                        kept, baseline=baseline, reference=Path(reference_path)
                    )
            kept = _grown(kept, report, event)
            yield kept


def _nothing(name: str, folder: Path, total: int) -> SeedRun:
    bicubic_path = folder / "bicubic.png"
    return SeedRun(
        name, folder, total, 0.0, bicubic_path, (), (), bicubic_path, {}, (), {}, {}, None, ()
    )


def _grown(kept: SeedRun, report: StabilityReport, event: Restored) -> SeedRun:
    """What there is with one more seed, already added to the report."""
    count = len(report.seeds)
    # Every count has its own folder: a browser keeps what it has seen under a name.
    folder = kept.folder / f"after-{count}"
    folder.mkdir()
    remove_folder(kept.folder / f"after-{count - 2}")
    files = write_report(folder, report)
    maps: dict[str, Path] = {}
    if count > 1:
        l_std_map = report.pixels.l_std_map
        maximum = heatmap.nice_maximum(l_std_map)
        over = heatmap.overlay(report.pixels.mean, l_std_map, maximum)
        maps = {
            MAP: folder / "l_std.png",
            OVERLAY: write_look(folder / "overlay.png", heatmap.add_scale(over, maximum)),
        }
    return dataclasses.replace(
        kept,
        seconds=kept.seconds + event.seconds,
        seeds=(*kept.seeds, event.seed),
        pictures=(*kept.pictures, kept.folder / picture_name(event.seed)),
        mean=folder / "mean.png",
        maps=maps,
        l_std_by_count=tuple(report.l_std_by_count),
        spreads=report.spreads(),
        report=tuple(files),
    )


def pack(kept: SeedRun) -> Path:
    """Write the ZIP of a run: all pictures and the files of the report."""
    name = f"{kept.name}_{len(kept.seeds)}-seeds.zip"
    return write_zip(kept.folder / name, [*kept.pictures, *kept.report])


def packed(kept: SeedRun) -> SeedRun:
    """What was kept, with its ZIP."""
    return dataclasses.replace(kept, archive=pack(kept))


STUDY = TabRun("seed", read_survey, surveyed, packed)


def _add_endpoint(
    engine: Engine,
    subject: Inputs,
    seeds: tuple[gr.Number, gr.Slider],
    settings: Settings,
) -> None:
    """Offer the run to programs as /seeds."""
    archive = gr.File(label="Report and pictures", visible=False)
    l_std_map = gr.File(label="L-STD map", visible=False)
    details = gr.JSON(label="Report", visible=False)

    def run_seeds(
        picture: str,
        first_seed: float,
        num_seeds: float,
        *,
        reference: str | None = None,
        **values: Any,  # noqa: ANN401
    ) -> Iterator[tuple[str | None, str | None, dict[str, Any]]]:
        """Upscale a picture with many seeds: a ZIP, the L-STD map, and the report."""
        kept: SeedRun | None = None
        query = read_named(values), read_seeds(first_seed, num_seeds)
        for event in surveyed(engine, session_picture(engine, picture), query, reference):
            if isinstance(event, SeedRun):
                kept = event
            else:
                yield None, None, {"evaluation": event.evaluation, "total": event.total}
        if kept is not None:
            report = next(path for path in kept.report if path.name == "report.json")
            yield str(pack(kept)), str(kept.maps[MAP]), json.loads(report.read_text())

    first_seed, num_seeds = seeds
    inputs = {"picture": subject.picture, "first_seed": first_seed, "num_seeds": num_seeds}
    inputs |= {**settings.named(), "reference": subject.reference}
    add_endpoint("seeds", run_seeds, inputs, [archive, l_std_map, details])
