"""Folders of HR pictures."""

from pathlib import Path

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp"}
MAX_HR_PIXELS = 100_000_000


def picture_paths(folder: Path) -> list[Path]:
    """The pictures of a folder and its subfolders, sorted.

    Raises:
        ValueError: If there is no such folder, or no picture in it.
    """
    if not folder.is_dir():
        raise ValueError(f"there is no folder {folder}; check the name")
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
    if not paths:
        raise ValueError(f"no pictures ({', '.join(sorted(SUFFIXES))}) in {folder}")
    return paths
