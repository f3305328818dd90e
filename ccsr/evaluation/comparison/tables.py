"""Tables of numbers with a best and a second best, as Markdown, CSV, LaTeX and JSON."""

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ccsr.evaluation.comparison.scores import COLUMNS, Column
from ccsr.evaluation.comparison.summary import MethodSummary

L_STD = Column("l_std", "L-STD", False)
SECONDS = Column("seconds", "Seconds", False, 2)
PARAMETERS = Column("parameters", "Parameters (M)", False, 2)
STABILITY = (
    L_STD,
    Column("above 2", "STD > 2", False),
    Column("above 5", "STD > 5", False),
    Column("above 10", "STD > 10", False),
    Column("uncertainty spearman", "Spearman", True, 3),
    Column("uncertainty ause", "AUSE", False),
    Column("diversity mean", "LPIPS of pairs", None),
    Column("diversity std", "its STD", None),
    Column("best psnr", "Best PSNR", True, 2),
    Column("worst psnr", "Worst PSNR", True, 2),
)
"""Columns of the table of what the seeds disagree on."""
TABLE_4_COLUMNS = ("psnr", "lpips", "musiq")
"""Those of the paper's Tables 4 and 5."""


@dataclass(frozen=True)
class Cell:
    """A number of a table."""

    value: float
    spread: float | None = None
    """G-STD."""
    rank: int = 0
    """1 for the best of a column, 2 for the second best, 0 for others."""


@dataclass(frozen=True)
class TableRow:
    """A method."""

    name: str
    cells: dict[str, Cell]
    """By column."""
    published: bool = False
    """Whether the numbers are those of the paper; they are not ranked with measured ones."""
    words: tuple[str, ...] = ()
    """What stands in the columns without numbers."""


@dataclass(frozen=True)
class Table:
    """A table with what is to be known about its numbers."""

    name: str
    """Of its files."""
    title: str
    columns: tuple[Column, ...]
    rows: tuple[TableRow, ...]
    notes: tuple[str, ...]
    """Lines under it."""
    headings: tuple[str, ...] = ()
    """Of the columns without numbers, which come first."""


def score_cells(
    summary: MethodSummary, columns: Sequence[Column], fid: float | None = None
) -> dict[str, Cell]:
    """The means of a method, with their G-STD, and L-STD."""
    cells = {"fid": Cell(fid)} if fid is not None else {}
    for column in columns:
        value = summary.mean(f"scores {column.name}")
        if value is not None:
            cells[column.name] = Cell(value, summary.mean(f"g_std {column.name}"))
    l_std = summary.mean("l_std")
    return cells | ({"l_std": Cell(l_std)} if l_std is not None else {})


def stability_cells(summary: MethodSummary) -> dict[str, Cell]:
    """What the seeds disagree on; empty for a method with one seed."""
    if summary.mean("l_std") is None:
        return {}
    means = {column.name: summary.mean(column.name) for column in STABILITY}
    return {name: Cell(value) for name, value in means.items() if value is not None}


def ranked(table: Table) -> Table:
    """The table with the best and the second best of each column marked, of the measured rows."""
    marks: dict[tuple[int, str], int] = {}
    for column in table.columns:
        if column.higher_is_better is None:
            continue
        found = [
            (row.cells[column.name].value, number)
            for number, row in enumerate(table.rows)
            if column.name in row.cells and not row.published
        ]
        # As they are shown: numbers that look equal share their rank.
        shown = sorted({round(v, column.digits) for v, _ in found}, reverse=column.higher_is_better)
        if len(shown) > 1:
            for value, number in found:
                rank = shown.index(round(value, column.digits)) + 1
                marks[number, column.name] = rank if rank <= 2 else 0
    rows = (
        {name: replace(cell, rank=marks.get((i, name), 0)) for name, cell in row.cells.items()}
        for i, row in enumerate(table.rows)
    )
    marked = (replace(row, cells=cells) for row, cells in zip(table.rows, rows, strict=True))
    return replace(table, rows=tuple(marked))


def text(cell: Cell | None, column: Column) -> str:
    """A cell as value or value/G-STD; a dash without one."""
    return "".join(cell_text(cell, column))


def cell_text(cell: Cell | None, column: Column) -> tuple[str, str]:
    """A cell as its value, and a stroke with G-STD; a dash without one."""
    if cell is None:
        return "-", ""
    spread = "" if cell.spread is None else f"/{cell.spread:.4f}"
    return f"{cell.value:.{column.digits}f}", spread


