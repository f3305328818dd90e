"""The tables of a comparison, from the summary of its rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ccsr.config import PRESETS, SamplingConfig
from ccsr.diffusion.timesteps import refinement_indices
from ccsr.evaluation.comparison.illustration import slug
from ccsr.evaluation.comparison.methods import Method, OurMethod, Setting
from ccsr.evaluation.comparison.published import PublishedRow, published_rows, source
from ccsr.evaluation.comparison.scores import CONVENTIONS, Scorer
from ccsr.evaluation.comparison.summary import MethodKey, MethodSummary, Summary
from ccsr.evaluation.comparison.tables import (
    L_STD,
    PARAMETERS,
    SECONDS,
    STABILITY,
    TABLE_4_COLUMNS,
    Cell,
    Table,
    TableRow,
    columns_named,
    published_columns,
    ranked,
    score_cells,
    stability_cells,
)
from ccsr.evaluation.comparison.test_set import Dataset
from ccsr.evaluation.comparison.timing import TIMED_SIDE


@dataclass(frozen=True)
class Results:
    """What the tables are made of."""

    summary: Summary
    methods: Sequence[Method]
    test_sets: Sequence[Dataset]
    scorer: Scorer
    machine: str
    """What it was measured on, with versions: a line under each table."""
    seconds: Mapping[str, float]
    """A picture, by method."""
    fids: Mapping[MethodKey, float]
    published: Mapping[str, str]
    """Test set of the paper whose rows stand beside those of a test set of ours, by its name."""
    scale: int


def tables(results: Results) -> list[Table]:
    """All tables that the rows give something for."""
    found: list[Table] = []
    for test_set in results.test_sets:
        if not any(key[0] == test_set.name for key in results.summary.methods):
            continue
        found.append(_scores(results, test_set))
        found += [_ablation(results, test_set, number) for number in (4, 5)]
        found.append(_stability(results, test_set))
    if results.seconds:
        found.append(_times(results))
    return [ranked(table) for table in found if table.rows]


def _summaries(results: Results, test_set: Dataset) -> list[tuple[Method, MethodSummary]]:
    pairs = [
        (method, results.summary.methods.get((test_set.name, method.name)))
        for method in results.methods
    ]
    return [(method, summary) for method, summary in pairs if summary is not None]


def _scores(results: Results, test_set: Dataset) -> Table:
    """Table 1, or 3 for bicubic inputs: all methods, ours with their first setting."""
    number = 3 if test_set.is_bicubic else 1
    published = _published(results, test_set, number)
    columns = published_columns(_names(published), results.scorer.columns)
    ours = [method for method in results.methods if isinstance(method, OurMethod)]
    rows = [
        TableRow(
            method.name,
            score_cells(summary, columns, results.fids.get((test_set.name, method.name))),
        )
        for method, summary in _summaries(results, test_set)
        if method not in ours[1:]
    ]
    title = f"Table {number}. {test_set.name}: value/G-STD of each metric"
    return Table(
        _file(test_set, f"table{number}"), title, (*columns, L_STD),
        (*_as_rows(published), *rows), _notes(results, test_set, published),
    )  # fmt: skip


def _ablation(results: Results, test_set: Dataset, number: int) -> Table:
    """Table 4, variants with the first preset; or 5, presets of the first variant."""
    ours = [
        (method.setting, summary)
        for method, summary in _summaries(results, test_set)
        if isinstance(method, OurMethod)
    ]
    rows = [
        TableRow(
            setting.label,
            score_cells(summary, results.scorer.columns),
            words=_words(number, setting.variant, setting.config),
        )
        for setting, summary in ours
        if _fixed(setting, number) == _fixed(ours[0][0], number)
    ]
    compared = len(rows) > 1
    published = _published(results, test_set, number) if compared else []
    columns = published_columns(_names(published), results.scorer.columns)
    names = [c.name for c in columns if c.name != "fid"]
    # Those of the paper first.
    names = [n for n in TABLE_4_COLUMNS if n in names] + [
        n for n in names if n not in TABLE_4_COLUMNS
    ]
    title = f"Table {number}. {test_set.name}: {source()['tables'][str(number)]['title']}"
    return Table(
        _file(test_set, f"table{number}"), title, (*columns_named(names, columns), L_STD),
        (*_as_rows(published), *rows) if compared else (),
        _notes(results, test_set, published), HEADINGS[number],
    )  # fmt: skip


HEADINGS = {4: ("NUTL", "DeFT"), 5: ("t_max", "t_min", "S")}
"""Non-uniform timestep learning, decoder fine-tuning; and the number of refinement steps."""


def _fixed(setting: Setting, number: int) -> str:
    """What is the same for all rows of Table 4 or 5."""
    return setting.preset if number == 4 else setting.variant


def _words(number: int, variant: str, config: SamplingConfig) -> tuple[str, ...]:
    """What a row of Table 4 or 5 says before its numbers."""
    if number == 4:
        return ("no" if variant == "v1" else "yes", "yes" if variant == "ccsr" else "no")
    steps = len(refinement_indices(config.num_steps, config.t_max, config.t_min))
    return (f"{config.t_max:g}", f"{config.t_min:g}", str(steps))


def _stability(results: Results, test_set: Dataset) -> Table:
    """What the seeds disagree on, of all methods with several seeds."""
    rows = [
        TableRow(method.name, stability_cells(summary), words=_stability_words(summary))
        for method, summary in _summaries(results, test_set)
        if stability_cells(summary)
    ]
    return Table(
        _file(test_set, "stability"), f"{test_set.name}: what the seeds disagree on", STABILITY,
        tuple(rows), (*STABILITY_NOTES, *_notes(results, test_set, ())), ("seeds", "largest L-STD"),
    )  # fmt: skip


def _stability_words(summary: MethodSummary) -> tuple[str, ...]:
    """The number of seeds, and the picture of the largest disagreement."""
    assert summary.most_unstable is not None  # it has several seeds
    l_std, picture = summary.most_unstable
    return (str(summary.num_seeds), f"{picture} ({l_std:.4f})")


STABILITY_NOTES = (
    "STD > 2, 5, 10: share of pixels whose standard deviation over the seeds is above so many grey "
    "levels of 255.",
    "Spearman: rank correlation of the standard deviation and the error of the mean over squares "
    "of 15 pixels; AUSE: area between their sparsification curves, 0 if the squares of most "
    "disagreement are those of the largest errors.",
    "LPIPS of pairs: distance between the results of two seeds, mean and standard deviation.",
)


def _times(results: Results) -> Table:
    """Table 2: seconds a picture, and parameters."""
    rows = [
        TableRow(
            method.name,
            {"seconds": Cell(results.seconds[method.name])}
            | ({"parameters": Cell(method.parameters / 1e6)} if method.parameters else {}),
        )
        for method in results.methods
        if method.name in results.seconds
    ]
    published = published_rows(2, "128 to 512 pixels") if results.published else []
    notes = [
        f"Seconds: median for one picture of {TIMED_SIDE}x{TIMED_SIDE} pixels, "
        f"made {results.scale} times as large. {results.machine}"
    ]
    if published:
        notes.append(f"Published: {source()['source']}; {source()['tables']['2']['machine']}.")
    return Table(
        "table2", "Table 2. Seconds a picture and parameters", (SECONDS, PARAMETERS),
        (*_as_rows(published), *rows), tuple(notes),
    )  # fmt: skip


def _published(results: Results, test_set: Dataset, number: int) -> list[PublishedRow]:
    name = results.published.get(test_set.name)
    return [] if name is None else published_rows(number, name)


def _as_rows(published: Sequence[PublishedRow]) -> list[TableRow]:
    return [
        TableRow(
            row.name,
            {name: Cell(value, row.g_std.get(name)) for name, value in row.scores.items()},
            published=True,
            words=_published_words(row),
        )
        for row in published
    ]


def _published_words(row: PublishedRow) -> tuple[str, ...]:
    """What rows of the paper's Tables 4 and 5 say before their numbers."""
    if row.table not in HEADINGS:
        return ()
    variant = row.name.lower() if row.table == 4 else "ccsr"
    preset = "ccsr" if row.table == 4 else row.name.lower()
    return _words(row.table, variant, PRESETS[preset].apply(SamplingConfig()))


