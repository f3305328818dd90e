"""The tab that shows the variants of the paper's ablation side by side."""

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np

from ccsr.config import (
    DEFAULT_SEED,
    DEFAULT_SWEEP_SEEDS,
    L_STD_HELP,
    NUM_VARIANT_SEEDS,
    SamplingConfig,
    Variant,
)
from ccsr.evaluation import heatmap
from ccsr.evaluation.metrics import scorer_for
from ccsr.evaluation.plots import SCORE_LABELS
from ccsr.evaluation.report import settings_text
from ccsr.evaluation.stability import StabilityReport
from ccsr.images.writing import save_png
from ccsr.inference.events import Decoded, Engine, Progress, Restored, Session
from ccsr.ui import snippets
from ccsr.ui.files import new_folder, write_look
from ccsr.ui.inputs import (
    Settings,
    number_slider,
    read_config,
    read_picture,
    read_reference,
    read_whole,
)
from ccsr.ui.run_controller import IN_ORDER, run_buttons
from ccsr.ui.sessions import SessionPicture
from ccsr.ui.tab_run import Inputs, TabRun, results_state, wire_tab_run

HINT = snippets.hint(
    "The variants appear here side by side",
    "the best and the worst result of each, and where its seeds differ.",
)
HELP = (
    "Best and worst are by PSNR against the reference, or against the input without one. The maps "
    "share one colour scale. " + L_STD_HELP
)
ROWS = ("best", "worst", "L-STD")
"""What is shown of each variant."""


@dataclasses.dataclass(frozen=True, eq=False)
class Ablation:
    """What one variant gave."""

    variant: Variant
    best: Path
    worst: Path
    l_std_numbers: Path
    """Their L-STD map as an array."""
    l_std: float
    scores: dict[str, tuple[float, float]]
    """Mean and G-STD over the seeds."""


@dataclasses.dataclass(frozen=True, eq=False)
class Compared:
    """The variants that are done."""

    folder: Path
    total: int
    ablations: tuple[Ablation, ...] = ()
    maps: tuple[Path, ...] = ()
    """One a variant, on one scale."""

    def __len__(self) -> int:
        """Variants that are done."""
        return len(self.ablations)


def build_variants_tab(engine: Engine, subject: Inputs, settings: Settings) -> None:
    """Lay out the tab and connect it.

    The variant among the settings does not count here.
    """
    with gr.Row(elem_classes="actions"):
        seeds = number_slider(NUM_VARIANT_SEEDS, DEFAULT_SWEEP_SEEDS)
        with gr.Row(elem_classes="run-buttons"):
            buttons = run_buttons("Compare variants")
    status = gr.HTML(HINT, elem_id="variants-status")
    with gr.Column(visible=False) as panel:
        gallery = gr.Gallery(
            label="Variants",
            show_label=False,
            format="png",
            columns=len(engine.info.variants),
            height="auto",
            object_fit="contain",
            interactive=False,
            buttons=["fullscreen"],
            elem_id="variants-gallery",
        )
        table = gr.HTML(elem_id="variants-table")
        gr.HTML(snippets.line(HELP, "quiet"))
    shown = results_state()
    shown.change(_show, shown, [panel, gallery, table], trigger_mode="always_last", **IN_ORDER)

    chosen = [seeds, *settings.values()]
    wire_tab_run(engine, STUDY, subject, shown, chosen, buttons, status)


def read_ablation(values: Sequence[Any]) -> tuple[SamplingConfig, Sequence[int]]:
    """Settings and seeds, from the number of seeds and the values of the settings.

    Raises:
        ValueError: If a value is missing or out of its range.
    """
    count, *rest = values
    last = DEFAULT_SEED + read_whole(NUM_VARIANT_SEEDS, count)
    return read_config(rest), range(DEFAULT_SEED, last)


