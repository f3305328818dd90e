"""Logs of a training step: lines of JSON, and curves for TensorBoard."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ccsr.errors import InputError
from ccsr.whole_file import write_whole


class JsonLog:
    """A file of lines of JSON, one for each step that is logged.

    Args:
        path: The file.
        step: The step that training continues from. Lines of later steps are removed: these steps
            are made again.
    """

    def __init__(self, path: Path, step: int) -> None:
        self.path = path
        if path.exists():
            kept = [line for line in path.read_text().splitlines() if _step_of(line) <= step]
            write_whole(path, "".join(f"{line}\n" for line in kept), overwrite=True)

    def append(self, entry: Mapping[str, Any]) -> None:
        """Write a line; the entry has a key "step"."""
        with self.path.open("a") as file:
            file.write(json.dumps(entry) + "\n")


class TensorBoardLog:
    """Losses, learning rates and scores as curves, which `tensorboard --logdir RUN` shows.

    Args:
        folder: Of the training step.
        step: The step that training continues from. TensorBoard hides points of later ones.

    Raises:
        InputError: If the package is not installed.
    """

    def __init__(self, folder: Path, step: int) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise InputError(
                "--tensorboard needs a package: pip install -r requirements-train.txt"
            ) from error
        self._writer = SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1)

    def append(self, entry: Mapping[str, Any]) -> None:
        """Add a point to each curve of an entry with a key "step"."""
        for kind in ("losses", "learning_rates", "scores"):
            for name, value in entry[kind].items():
                self._writer.add_scalar(f"{kind}/{name}", value, entry["step"])
        self._writer.flush()


def _step_of(line: str) -> float:
    """The step of a line; infinity for one that was cut by a kill."""
    try:
        return json.loads(line)["step"]
    except (ValueError, KeyError, TypeError):
        return float("inf")
