"""The commands of the command line: each takes its options, and returns the exit code."""

import argparse
import dataclasses
import logging
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from tqdm import tqdm

from ccsr.batch import (
    Item,
    check_writable,
    find_items,
    is_done,
    record,
    refuse_originals,
)
from ccsr.cli import config_of, read_options
from ccsr.config import (
    AGREEMENT,
    MAX_RESULT_PIXELS,
    SEED,
    EvaluationConfig,
    LoadingConfig,
    SamplingConfig,
    parse_seeds,
)
from ccsr.errors import InputError, failure_of, print_tracebacks_if_asked
from ccsr.evaluation import tradeoff
from ccsr.evaluation.heatmap import GREY_LEVELS
from ccsr.evaluation.metrics import Scorer, check_measurable
from ccsr.evaluation.plots import TRADEOFF_PLOT, tradeoff_figure, write_png
from ccsr.evaluation.report import (
    REPORT_FILES,
    blended_name,
    picture_name,
    point_name,
    refuse_existing,
    settings_text,
    write_report,
)
from ccsr.evaluation.scoring_memory import scorer_within
from ccsr.evaluation.stability import StabilityReport, blend_with_mean
from ccsr.evaluation.tradeoff import TRADEOFF_FILES, Point, PointResult, grid, write_points
from ccsr.images.picture import Picture
from ccsr.images.reader_pool import READERS
from ccsr.images.writing import save_png
from ccsr.inference.cost import check_cost, cost_of
from ccsr.inference.engine import load_engine
from ccsr.inference.estimate_cache import digest
from ccsr.inference.events import Engine, Progress
from ccsr.inference.memory import keep_freed, memory_named
from ccsr.inference.sizes import load_reference, target_size

logger = logging.getLogger(__name__)

