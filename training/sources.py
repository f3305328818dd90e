"""Where training pictures come from: folders, lists of files, and pairs of HR and LR folders."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ccsr.degradation.folder import SUFFIXES, picture_paths

LIST_SUFFIX = ".txt"


@dataclass(frozen=True)
class TrainingPicture:
    """A picture of a source."""

    hr: Path
    name: str
    """What the source calls it."""
    weight: float
    """How often it is drawn, relative to others."""
    lr: Path | None = None
    """Its LR version, where it is not made by degradation."""


@dataclass(frozen=True)
class Source:
    """Pictures that are drawn equally often."""

    path: Path
    """A folder, searched with its subfolders and linked folders, or a list: a text file with the
    path of a picture on each line, relative to the list."""
    weight: float = 1.0
    """How often one of its pictures is drawn, relative to one of other sources."""
    lr: Path | None = None
    """Folder of LR pictures under the names of those in `path`."""

    def pictures(self) -> list[TrainingPicture]:
        """Its pictures, in the order of their names or of the list.

        Raises:
            ValueError: If there are none, or one of the list or of LR is missing.
        """
        if self.path.suffix.lower() == LIST_SUFFIX and self.path.is_file():
            named = _listed(self.path)
        else:
            paths = picture_paths(self.path)
            named = {path.relative_to(self.path).as_posix(): path for path in paths}
        return [
            TrainingPicture(path, name, self.weight, self._lr_of(name))
            for name, path in named.items()
        ]

    def _lr_of(self, name: str) -> Path | None:
        if self.lr is None:
            return None
        stem = Path(name).with_suffix("")
        for suffix in sorted(SUFFIXES | {s.upper() for s in SUFFIXES}):
            path = self.lr / f"{stem}{suffix}"
            if path.is_file():
                return path
        raise ValueError(f"{self.lr} has no picture called {stem}; names must be those of HR")


def source_of(text: str) -> Source:
    """The source that "PATH" or "PATH=WEIGHT" stands for.

    Raises:
        ValueError: If the weight is no positive number.
    """
    path, equals, weight = text.rpartition("=")
    if not equals or Path(text).exists():
        return Source(Path(text).expanduser())
    try:
        number = float(weight)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise ValueError(f"the weight of {path} must be a number above 0, got {weight!r}")
    return Source(Path(path).expanduser(), number)


def _listed(path: Path) -> dict[str, Path]:
    """The pictures of a list, by its lines."""
    lines = [line.strip() for line in path.read_text().splitlines()]
    named = {line: path.parent / Path(line).expanduser() for line in lines if line}
    if not named:
        raise ValueError(f"the list {path} is empty; it needs the path of a picture on each line")
    for line, picture in named.items():
        if not picture.is_file():
            raise ValueError(f"there is no file {line}, which is in the list {path}")
    return named


def digest_of(sources: Sequence[Source]) -> dict[str, object]:
    """Number of the pictures of some sources, and a hash of their names, sizes and weights."""
    total, count = hashlib.sha256(), 0
    for picture in (picture for source in sources for picture in source.pictures()):
        lr_bytes = picture.lr.stat().st_size if picture.lr else None
        entry = (picture.name, picture.hr.stat().st_size, picture.weight, lr_bytes)
        total.update(json.dumps(entry).encode())
        count += 1
    return {"count": count, "sha256": total.hexdigest()}