def ablated(
    engine: Engine,
    session_picture: SessionPicture,
    query: tuple[SamplingConfig, Sequence[int]],
    reference_path: str | None,
) -> Iterator[Progress | Decoded | Compared]:
    """Run every variant with every seed: progress, and what there is after each variant."""
    config, seeds = query
    picture = read_picture(session_picture.path)
    reference = read_reference(reference_path, picture, config)
    scorer = scorer_for(picture, reference)
    configs = [dataclasses.replace(config, variant=v) for v in reversed(engine.info.variants)]
    compared = Compared(new_folder(), len(configs))
    done, total = 0, _missing(session_picture.explorer, configs, seeds)
    decoded = 0
    for chosen in configs:
        report = StabilityReport(chosen)
        files: list[Path] = []
        for seed in seeds:
            for event in session_picture.explorer.run(chosen, seed):
                if isinstance(event, Restored):
                    report.add(seed, event.picture.rgb, scorer(event.picture.rgb))
                    files.append(compared.folder / f"{chosen.variant}-seed-{seed}.png")
                    save_png(files[-1], event.picture, settings_text(chosen, seed, engine.info))
                    decoded += 1
                    yield Decoded(decoded, len(configs) * len(seeds))
                    continue
                done += 1
                yield dataclasses.replace(event, evaluation=done, total=max(total, done))
        numbers = compared.folder / f"{chosen.variant}-l_std.npy"
        np.save(numbers, report.pixels.l_std_map)
        compared = _with_maps(compared, _ablation(report, files, numbers))
        yield compared


def _missing(explorer: Session, configs: Sequence[SamplingConfig], seeds: Sequence[int]) -> int:
    """Network evaluations to come; V2 and CCSR share theirs."""
    apart = [c for c in configs if c.variant != "v2" or len(configs) == 1]
    return sum(explorer.num_evaluations(c, seed) for c in apart for seed in seeds)


def _ablation(report: StabilityReport, files: Sequence[Path], numbers: Path) -> Ablation:
    fidelity = next(iter(report.scores.values()))
    return Ablation(
        report.config.variant,
        files[int(np.argmax(fidelity))],
        files[int(np.argmin(fidelity))],
        numbers,
        report.pixels.l_std,
        {name: (spread.mean, spread.g_std) for name, spread in report.spreads().items()},
    )


def _with_maps(compared: Compared, ablation: Ablation) -> Compared:
    """What there is with one more variant; all maps are drawn again on one scale."""
    ablations = (*compared.ablations, ablation)
    numbers = [np.load(a.l_std_numbers) for a in ablations]
    maximum = max(map(heatmap.nice_maximum, numbers))
    maps = tuple(
        # A browser keeps what it has seen under a name.
        write_look(
            compared.folder / f"{a.variant}-l_std-of-{len(ablations)}.png",
            heatmap.with_scale(l_std_map, maximum),
        )
        for a, l_std_map in zip(ablations, numbers, strict=True)
    )
    return dataclasses.replace(compared, ablations=ablations, maps=maps)


def _show(compared: Compared | None) -> tuple[Any, ...]:
    if compared is None or not compared.ablations:
        return gr.update(visible=False), gr.skip(), gr.skip()
    ablations = compared.ablations
    files = ([a.best for a in ablations], [a.worst for a in ablations], compared.maps)
    pictures = [
        (path, f"{ablation.variant}, {row}")
        for row, paths in zip(ROWS, files, strict=True)
        for ablation, path in zip(ablations, paths, strict=True)
    ]
    gallery = gr.update(value=pictures, columns=len(ablations))
    return gr.update(visible=True), gallery, variants_table(ablations)


def variants_table(ablations: Sequence[Ablation]) -> str:
    """Mean scores, their G-STD, and the L-STD of each variant."""
    names = list(ablations[0].scores)
    labels = [SCORE_LABELS[name] for name in names]
    heads = ["", *(h for label in labels for h in (label, f"G-STD of {label}")), "L-STD"]
    rows = [
        (a.variant, [x for name in names for x in a.scores[name]] + [a.l_std]) for a in ablations
    ]
    return snippets.table(heads, rows)


STUDY = TabRun("variant", read_ablation, ablated)
