"""The tab that shows the variants of the paper's ablation side by side."""

import dataclasses
import functools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np

from ccsr.config import (
    DEFAULT_SEED,
    L_STD_HELP,
    NUM_VARIANT_SEEDS,
    SamplingConfig,
    Variant,
    variant_label,
)
from ccsr.diffusion.timesteps import LoopStart
from ccsr.evaluation import heatmap
from ccsr.evaluation.plots import BICUBIC, SCORE_LABELS
from ccsr.evaluation.report import settings_text, write_array
from ccsr.evaluation.scoring_memory import scorer_within
from ccsr.evaluation.stability import StabilityReport
from ccsr.images.writing import save_png
from ccsr.inference.cost import Cost, cost_of
from ccsr.inference.events import Decoded, ModelInfo, Progress, Restored, Session
from ccsr.inference.sizes import HasSize, target_size
from ccsr.ui import snippets
from ccsr.ui.event_options import IN_ORDER
from ccsr.ui.files import archive_name, bicubic, new_folder, write_preview, write_table, write_zip
from ccsr.ui.inputs import (
    Settings,
    number_slider,
    read_config,
    read_reference,
    read_whole,
)
from ccsr.ui.loupe import Loupe, View, Views, map_view
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
from ccsr.ui.tab_run import Inputs, Job, TabRun, closed_at_end, results_state

HINT = snippets.hint(
    "The variants appear here side by side",
    "the best and the worst result of each, and where its seeds differ.",
)
HELP = (
    "Best and worst are by PSNR against the reference, or against the input without one. The maps "
    "share one colour scale. On a coarse grid (S) V1 stays blurred, so its seeds differ little; "
    "S = 45 compares the variants as the paper does. " + L_STD_HELP
)
Query = tuple[Sequence[SamplingConfig], Sequence[int]]
"""Settings that differ in their variant, and seeds."""


@dataclasses.dataclass(frozen=True, eq=False)
class VariantResult:
    """The results of one variant over the seeds."""

    variant: Variant
    best: Path
    worst: Path
    pictures: tuple[Path, ...]
    """One for each seed."""
    l_std_numbers: Path
    """Their L-STD map as an array."""
    l_std: float
    scores: dict[str, tuple[float, float]]
    """Mean and G-STD over the seeds."""


@dataclasses.dataclass(frozen=True, eq=False)
class Ablation:
    """The variants that are done."""

    origin: Origin
    folder: Path
    total: int
    variants: tuple[VariantResult, ...] = ()
    maps: tuple[View, ...] = ()
    """One for each variant, on one scale."""
    bicubic: Path | None = None
    """The bicubic enlargement."""
    baseline: dict[str, float] = dataclasses.field(default_factory=dict[str, float])
    """Its scores."""
    archive: Path | None = None
    """The ZIP of pictures and numbers, once the run has ended."""

    def __len__(self) -> int:
        """The number of variants that are done."""
        return len(self.variants)


def build_variants_tab(info: ModelInfo, inputs: Inputs, settings: Settings) -> BuiltTab:
    """Lay out the tab and connect it.

    The variant among the settings has no effect here.
    """
    with gr.Row(elem_classes="actions"):
        seeds = number_slider(NUM_VARIANT_SEEDS, NUM_VARIANT_SEEDS.default)
        with gr.Row(elem_classes="run-buttons"):
            buttons = run_buttons("Compare variants")
    lines = status_lines("variants", HINT)
    with gr.Column(visible=False) as panel:
        loupe = Loupe(elem_id="variants-loupe")
        table = gr.HTML(elem_id="variants-table")
        gr.HTML(snippets.line(HELP, "quiet"))
        download = archive_button()
    results = results_state()
    view = [panel, loupe, table, download]
    results.change(_show, results, view, trigger_mode="always_last", **IN_ORDER)
    components = RunComponents(*buttons, *lines, results)
    return BuiltTab(wire_tab_run(tab_run(info), inputs, components, [seeds], settings), {})


def read_query(variants: Sequence[Variant], values: Sequence[Any]) -> Query:
    """Settings and seeds, from the number of seeds and the values of the settings.

    Args:
        variants: Those of the model.
        values: The number of seeds, and the values of the settings, whose variant has no effect.

    Raises:
        InputError: If a value is missing or out of its range.
    """
    count, *rest = values
    last = DEFAULT_SEED + read_whole(NUM_VARIANT_SEEDS, count)
    configs = [read_config(rest, variant=variant) for variant in reversed(variants)]
    return configs, range(DEFAULT_SEED, last)


def compare_variants(job: Job[Query, Ablation]) -> Iterator[Progress | Decoded | Ablation]:
    """Run every variant with every seed: progress, and all variants so far after each."""
    configs, seeds = job.query
    picture, session, info = job.source.picture, job.source.session, job.engine.info
    reference = read_reference(job.reference, picture, configs[0])
    size = target_size(picture, configs[0])
    scorer = scorer_within(picture, reference, size, job.engine.info.max_memory)
    enlarged = bicubic(picture, size)
    ablation = Ablation(job.origin, new_folder(), len(configs), baseline=scorer(enlarged.rgb))
    path = write_preview(ablation.folder / "bicubic.png", enlarged.rgb, enlarged.alpha)
    ablation = dataclasses.replace(ablation, bicubic=path)
    total = _num_evaluations(session, configs, seeds)
    done = decoded = 0
    for chosen in configs:
        report = StabilityReport(chosen)
        files: list[Path] = []
        for event in _runs(session, chosen, seeds):
            if isinstance(event, Progress):
                done += 1
                yield dataclasses.replace(event, evaluation=done, total=max(total, done))
                continue
            scores = scorer(event.picture.rgb)
            report.add(event.seed, event.picture.rgb, scores, event.picture.alpha)
            files.append(ablation.folder / f"{chosen.variant}-seed-{event.seed}.png")
            save_png(files[-1], event.picture, settings_text(chosen, event.seed, info))
            decoded += 1
            yield Decoded(decoded, len(configs) * len(seeds))
        ablation = _with_variant(ablation, report, files)
        yield ablation


