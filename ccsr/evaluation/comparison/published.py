"""The figures that the paper publishes, as rows of our tables."""

import functools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("published.json")


@dataclass(frozen=True)
class PublishedRow:
    """A method in a table of the paper."""

    table: int
    """Number of the table."""
    test_set: str
    name: str
    scores: dict[str, float]
    """By the names of our columns, with "l_std", "seconds" and "parameters" (millions)."""
    g_std: dict[str, float]


@functools.cache
def source() -> dict[str, Any]:
    """The file as it is."""
    return json.loads(FILE.read_text(encoding="utf-8"))


def names_in(table: int) -> list[str]:
    """The test sets of a table."""
    return list(source()["tables"][str(table)]["test_sets"])


def published_rows(table: int, test_set: str) -> list[PublishedRow]:
    """The rows of a test set in a table of the paper; none if it is not there."""
    found = source()["tables"][str(table)]["test_sets"].get(test_set, {})
    rows: list[PublishedRow] = []
    for name, cells in found.items():
        values = {
            column: cell if isinstance(cell, list) else [cell] for column, cell in cells.items()
        }
        rows.append(
            PublishedRow(
                table, test_set, name,
                {column: value[0] for column, value in values.items()},
                {column: value[1] for column, value in values.items() if len(value) > 1},
            )
        )  # fmt: skip
    return rows
