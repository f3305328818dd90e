"""Folders of HR pictures."""

import os
from pathlib import Path

from ccsr.errors import InputError
from ccsr.images.formats import picture_suffixes

SUFFIXES = picture_suffixes()
"""Endings of the names that are taken for pictures."""
MAX_HR_PIXELS = 100_000_000


def picture_paths(folder: Path) -> list[Path]:
    """The pictures of a folder, its subfolders and the folders that these link to, sorted.

    Raises:
        InputError: If there is no such folder, or no picture in it.
    """
    if not folder.is_dir():
        raise InputError(f"there is no folder {folder}; check the name")
    seen: set[str] = set()
    paths: list[Path] = []
    for parent, subfolders, names in os.walk(folder, followlinks=True):
        # A link to a folder around it would be followed for ever.
        subfolders[:] = sorted(n for n in subfolders if not _is_seen(Path(parent, n), seen))
        paths += (Path(parent, name) for name in names)
    found = sorted(p for p in paths if p.suffix.lower() in SUFFIXES and p.is_file())
    if not found:
        raise InputError(f"no pictures ({', '.join(sorted(SUFFIXES))}) in {folder}")
    return found


def file_names(stem: str) -> list[str]:
    """Names that a picture can have in a folder where it is called `stem`, in a fixed order."""
    return [f"{stem}{suffix}" for suffix in sorted(SUFFIXES | {s.upper() for s in SUFFIXES})]


def _is_seen(folder: Path, seen: set[str]) -> bool:
    """Whether the folder is one of `seen`, to which it is added."""
    real = os.path.realpath(folder)
    if real in seen:
        return True
    seen.add(real)
    return False