E = TypeVar("E")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that the arguments name; see `run`."""
    print_tracebacks_if_asked()
    return run(read_options(arguments))


def run(options: argparse.Namespace) -> int:
    """Run a command; the exit code is 0, 2 after a refusal or a fault, 130 when interrupted."""
    commands = {each.__name__: each for each in (upscale, seeds, sweep, evaluate, convert, doctor)}
    keep_freed()
    try:
        with memory_named("this"):
            return commands[options.command](options)
    except Exception as error:  # users get a sentence, whatever it was
        logger.debug("%s failed", options.command, exc_info=True)
        print(f"error: {failure_of(options.command, error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130


def upscale(options: argparse.Namespace) -> int:
    """Write DIR/<stem>.png for every input.

    A picture that cannot be upscaled is reported and skipped, and so is one whose result is there.
    """
    config, seed = config_of(SamplingConfig, options), SEED.validate(options.seed)
    items = find_items(options.inputs, options.output, recursive=options.recursive)
    check_writable(options.output)
    engine = load_engine(options.model, config_of(LoadingConfig, options), config.variant)
    config = config_of(SamplingConfig, options, engine.info.defaults)
    settings = settings_text(config, seed, engine.info)
    done = [i for i in items if not options.overwrite and is_done(i, settings)]
    refuse_existing([i.output for i in items if i not in done], options.overwrite)
    failures = 0
    for item in items:
        if item in done:
            print(f"{item.output} is there with these settings", file=sys.stderr)
        elif not _succeeds(item, lambda item: _upscale(item, engine, config, options)):
            failures += 1
            continue
        print(item.output)
    return 2 if failures else 0


def _succeeds(item: Item, work: Callable[[Item], None]) -> bool:
    """Do the work of one item; what it raises is reported, and never ends that of the others."""
    try:
        with memory_named(item.source.name):
            work(item)
    except Exception as error:
        logger.debug("%s failed", item.source, exc_info=True)
        print(f"error: {failure_of(item.source, error)}", file=sys.stderr)
        return False
    return True


def _upscale(
    item: Item, engine: Engine, config: SamplingConfig, options: argparse.Namespace
) -> None:
    """Write the result of one picture."""
    seed: int = options.seed
    picture = READERS.picture(item.source)
    _print_notes(item.source, picture)
    check_cost(cost_of(config, 1, target_size(picture, config), engine.info.loop_start))
    ((_, result),) = _run(engine, picture, config, (seed,), item.source.name)
    if not options.metadata:
        result = dataclasses.replace(result, metadata=None)
    text = record(settings_text(config, seed, engine.info), digest(picture))
    item.output.parent.mkdir(parents=True, exist_ok=True)
    save_png(item.output, result, text, overwrite=options.overwrite)


def seeds(options: argparse.Namespace) -> int:
    """Write one picture a seed, and the report."""
    config = config_of(SamplingConfig, options)
    chosen = parse_seeds(options.seeds)
    blended = options.agreement is not None
    if blended:
        AGREEMENT.validate(options.agreement)
    names = [*(picture_name(seed) for seed in chosen), *REPORT_FILES]
    names += [blended_name(seed) for seed in chosen if blended]
    picture, reference, engine = _opened(options, config, names)
    config = config_of(SamplingConfig, options, engine.info.defaults)
    size = target_size(picture, config)
    check_cost(cost_of(config, len(chosen), size, engine.info.loop_start))
    scorer = reference and scorer_within(picture, reference, size, engine.info.max_memory)
    report = StabilityReport(config)
    for seed, result in _run(engine, picture, config, chosen, options.input.name):
        text = settings_text(config, seed, engine.info)
        save_png(options.output / picture_name(seed), result, text, overwrite=options.overwrite)
        scores = None if scorer is None else scorer(result.rgb)
        report.add(seed, result.rgb, scores, result.alpha)
    write_report(options.output, report, overwrite=options.overwrite)
    print(summary(report))
    if blended:
        for seed in chosen:
            print(_write_blended(options, report, seed, scorer))
    return 0


def _opened(
    options: argparse.Namespace, config: SamplingConfig, names: Sequence[str]
) -> tuple[Picture, Picture | None, Engine]:
    """The picture, its reference if there is one, and the model; outputs will have these names.

    What would replace a file, or could not be read or written, is refused before the model loads.
    """
    outputs = [options.output / name for name in names]
    refuse_originals([options.input, options.reference], outputs)
    refuse_existing(outputs, options.overwrite)
    picture = READERS.picture(options.input)
    _print_notes(options.input, picture)
    reference = _reference(options, picture, config)
    check_writable(options.output)
    engine = load_engine(options.model, config_of(LoadingConfig, options), config.variant)
    options.output.mkdir(parents=True, exist_ok=True)
    return picture, reference, engine


def _write_blended(
    options: argparse.Namespace, report: StabilityReport, seed: int, scorer: Scorer | None
) -> str:
    """Write the result of a seed, blended with the mean where the seeds disagree; its summary."""
    result = READERS.picture(options.output / picture_name(seed), MAX_RESULT_PIXELS)
    pixels = report.pixels
    blended = blend_with_mean(
        result.rgb, pixels.mean, pixels.l_std_map, options.agreement / GREY_LEVELS
    )
    picture = dataclasses.replace(result, rgb=blended.rgb)
    save_png(options.output / blended_name(seed), picture, overwrite=options.overwrite)
    scores = {} if scorer is None else scorer(blended.rgb)
    numbers = "".join(f", {name} {value:.4f}" for name, value in scores.items())
    return f"seed {seed}: {blended.share:.1%} blended with the mean{numbers}"


def sweep(options: argparse.Namespace) -> int:
    """Write the first seed's picture of every setting, and a table of all of them."""
    config = config_of(SamplingConfig, options)
    chosen = parse_seeds(options.seeds)
    configs = grid(config, options.t_maxs, options.t_mins)
    names = [*(point_name(c, chosen[0]) for c in configs), *TRADEOFF_FILES, TRADEOFF_PLOT]
    picture, reference, engine = _opened(options, config, names)
    config = config_of(SamplingConfig, options, engine.info.defaults)
    configs = grid(config, options.t_maxs, options.t_mins)
    size = target_size(picture, config)
    check_cost(tradeoff.cost_of_sweep(configs, len(chosen), size, engine.info.loop_start))
    scorer = scorer_within(picture, reference, size, engine.info.max_memory)
    points: list[Point] = []
    session = engine.session(picture)
    events = tradeoff.sweep(session, configs, chosen, scorer, engine.info.loop_start)
    for event in _with_bar(events, options.input.name):
        if isinstance(event, PointResult):
            points.append(event.point)
            path = options.output / point_name(event.point.config, chosen[0])
            text = settings_text(event.point.config, chosen[0], engine.info)
            save_png(path, event.picture, text, overwrite=options.overwrite)
    write_points(options.output, points, overwrite=options.overwrite)
    plot = options.output / TRADEOFF_PLOT
    write_png(tradeoff_figure(points), plot, overwrite=options.overwrite)
    print(format_points(points))
    return 0


