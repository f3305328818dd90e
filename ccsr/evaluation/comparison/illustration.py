"""Small pictures for the report, kept of the first pictures of each test set.

Of each picture a square is shown at its full resolution: that with the most detail in HR, the same
for all methods. Maps of the standard deviation are whole, reduced, and kept as grey levels of STD,
so that all of them can be coloured on one scale later.
"""

import io
import re
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy.ndimage import laplace, uniform_filter
from skimage.color import rgb2gray

from ccsr.evaluation.comparison.statistics import SeedStatistics
from ccsr.evaluation.comparison.test_set import Pair, Sample
from ccsr.evaluation.heatmap import GREY_LEVELS
from ccsr.images.picture import Size
from ccsr.images.tensors import resize, to_array, to_tensor, to_uint8
from ccsr.whole_file import make_folder, write_whole

FOLDER = "illustrations"
SIDE = 192
"""Of the squares and maps in pixels."""
JPEG_QUALITY = 88
MAP_STEPS = 4
"""Steps of a map in a grey level: values up to 63.75 grey levels are told apart."""


def slug(name: str) -> str:
    """A name as a part of a file name."""
    return re.sub(r"[^\w.+-]+", "-", name)


def folder_of(output: Path, test_set: str, picture: str) -> Path:
    """Where the small pictures of a picture lie."""
    return output / FOLDER / slug(test_set) / picture


class Illustration:
    """The small pictures of one picture.

    Args:
        output: Folder of the comparison.
        sample: The picture.
        pair: Its HR and LR.
    """

    def __init__(self, output: Path, sample: Sample, pair: Pair) -> None:
        self.folder = folder_of(output, sample.test_set, sample.name)
        self.square = detailed_square(pair.hr)
        enlarged = resize(to_tensor(pair.lr.rgb), Size(*pair.hr.shape[:2]))
        self._write("hr.jpg", _jpeg(pair.hr[self.square]))
        self._write("lr.jpg", _jpeg(to_array(enlarged)[self.square]))

    def cut(self, rgb: np.ndarray) -> np.ndarray:
        """The square of a result [H,W,3]; a copy."""
        return rgb[self.square].copy()

    def add(self, method: str, statistics: SeedStatistics, cuts: list[np.ndarray]) -> None:
        """Write the best and the worst seed of a method, and the map.

        Args:
            method: Name of the method.
            statistics: Of all its seeds.
            cuts: The squares of its results, [h,w,3], in the order of the seeds.
        """
        places = statistics.extreme() or {"best": 0}
        for which, place in places.items():
            self._write(f"{slug(method)}-{which}.jpg", _jpeg(cuts[place]))
        if statistics.num_seeds > 1:
            self._write(f"{slug(method)}-std.png", _encoded_map(statistics.pixels.l_std_map))

    def _write(self, name: str, data: bytes) -> None:
        make_folder(self.folder)
        write_whole(self.folder / name, data, overwrite=True)


def detailed_square(hr: np.ndarray) -> tuple[slice, slice]:
    """Rows and columns of the square of hr [H,W,3] with the most detail."""
    height, width = (min(side, SIDE) for side in hr.shape[:2])
    window: Any = (height, width)
    detail = uniform_filter(np.abs(laplace(rgb2gray(hr))), window, mode="constant")
    # Only windows that lie inside; their centres are half a window from the edges.
    inner = detail[height // 2 : hr.shape[0] - (height - 1) // 2,
                   width // 2 : hr.shape[1] - (width - 1) // 2]  # fmt: skip
    top, left = (int(i) for i in np.unravel_index(np.argmax(inner), inner.shape))
    return slice(top, top + height), slice(left, left + width)


def _jpeg(rgb: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(to_uint8(rgb)).save(buffer, "JPEG", quality=JPEG_QUALITY)
    return buffer.getvalue()


def _encoded_map(l_std_map: np.ndarray) -> bytes:
    """A map [H,W] in [0,0.5], reduced to at most SIDE pixels, as a grey PNG."""
    height, width = l_std_map.shape
    factor = min(SIDE / max(height, width), 1)
    size = max(round(width * factor), 1), max(round(height * factor), 1)
    reduced = Image.fromarray(l_std_map.astype(np.float32)).resize(size, Image.Resampling.BOX)
    levels = np.clip(np.round(np.asarray(reduced) * GREY_LEVELS * MAP_STEPS), 0, 255)
    buffer = io.BytesIO()
    Image.fromarray(levels.astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def read_map(path: Path) -> np.ndarray:
    """A map [h,w] in [0,0.5] as it was kept."""
    with Image.open(path) as image:
        return np.asarray(image, np.float64) / (GREY_LEVELS * MAP_STEPS)
