"""What a training step tells of its course: a line of JSON every so often."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ccsr.whole_file import write_whole


class JsonLog:
    """A file of lines of JSON, one a step that is told of.

    Args:
        path: The file.
        step: The step that is gone on from. Lines of later steps are removed: they are told again.
        writes: Whether this process writes it; others write nothing.
    """

    def __init__(self, path: Path, step: int, writes: bool = True) -> None:
        self.path, self.writes = path, writes
        if writes and path.exists():
            kept = [line for line in path.read_text().splitlines() if _step_of(line) <= step]
            write_whole(path, "".join(f"{line}\n" for line in kept), overwrite=True)

    def append(self, entry: Mapping[str, Any]) -> None:
        """Write a line; the entry has a key "step"."""
        if self.writes:
            with self.path.open("a") as file:
                file.write(json.dumps(entry) + "\n")


def _step_of(line: str) -> float:
    """The step that a line tells of; infinity for one that was cut by a kill."""
    try:
        return json.loads(line)["step"]
    except (ValueError, KeyError, TypeError):
        return float("inf")
