"""Files that the page serves.

Each run has its own folder inside Gradio's temporary folder: files there are served without another
copy, and removed by age.
"""

import shutil
import time
import uuid
import zipfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import numpy as np
from gradio.utils import get_upload_folder
from PIL import Image

from ccsr.images.picture import Picture, Size
from ccsr.images.tensors import resize, to_array, to_tensor, to_uint8
from ccsr.images.writing import save_png
from ccsr.whole_file import whole_file

KEEP_SECONDS = 24 * 3600
"""How long the files of a run are kept."""


def new_folder() -> Path:
    """Make the folder of a run, and remove those older than `KEEP_SECONDS`."""
    runs = Path(get_upload_folder()).resolve() / "ccsr"
    runs.mkdir(parents=True, exist_ok=True)
    for old in runs.iterdir():
        # Another run may be removing it too.
        with suppress(FileNotFoundError):
            if old.stat().st_mtime < time.time() - KEEP_SECONDS:
                remove_folder(old)
    folder = runs / uuid.uuid4().hex
    folder.mkdir()
    return folder


def remove_folder(folder: Path | None) -> None:
    """Remove the folder of a run, if there is one."""
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)


def remove_files_beside(kept: Path | None, folder: Path) -> None:
    """Remove the folder of a run, but keep one file if it is there."""
    if kept is None or kept.parent != folder:
        remove_folder(folder)
        return
    for file in folder.iterdir():
        if file != kept:
            file.unlink(missing_ok=True)


def bicubic(picture: Picture, size: Size) -> Picture:
    """The picture enlarged bicubically, of 8 bits, to compare with."""
    rgb = to_array(resize(to_tensor(picture.rgb), size))
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


def write_preview(path: Path, rgb: np.ndarray) -> Path:
    """Write [H,W,3] uint8 or float in [0,1] to be shown only: fast rather than small."""
    levels = rgb if rgb.dtype == np.uint8 else to_uint8(rgb)
    with whole_file(path, overwrite=True) as file:
        Image.fromarray(levels).save(file, "PNG", compress_level=1)
    return path


def result_name(source: str, config_scale: float, seed: int) -> str:
    """File name of a result: that of the input, the scale and the seed."""
    return f"{Path(source).stem}_x{config_scale:g}_seed-{seed}.png"


def write_zip(path: Path, files: Iterable[Path]) -> Path:
    """Pack files under their names; PNGs do not get smaller, so nothing is compressed."""
    with whole_file(path, overwrite=True) as whole, zipfile.ZipFile(whole, "w") as archive:
        for file in files:
            archive.write(file, file.name)
    return path