def _names(published: Sequence[PublishedRow]) -> set[str]:
    return {name for row in published for name in row.scores}


def _notes(
    results: Results, test_set: Dataset, published: Sequence[PublishedRow]
) -> tuple[str, ...]:
    """What is to be known about the numbers of a table."""
    summaries = [summary for _, summary in _summaries(results, test_set)]
    pictures = sorted({summary.num_pictures for summary in summaries})
    seeds = sorted({summary.num_seeds for summary in summaries if summary.num_seeds > 1})
    convention = results.scorer.convention
    notes = [
        f"{_range(pictures)} pictures; seeds: {_range(seeds) or '1'}. "
        f"Convention {convention}: {CONVENTIONS[convention].help}. {results.machine}"
    ]
    out = sum(key[0] == test_set.name for key in results.summary.left_out)
    if out:
        notes.append(f"{out} more pictures are left out: a method failed for them.")
    if not seeds:
        notes.append("G-STD and L-STD need at least two seeds.")
    if published:
        table, name = published[0].table, published[0].test_set
        notes.append(
            f"Published: {source()['source']}, Table {table}, {name}, all its pictures; "
            "best and second best are marked among the measured rows."
        )
    return (*notes, *results.scorer.notes)


def _range(counts: Sequence[int]) -> str:
    """A number, or the lowest and the highest of several."""
    return "-".join(str(count) for count in dict.fromkeys((*counts[:1], *counts[-1:])))


def _file(test_set: Dataset, name: str) -> str:
    return f"{slug(test_set.name)}-{name}"
