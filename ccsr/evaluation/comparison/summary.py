"""Means over the pictures of each test set, read from the rows of the manifest one by one.

Sums are exact, so that they are the same in whatever order processes have written the rows. A
picture counts for all methods or for none: one for which a method failed is left out, unless the
method failed for all.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction

from ccsr.evaluation.comparison.manifest import RESULTS, Digest, PictureKey, Row, key_of

MAX_POINTS = 300
"""Pictures of a test set that are drawn as points: more make no plot clearer."""

MethodKey = tuple[str, str]
"""Test set and method."""


class Mean:
    """A mean that does not depend on the order in which numbers are added."""

    def __init__(self) -> None:
        self.count = 0
        self._total = Fraction(0)
        self._infinite = 0.0

    def add(self, value: float) -> None:
        """Add a number; an infinite one makes the mean infinite."""
        self.count += 1
        if math.isfinite(value):
            self._total += Fraction(value)
        else:
            self._infinite += value

    @property
    def value(self) -> float:
        """The mean."""
        return float(self._total / self.count) + self._infinite


@dataclass
class MethodSummary:
    """The pictures of one test set and one method."""

    means: dict[str, Mean] = field(default_factory=dict)
    """By what is averaged, such as "scores psnr", "g_std psnr", "l_std" or "uncertainty ause"."""
    num_pictures: int = 0
    num_seeds: int = 0
    most_unstable: tuple[float, str] | None = None
    """Highest L-STD, and its picture; of equal ones the first by name."""
    points: dict[str, dict[str, float]] = field(default_factory=dict)
    """Scores and L-STD by picture, of at most MAX_POINTS pictures."""

    def add(self, row: Row) -> None:
        """Add the row of a picture."""
        self.num_pictures += 1
        self.num_seeds = len(row["seeds"])
        for name, value in numbers(row):
            self.means.setdefault(name, Mean()).add(value)
        point = dict(row["scores"]) | ({"l_std": row["l_std"]} if "l_std" in row else {})
        if len(self.points) < MAX_POINTS:
            self.points[row["picture"]] = point
        if "l_std" in row:
            found = (row["l_std"], row["picture"])
            known = self.most_unstable or found
            self.most_unstable = min(found, known, key=lambda each: (-each[0], each[1]))

    def mean(self, name: str) -> float | None:
        """A mean by its name; None if there is none."""
        return self.means[name].value if name in self.means else None

    def means_of(self, name: str) -> list[float]:
        """The means of a list of numbers, such as "uncertainty curve"."""
        count = sum(each.startswith(f"{name} ") for each in self.means)
        return [self.means[f"{name} {number}"].value for number in range(count)]


def numbers(row: Row) -> Iterator[tuple[str, float]]:
    """The numbers of a group row by what they are; those of lists are numbered."""
    for name in ("scores", "g_std", "above", "uncertainty", "diversity", "best", "worst"):
        for key, value in row.get(name, {}).items():
            if key == "seed" or value is None:
                continue
            if isinstance(value, list):
                yield from ((f"{name} {key} {i}", each) for i, each in enumerate(value))
            else:
                yield f"{name} {key}", value
    if "l_std" in row:
        yield "l_std", row["l_std"]


@dataclass
class Summary:
    """All rows of a comparison."""

    methods: dict[MethodKey, MethodSummary] = field(default_factory=dict)
    trajectories: dict[MethodKey, dict[int, dict[str, Mean]]] = field(default_factory=dict)
    """Mean scores by timestep."""
    digest: Digest = field(default_factory=Digest)
    left_out: set[PictureKey] = field(default_factory=set)
    """Pictures that count for no method."""


def left_out(rows: Iterator[Row]) -> set[PictureKey]:
    """The pictures for which a method failed that gave results for others."""
    done: set[PictureKey] = set()
    failed: dict[PictureKey, set[str]] = {}
    methods: set[MethodKey] = set()
    for row in rows:
        if row["kind"] == "done":
            done.add(key_of(row))
        elif row["kind"] == "group":
            methods.add((row["test_set"], row["method"]))
        elif row["kind"] == "failure":
            failed.setdefault(key_of(row), set()).add(row["method"])
    return {
        (test_set, picture)
        for (test_set, picture), names in failed.items()
        if (test_set, picture) not in done and any((test_set, name) in methods for name in names)
    }


def summarise(read: Callable[[], Iterator[Row]]) -> Summary:
    """Summarise all rows.

    Args:
        read: Begins to read them; they are read twice.
    """
    summary = Summary(left_out=left_out(read()))
    for row in read():
        if row["kind"] not in RESULTS or key_of(row) in summary.left_out:
            continue
        summary.digest.add(row)
        key = row["test_set"], row["method"]
        if row["kind"] == "group":
            summary.methods.setdefault(key, MethodSummary()).add(row)
        elif row["kind"] == "trajectory":
            points = summary.trajectories.setdefault(key, {})
            for point in row["points"]:
                means = points.setdefault(point["timestep"], {})
                for name in point.keys() - {"timestep"}:
                    means.setdefault(name, Mean()).add(point[name])
    return summary