def markdown(table: Table) -> str:
    """The table as Markdown: best bold, second best italic."""
    heads = [*table.headings, *(f"{c.label} {c.arrow}".strip() for c in table.columns)]
    lines = [
        f"### {table.title}",
        "",
        f"| | {' | '.join(heads)} |",
        "|---" * (len(heads) + 1) + "|",
    ]
    for row in table.rows:
        cells = list(row.words)
        for column in table.columns:
            cell = row.cells.get(column.name)
            mark = {1: "**", 2: "*"}.get(cell.rank if cell else 0, "")
            cells.append(f"{mark}{text(cell, column)}{mark}")
        lines.append(f"| {_escaped(_label(row))} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", *(f"{note}  " for note in table.notes)]) + "\n"


def _escaped(name: str) -> str:
    return name.replace("|", "\\|")


def _label(row: TableRow) -> str:
    return f"{row.name} (published)" if row.published else row.name


def as_csv(table: Table) -> str:
    """The table as CSV, value and G-STD in columns of their own, with all digits."""
    file = io.StringIO()
    writer = csv.writer(file)
    heads = ["method", "published", *table.headings]
    for column in table.columns:
        heads += [column.name, f"g_std {column.name}"]
    writer.writerow(heads)
    for row in table.rows:
        line: list[object] = [row.name, row.published, *row.words]
        for column in table.columns:
            cell = row.cells.get(column.name)
            line += (
                ["", ""]
                if cell is None
                else [cell.value, "" if cell.spread is None else cell.spread]
            )
        writer.writerow(line)
    return file.getvalue()


LATEX_SPECIAL = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "↑": r"$\uparrow$", "↓": r"$\downarrow$",
}  # fmt: skip


def latex(table: Table) -> str:
    """The table as LaTeX, for the package booktabs: best bold, second best underlined."""
    heads = [*table.headings, *(f"{c.label} {c.arrow}".strip() for c in table.columns)]
    lines = [r"\begin{table}", r"\centering", rf"\caption{{{_tex(table.title)}}}"]
    lines += [rf"\begin{{tabular}}{{l{'c' * len(heads)}}}", r"\toprule"]
    lines += [" & ".join(["", *map(_tex, heads)]) + r" \\", r"\midrule"]
    for row in table.rows:
        cells = [_tex(_label(row)), *map(_tex, row.words)]
        for column in table.columns:
            cell = row.cells.get(column.name)
            command = {1: r"\textbf{%s}", 2: r"\underline{%s}"}.get(cell.rank if cell else 0, "%s")
            cells.append(command % text(cell, column))
        lines.append(" & ".join(cells) + r" \\")
    lines += [r"\bottomrule", r"\end{tabular}"]
    lines += [rf"\par\footnotesize {_tex(note)}" for note in table.notes]
    return "\n".join([*lines, r"\end{table}"]) + "\n"


def _tex(words: str) -> str:
    return "".join(LATEX_SPECIAL.get(character, character) for character in words)


def as_json(table: Table) -> dict[str, Any]:
    """The table as JSON, with all digits."""
    return {
        "title": table.title,
        "columns": [vars(column) for column in table.columns],
        "rows": [
            {
                "method": row.name,
                "published": row.published,
                **dict(zip(table.headings, row.words, strict=True)),
                "cells": {name: _finite(vars(cell)) for name, cell in row.cells.items()},
            }
            for row in table.rows
        ],
        "notes": list(table.notes),
    }


def _finite(values: dict[str, Any]) -> dict[str, Any]:
    """JSON has no infinity: it becomes a text."""
    return {k: str(v) if v in (float("inf"), float("-inf")) else v for k, v in values.items()}


FORMATS: dict[str, Callable[[Table], str]] = {"md": markdown, "csv": as_csv, "tex": latex}
"""By the suffix of the file."""


def files(tables: Sequence[Table]) -> Iterator[tuple[str, str]]:
    """Name and content of each table in each format of FORMATS."""
    for table in tables:
        for suffix, write in FORMATS.items():
            yield f"{table.name}.{suffix}", write(table)


def columns_named(names: Sequence[str], columns: Sequence[Column]) -> tuple[Column, ...]:
    """Those of the columns that have these names, in the order of the names."""
    found = {column.name: column for column in columns} | {"l_std": L_STD}
    return tuple(found[name] for name in names if name in found)


def published_columns(scores: set[str], columns: Sequence[Column]) -> tuple[Column, ...]:
    """Columns of what is measured or published, those of the paper in its order."""
    measured = {column.name for column in columns}
    paper = [c for name, c in COLUMNS.items() if name in measured | scores]
    return (*paper, *(column for column in columns if column.name not in COLUMNS))