def convert(options: argparse.Namespace) -> int:
    """Make a model folder of the authors' weights, and print what was left out."""
    # The text classes take a second to import, and nothing else here needs them.
    from ccsr.conversion.convert import TOKENIZER
    from ccsr.conversion.convert import convert as convert_weights

    if options.tokenizer and not options.keep_text_encoder:
        raise InputError("--tokenizer is for --keep-text-encoder; add that, or leave both out")
    plan = convert_weights(
        options.source,
        options.output,
        keep_text_encoder=options.keep_text_encoder,
        tokenizer=options.tokenizer or TOKENIZER,
    )
    for reason, count in Counter(plan.left_out.values()).items():
        print(f"{count} left out: {reason}")
    print(options.output)
    return 0


def evaluate(options: argparse.Namespace) -> int:
    """Compare methods on test sets; goes on where an earlier run with the same options ended."""
    # Packages that only it needs.
    from ccsr.evaluation.comparison.command import Request, compare

    request = Request(
        hr=tuple(options.hr),
        lr=options.lr,
        output=options.output,
        restored=tuple(options.restored),
        weights=tuple(options.weights),
        diffusers=tuple(options.diffusers),
        published=tuple(options.published),
        model=options.model,
        loading=config_of(LoadingConfig, options),
        config=config_of(EvaluationConfig, options),
        dry_run=options.dry_run,
    )
    return compare(request)


def doctor(options: argparse.Namespace) -> int:
    """Print what a report of a fault needs; 2 if something is not as it should be."""
    from ccsr.doctor import examine

    well = True
    for finding in examine(options.model, config_of(LoadingConfig, options)):
        print(finding, flush=True)
        well = well and finding.is_well
    return 0 if well else 2


def summary(report: StabilityReport) -> str:
    """What a report says, in lines to read."""
    lines = [f"L-STD over {len(report.seeds)} seeds: {report.pixels.l_std:.4f}"]
    lines += [
        f"{name}: mean {score.mean:.4f}, G-STD {score.g_std:.4f}"
        for name, score in report.score_statistics().items()
    ]
    return "\n".join(lines)


def format_points(points: Sequence[Point]) -> str:
    """The points of a sweep, in lines to read."""
    rows = [point.row() for point in points]
    lines = ["  ".join(f"{name:>11}" for name in rows[0])]
    for row in rows:
        cells = (
            "-" if value is None else f"{value:.4f}".rstrip("0").rstrip(".")
            for value in row.values()
        )
        lines.append("  ".join(f"{cell:>11}" for cell in cells))
    return "\n".join(lines)


def _reference(
    options: argparse.Namespace, picture: Picture, config: SamplingConfig
) -> Picture | None:
    """The true picture, read before time is spent on results to compare with it."""
    if options.reference is None:
        return None
    reference = load_reference(options.reference, picture, config)
    check_measurable(reference.size)
    return reference


def _run(
    engine: Engine, picture: Picture, config: SamplingConfig, seeds: Sequence[int], name: str
) -> Iterator[tuple[int, Picture]]:
    """Yield (seed, result) behind a progress bar."""
    for event in _with_bar(engine.run(picture, config, seeds), name):
        yield event.seed, event.picture


def _with_bar(events: Iterable[Progress | E], name: str) -> Iterator[E]:
    """The other events of a run, behind a progress bar over its network evaluations."""
    with tqdm(desc=name, unit="NFE", leave=False) as bar:
        for event in events:
            if isinstance(event, Progress):
                bar.total = event.total
                bar.update(event.evaluation - bar.n)
            else:
                yield event


def _print_notes(path: Path, picture: Picture) -> None:
    for note in picture.notes:
        print(f"{path.name}: {note}", file=sys.stderr)
