"""The pictures of one command: which files are meant, where results go, which of them are done."""

import json
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ccsr.errors import InputError
from ccsr.evaluation.report import SETTINGS_KEY
from ccsr.images.picture import PictureError
from ccsr.images.reader_pool import READERS
from ccsr.inference.estimate_cache import digest
from ccsr.whole_file import UNFINISHED, WriteError, nearest_folder, remove_unfinished

INPUT_KEY = "ccsr-input"
"""Keyword of the PNG text that says which picture a result was made of."""


@dataclass(frozen=True)
class Item:
    """A picture of a batch."""

    source: Path
    output: Path
    """The PNG that it becomes."""


def find_items(inputs: Sequence[Path], folder: Path, *, recursive: bool = False) -> list[Item]:
    """The pictures meant by files and folders, and their results in `folder`.

    A result is called as its picture, folder/<stem>.png; if another picture would become the same
    file, the ending of the picture is part of the name. Subfolders are mirrored.

    Args:
        inputs: Pictures, and folders of pictures.
        folder: Where results go. Pictures in it are not taken if they were found by the search of a
            folder around it.
        recursive: Whether the pictures in subfolders are meant, too.

    Raises:
        InputError: If an input does not exist or holds no picture, two pictures would become the
            same file, or a result would replace a picture.
    """
    found: dict[Path, Path] = {}
    for path in inputs:
        if not path.exists():
            raise InputError(f"there is no file or folder {path}; check the name")
        if path.is_dir():
            found |= _pictures_in(path, folder, recursive)
        else:
            found[path] = Path(path.name)
    stems = Counter(name.with_suffix("") for name in found.values())
    items = [
        Item(path, folder / _result_name(name, stems[name.with_suffix("")] > 1))
        for path, name in found.items()
    ]
    _refuse_twins(items)
    refuse_originals(list(found), [item.output for item in items])
    return items


def _pictures_in(root: Path, folder: Path, recursive: bool) -> dict[Path, Path]:
    """Pictures in a folder, by path, with their names relative to it."""
    results = folder.resolve()
    around = root.resolve() != results
    files = sorted(root.rglob("*") if recursive else root.iterdir())
    pictures = {
        path: path.relative_to(root)
        for path in files
        if path.is_file()
        and not path.name.startswith(".")
        and not (around and results in path.resolve().parents)
        and READERS.is_picture(path)
    }
    if not pictures:
        hint = "" if recursive else "; --recursive takes those in its subfolders"
        raise InputError(f"the folder {root} holds no pictures{hint}")
    return pictures


def _result_name(name: Path, ambiguous: bool) -> Path:
    stem = f"{name.stem}_{name.suffix[1:]}" if ambiguous and name.suffix else name.stem
    return name.with_name(f"{stem}.png")


def _refuse_twins(items: Sequence[Item]) -> None:
    takers: dict[Path, Path] = {}
    for item in items:
        other = takers.setdefault(item.output, item.source)
        if other != item.source:
            raise InputError(
                f"{other} and {item.source} would both become {item.output}; "
                "rename one or run them apart"
            )


def refuse_originals(inputs: Sequence[Path | None], outputs: Sequence[Path]) -> None:
    """Raise ValueError if an output would take the place of an input, even with overwriting."""
    originals = {path.resolve() for path in inputs if path is not None}
    for output in outputs:
        if output.resolve() in originals:
            raise InputError(
                f"{output} is a picture to read, and would be replaced by a result; "
                "give another output folder"
            )


def check_writable(folder: Path) -> None:
    """Raise WriteError if no file can be made in a folder, which need not be there yet.

    Parts of files that a killed process left there are removed.
    """
    try:
        with tempfile.TemporaryFile(dir=nearest_folder(folder), suffix=UNFINISHED) as file:
            file.write(b"\0")
        remove_unfinished(folder)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise WriteError(
            f"{folder} cannot be written to ({reason}); give another folder"
        ) from error


def record(settings: Mapping[str, str], source: str) -> dict[str, str]:
    """Texts of a result by which `is_done` knows it again.

    Args:
        settings: Texts of its settings, from `settings_text`.
        source: The `digest` of its input.
    """
    return {**settings, INPUT_KEY: source}


def is_done(item: Item, settings: Mapping[str, str]) -> bool:
    """Whether the result is there, of the same picture and made with the same settings."""
    try:
        texts = READERS.texts(item.output)
        same = json.loads(texts[SETTINGS_KEY]) == json.loads(settings[SETTINGS_KEY])
        return same and texts[INPUT_KEY] == digest(READERS.picture(item.source))
    except (PictureError, KeyError, ValueError, RecursionError):
        return False
