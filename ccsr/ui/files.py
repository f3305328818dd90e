"""Files that the page serves.

Each run has its own folder inside Gradio's temporary folder: files there are served without another
copy, and removed by age.
"""

import csv
import io
import os
import shutil
import tempfile
import time
import uuid
import zipfile
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
from gradio.utils import get_upload_folder
from PIL import Image

from ccsr.errors import InputError
from ccsr.images.picture import Picture, PictureError, Size
from ccsr.images.reader_pool import READERS
from ccsr.images.tensors import resize, to_array, to_tensor, to_uint8
from ccsr.images.writing import save_png
from ccsr.whole_file import whole_file, write_whole

IN_USE_SECONDS = 15 * 60
"""Files that were written or looked at within this time are in use."""

FETCH_SECONDS = 10.0
"""Within this time a browser fetches the files of what it is shown."""


def new_folder() -> Path:
    """Make the folder of a run."""
    folder = _runs() / uuid.uuid4().hex
    folder.mkdir(parents=True)
    return folder


def check_upload_folder() -> None:
    """Make the folder of uploads and results.

    Raises:
        InputError: If nothing can be written there.
    """
    folder = Path(get_upload_folder())
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(
            f"uploads and results cannot be written to {folder} ({error.strerror}); let the "
            "variable GRADIO_TEMP_DIR name another folder"
        ) from error


def _runs() -> Path:
    return Path(get_upload_folder()).resolve() / "ccsr"


def use(file: Path) -> None:
    """Note that an upload is in use: its folder is removed the later."""
    # It may be gone, or on a disk that cannot be written to.
    with suppress(OSError):
        os.utime(file.parent)


def make_room(num_bytes: int, max_bytes: int, keep_seconds: float) -> bool:
    """Remove uploads and results: those that are too old, and the longest idle if there is no room.

    Args:
        num_bytes: The room that is needed.
        max_bytes: Of all files together.
        keep_seconds: How long files are kept at most.

    Returns:
        Whether there is room: what is in use stays.
    """
    folder, now = Path(get_upload_folder()), time.time()
    folders = [path for path in (*_subfolders(folder), *_subfolders(_runs())) if path != _runs()]
    idle = sorted((now - _last_used(path), path) for path in folders)
    sizes = {path: _size(path) for path in folders}
    total = sum(sizes.values()) + num_bytes
    while idle and (idle[-1][0] > keep_seconds or total > max_bytes):
        age, oldest = idle.pop()
        if age < IN_USE_SECONDS:
            break
        remove_folder(oldest)
        total -= sizes[oldest]
    return total <= max_bytes


def _subfolders(folder: Path) -> list[Path]:
    try:
        return [path for path in folder.iterdir() if path.is_dir() and not path.is_symlink()]
    except OSError:  # not made yet
        return []


def _last_used(folder: Path) -> float:
    try:
        return folder.stat().st_mtime
    except OSError:  # another thread has removed it
        return 0.0


def _size(folder: Path) -> int:
    total = 0
    with suppress(OSError):  # it is being removed
        for path in folder.rglob("*"):
            total += path.stat().st_size
    return total


def remove_folder(folder: Path | None) -> None:
    """Remove the folder of a run, if there is one."""
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)


def remove_fetched(folders: Iterable[Path]) -> None:
    """Remove folders of what was shown, but those that a browser may still be fetching."""
    for folder in folders:
        if time.time() - _last_used(folder) > FETCH_SECONDS:
            remove_folder(folder)


def remove_files_beside(kept: Collection[Path], folder: Path) -> None:
    """Remove the folder of a run, but keep some files if they are there."""
    if not any(file.parent == folder for file in kept):
        remove_folder(folder)
        return
    for file in folder.iterdir():
        if file not in kept:
            file.unlink(missing_ok=True)


def bicubic(picture: Picture, size: Size) -> Picture:
    """The picture enlarged bicubically, of 8 bits, to compare with."""
    rgb = to_array(resize(to_tensor(picture.visible_rgb), size))
    alpha = None
    if picture.alpha is not None:
        alpha = to_array(resize(to_tensor(np.repeat(picture.alpha[..., None], 3, 2)), size))[..., 0]
        alpha = np.ascontiguousarray(alpha)
    return Picture(rgb, alpha)


def write_bicubic(folder: Path, picture: Picture, size: Size) -> Path:
    """Write the enlarged picture; its path."""
    path = folder / "bicubic.png"
    save_png(path, bicubic(picture, size))
    return path


def write_preview(path: Path, rgb: np.ndarray, alpha: np.ndarray | None = None) -> Path:
    """Write a picture to be shown only, fast rather than small; its path.

    Args:
        path: Of the PNG.
        rgb: [H,W,3], uint8 or in [0,1].
        alpha: [H,W] in [0,1]; None: it is opaque.
    """
    levels = rgb if rgb.dtype == np.uint8 else to_uint8(rgb)
    if alpha is not None:
        levels = np.dstack([levels, to_uint8(alpha)])
    with whole_file(path, overwrite=True) as file:
        Image.fromarray(levels).save(file, "PNG", compress_level=1)
    return path


def write_thumbnail(source: str, max_pixels: int) -> Path | None:
    """Write a small JPEG of a picture in a folder of its own; None if it cannot be read."""
    try:
        levels = READERS.thumbnail(source, max_pixels)
    except PictureError:
        return None
    path = new_folder() / "thumbnail.jpg"
    with whole_file(path) as file:
        Image.fromarray(levels).save(file, "JPEG", quality=85)
    return path


def result_name(source: str, config_scale: float, seed: int) -> str:
    """File name of a result: that of the input, the scale and the seed."""
    return f"{Path(source).stem}_x{config_scale:g}_seed-{seed}.png"


def write_table(path: Path, rows: Sequence[Mapping[str, object]]) -> Path:
    """Write rows of the same columns as CSV."""
    lines = io.StringIO()
    writer = csv.DictWriter(lines, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    write_whole(path, lines.getvalue(), overwrite=True)
    return path


def archive_name(picture: str, what: str) -> str:
    """File name of the ZIP of a tab's results: that of the input, and what it holds."""
    return f"{Path(picture).stem}_{what}.zip"


def distinct(names: Iterable[str]) -> list[str]:
    """The names, those that came before with a number: "a.png", "a-2.png"."""
    taken: dict[str, None] = {}
    for name in names:
        path, number, new = Path(name), 2, name
        while new in taken:
            new, number = f"{path.stem}-{number}{path.suffix}", number + 1
        taken[new] = None
    return list(taken)


def write_zip(path: Path, files: Iterable[Path]) -> Path:
    """Pack files under distinct names; PNGs do not get smaller, so nothing is compressed."""
    packed = list(files)
    with whole_file(path, overwrite=True) as whole, zipfile.ZipFile(whole, "w") as archive:
        for file, name in zip(packed, distinct(file.name for file in packed), strict=True):
            archive.write(file, name)
    return path
