"""Where training pictures come from: folders, shards, lists, and pairs of HR and LR."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ccsr.degradation.folder import SUFFIXES, file_names, picture_paths
from ccsr.errors import InputError
from training.picture_file import PictureFile
from training.shards import is_shard, read_shard

LIST_SUFFIX = ".txt"


@dataclass(frozen=True)
class TrainingPicture:
    """A picture of a source."""

    hr: PictureFile
    name: str
    """What the source calls it."""
    weight: float
    """How often it is drawn, relative to others."""
    lr: PictureFile | None = None
    """Its LR version, where it is not made by degradation."""


@dataclass(frozen=True)
class Source:
    """Pictures that are drawn equally often."""

    path: Path
    """A folder, searched with its subfolders and linked folders; a shard: a tar file; or a list: a
    text file with the path of a picture or of a shard on each line, relative to the list."""
    weight: float = 1.0
    """How often one of its pictures is drawn, relative to one of other sources."""
    lr: Path | None = None
    """Folder or shard of LR pictures under the names of those in `path`."""

    def pictures(self) -> list[TrainingPicture]:
        """Its pictures, in the order of their names, of the shard or of the list.

        Raises:
            InputError: If there are none, one of the list or of LR is missing, or a shard is
                compressed.
        """
        if _is_list(self.path):
            named = _listed(self.path)
        elif is_shard(self.path):
            named = _in_shard(self.path)
        else:
            named = _in_folder(self.path)
        return [
            TrainingPicture(file, name, self.weight, self._lr_of(name))
            for name, file in named.items()
        ]

    def faults(self) -> dict[PictureFile, str]:
        """Shards and members of shards that cannot be read, and why."""
        paths = list(_lines_of(self.path).values()) if _is_list(self.path) else [self.path]
        paths += [] if self.lr is None else [self.lr]
        shards = [read_shard(path) for path in paths if is_shard(path)]
        return {file: why for shard in shards for file, why in shard.faults.items()}

    def _lr_of(self, name: str) -> PictureFile | None:
        if self.lr is None:
            return None
        stem = Path(name).with_suffix("")
        for file_name in file_names(str(stem)):
            if is_shard(self.lr):
                file = read_shard(self.lr).pictures.get(file_name)
            else:
                path = self.lr / file_name
                file = PictureFile(path) if path.is_file() else None
            if file is not None:
                return file
        raise InputError(f"{self.lr} has no picture called {stem}; names must be those of HR")


def source_of(text: str) -> Source:
    """The source that "PATH" or "PATH=WEIGHT" stands for.

    Raises:
        InputError: If the weight is no positive number.
    """
    path, equals, weight = text.rpartition("=")
    if not equals or Path(text).exists():
        return Source(Path(text).expanduser())
    try:
        number = float(weight)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise InputError(f"the weight of {path} must be a number above 0, got {weight!r}")
    return Source(Path(path).expanduser(), number)


def _in_folder(folder: Path) -> dict[str, PictureFile]:
    """The pictures of a folder, by their paths in it."""
    try:
        paths = picture_paths(folder)
    except ValueError as error:
        if any(map(is_shard, folder.glob("*"))):
            raise InputError(f"{error}; its shards are given by name: {folder}/*.tar") from error
        raise
    return {path.relative_to(folder).as_posix(): PictureFile(path) for path in paths}


def _in_shard(path: Path) -> dict[str, PictureFile]:
    """The pictures of a shard, by their names in it."""
    shard = read_shard(path)
    if not shard.pictures and not shard.faults:
        raise InputError(f"no pictures ({', '.join(sorted(SUFFIXES))}) in {path}")
    return shard.pictures


def _is_list(path: Path) -> bool:
    return path.suffix.lower() == LIST_SUFFIX and path.is_file()


def _lines_of(path: Path) -> dict[str, Path]:
    """The files of a list, by its lines."""
    lines = [line.strip() for line in path.read_text().splitlines()]
    return {line: path.parent / Path(line).expanduser() for line in lines if line}


def _listed(path: Path) -> dict[str, PictureFile]:
    """The pictures of a list, by its lines; those of a shard by their names in it, too."""
    named: dict[str, PictureFile] = {}
    for line, file in _lines_of(path).items():
        if not file.is_file():
            raise InputError(f"there is no file {line}, which is in the list {path}")
        if is_shard(file):
            named |= {f"{line}/{name}": each for name, each in _in_shard(file).items()}
        else:
            named[line] = PictureFile(file)
    if not _lines_of(path):
        raise InputError(f"the list {path} is empty; it needs the path of a picture on each line")
    return named


def digest_of(sources: Sequence[Source]) -> dict[str, object]:
    """Number of the pictures of some sources, and a hash of their names, sizes and weights."""
    total, count = hashlib.sha256(), 0
    for picture in (picture for source in sources for picture in source.pictures()):
        lr_bytes = picture.lr.num_bytes if picture.lr else None
        entry = (picture.name, picture.hr.num_bytes, picture.weight, lr_bytes)
        total.update(json.dumps(entry).encode())
        count += 1
    return {"count": count, "sha256": total.hexdigest()}
