"""The manifest of a comparison: one row for each job, written when it is done.

Each process appends to a file of its own, `jobs-<number>.jsonl`, and flushes every row; all read
those of all. The first row of a file is the config, and files of another config are refused. A row
that was cut off when a process was killed is left out.

Rows by `kind`:

- config: what the results depend on.
- job: the scores of a result, of one picture, method and seed.
- group: the statistics over the seeds of a picture and a method.
- trajectory: the scores of the estimates of a run.
- timing: seconds a picture of each method.
- failure: why a method gave no result for a picture; made again by the next run.
- done: all methods gave their results for a picture; only such pictures count.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ccsr.errors import InputError
from ccsr.whole_file import WriteError, make_folder, remove_unfinished

Row = dict[str, Any]
PictureKey = tuple[str, str]
"""Test set and name of a picture."""

PATTERN = "jobs-*.jsonl"
RESULTS = ("job", "group", "trajectory")
"""Kinds of rows that the digest is of."""
UNREPEATED = {"seconds"}
"""What differs between equal runs."""


def manifest_file(folder: Path, process: int) -> Path:
    """The file that a process appends to."""
    return folder / f"jobs-{process}.jsonl"


def read_rows(folder: Path) -> Iterator[Row]:
    """The rows of all processes but the configs, file by file, as they were written.

    Raises:
        InputError: If a row in the middle of a file is damaged.
    """
    for path in sorted(folder.glob(PATTERN)):
        yield from (row for row in _rows(path) if row["kind"] != "config")


def _rows(path: Path) -> Iterator[Row]:
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            if not line.endswith("\n"):
                return
            try:
                yield json.loads(line)
            except json.JSONDecodeError as error:
                raise InputError(
                    f"line {number} of {path} is damaged; delete it, and its job is done again"
                ) from error


def check_config(folder: Path, config: Mapping[str, Any]) -> None:
    """Check that the rows in a folder were made with this config.

    Raises:
        InputError: If they were not.
    """
    wanted = json.loads(json.dumps(config))
    for path in sorted(folder.glob(PATTERN)):
        first = next(_rows(path), None)
        found = {} if first is None else first.get("config", {})
        if first is not None and found != wanted:
            names = sorted(k for k in found.keys() | wanted.keys() if found.get(k) != wanted.get(k))
            raise InputError(
                f"{folder} holds results of other values of {', '.join(names)}; "
                "give another output folder, or the same values as there"
            )


class Manifest:
    """The file of one process, opened to go on with it."""

    def __init__(self, folder: Path, process: int, config: Mapping[str, Any]) -> None:
        make_folder(folder)
        remove_unfinished(folder)
        self.path = manifest_file(folder, process)
        _cut_torn_row(self.path)
        self._file = self.path.open("a", encoding="utf-8")
        if not self.path.stat().st_size:
            self.write("config", config=dict(config))

    def write(self, kind: str, **values: object) -> None:
        """Append a row.

        Raises:
            WriteError: If it cannot be written.
        """
        row = {"kind": kind, **values}
        try:
            self._file.write(json.dumps(row, ensure_ascii=False) + "\n")
            self._file.flush()
        except OSError as error:
            raise WriteError(
                f"{self.path} could not be written: {error.strerror}; free some space, and the "
                "same command goes on"
            ) from error

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _cut_torn_row(path: Path) -> None:
    """Cut off what follows the last whole row."""
    if not path.exists():
        return
    with path.open("rb+") as file:
        end = file.seek(0, os.SEEK_END)
        while end > 0:
            file.seek(end - 1)
            if file.read(1) == b"\n":
                break
            end -= 1
        file.truncate(end)


def key_of(row: Row) -> PictureKey:
    """The picture that a row is about."""
    return row["test_set"], row["picture"]


class Progress:
    """What the rows say is done, with the rows of pictures that are not done yet.

    Memory grows with the names of the pictures, not with the rows.
    """

    def __init__(self, rows: Iterator[Row]) -> None:
        self.done: set[PictureKey] = set()
        self._unfinished: dict[PictureKey, list[Row]] = {}
        self.timings: dict[str, float] = {}
        for row in rows:
            if row["kind"] == "timing":
                self.timings[row["method"]] = row["seconds"]
            elif row["kind"] == "done":
                self.done.add(key_of(row))
                self._unfinished.pop(key_of(row), None)
            elif row["kind"] in RESULTS and key_of(row) not in self.done:
                self._unfinished.setdefault(key_of(row), []).append(row)

    def take(self, key: PictureKey) -> list[Row]:
        """The rows of a picture that is not done; they are forgotten."""
        return self._unfinished.pop(key, [])


class Digest:
    """A digest of result rows that does not depend on their order, nor on the times they took."""

    def __init__(self) -> None:
        self._total = 0

    def add(self, row: Row) -> None:
        """Add one row."""
        kept = {name: value for name, value in row.items() if name not in UNREPEATED}
        hashed = hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).digest()
        self._total = (self._total + int.from_bytes(hashed, "big")) % 2**256

    def __str__(self) -> str:
        """64 hexadecimal digits."""
        return f"{self._total:064x}"