def _runs(
    session: Session, config: SamplingConfig, seeds: Sequence[int]
) -> Iterator[Progress | Restored]:
    for seed in seeds:
        with closed_at_end(session.run(config, seed)) as events:
            yield from events


def _num_evaluations(
    session: Session, configs: Sequence[SamplingConfig], seeds: Sequence[int]
) -> int:
    """Network evaluations to come."""
    return sum(session.num_evaluations(c, seed) for c in _apart(configs) for seed in seeds)


def _apart(configs: Sequence[SamplingConfig]) -> list[SamplingConfig]:
    """The settings that share no estimates; V2 and CCSR share theirs."""
    return [c for c in configs if c.variant != "v2" or len(configs) == 1]


def _with_variant(ablation: Ablation, report: StabilityReport, files: Sequence[Path]) -> Ablation:
    """The comparison with one more variant; all maps are drawn again on one scale."""
    variants = (*ablation.variants, _variant_result(ablation.folder, report, files))
    numbers = [np.load(variant.l_std_numbers) for variant in variants]
    maximum = max(map(heatmap.nice_maximum, numbers))
    maps = tuple(
        # A browser caches files by name.
        map_view(
            f"{variant_label(variant.variant)}, L-STD",
            ablation.folder / f"{variant.variant}-l_std-of-{len(variants)}.png",
            l_std_map,
            maximum,
            report.alpha,
        )
        for variant, l_std_map in zip(variants, numbers, strict=True)
    )
    return dataclasses.replace(ablation, variants=variants, maps=maps)


def _variant_result(folder: Path, report: StabilityReport, files: Sequence[Path]) -> VariantResult:
    variant, fidelity = report.config.variant, next(iter(report.scores.values()))
    numbers = write_array(folder / f"{variant}-l_std.npy", report.pixels.l_std_map)
    return VariantResult(
        variant,
        files[int(np.argmax(fidelity))],
        files[int(np.argmin(fidelity))],
        tuple(files),
        numbers,
        report.pixels.l_std,
        {name: (score.mean, score.g_std) for name, score in report.score_statistics().items()},
    )


def _show(ablation: Ablation | None) -> tuple[Any, ...]:
    if ablation is None or not ablation.variants:
        return gr.update(visible=False), *[gr.skip()] * 3
    variants = ablation.variants
    best = [View(f"{variant_label(v.variant)}, best", v.best) for v in variants]
    worst = [View(f"{variant_label(v.variant)}, worst", v.worst) for v in variants]
    enlarged = [View(BICUBIC, ablation.bicubic)] if ablation.bicubic else []
    pictures = (*best, *worst, *ablation.maps, *enlarged)
    views = Views(pictures, pictures[-1].name, best[0].name, "all", columns=len(variants))
    table = variants_table(variants, ablation.baseline)
    return gr.update(visible=True), views, table, archive_update(ablation.archive)


def packed(ablation: Ablation) -> Ablation:
    """The comparison with its ZIP: all results and maps, and the numbers as CSV."""
    rows = [
        {
            "variant": v.variant,
            **{name: mean for name, (mean, _) in v.scores.items()},
            **{f"{name}_g_std": g_std for name, (_, g_std) in v.scores.items()},
            "l_std": v.l_std,
        }
        for v in ablation.variants
    ]
    files = [
        *(path for v in ablation.variants for path in (*v.pictures, v.l_std_numbers)),
        *(view.file for view in ablation.maps),
        write_table(ablation.folder / "variants.csv", rows),
    ]
    path = ablation.folder / archive_name(ablation.origin.picture, "variants")
    return dataclasses.replace(ablation, archive=write_zip(path, files))


def variants_table(variants: Sequence[VariantResult], baseline: Mapping[str, float]) -> str:
    """Mean scores, their G-STD, and the L-STD of each variant; scores of the enlargement."""
    names = list(variants[0].scores)
    labels = [SCORE_LABELS[name] for name in names]
    heads = ["", *(h for label in labels for h in (label, f"G-STD of {label}")), "L-STD"]
    rows: list[tuple[str, list[float | None]]] = [
        (variant_label(v.variant), [*(x for name in names for x in v.scores[name]), v.l_std])
        for v in variants
    ]
    enlarged = [x for name in names for x in (baseline.get(name), None)]
    rows.append((BICUBIC, [*enlarged, None]))
    return snippets.table(heads, rows)


def cost_of_query(query: Query, picture: HasSize, loop_start: LoopStart) -> Cost:
    """What a comparison costs; V2 and CCSR share their evaluations."""
    configs, seeds = query
    size = target_size(picture, configs[0])
    costs = [cost_of(config, len(seeds), size, loop_start) for config in _apart(configs)]
    evaluations, decodes = sum(cost.evaluations for cost in costs), len(configs) * len(seeds)
    return Cost(evaluations, decodes, size)


def tab_run(info: ModelInfo) -> TabRun[Query, Ablation]:
    """The run of the tab with the variants of a model."""
    read = functools.partial(read_query, info.variants)
    return TabRun(read, compare_variants, cost_of_query, "variants", noun="variant", finish=packed)
