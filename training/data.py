"""Training examples from a folder of pictures.

An example is a pure function of (seed, index). A resumed run therefore gets the examples of an
uninterrupted one, with any number of processes. Pixels are RGB, [3,H,W] float32 in [0,1].
"""

import warnings
from collections import OrderedDict
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset

from ccsr.degradation.chains import Degrade
from ccsr.degradation.draws import generator_for, random_float, random_int
from ccsr.degradation.folder import MAX_HR_PIXELS, picture_paths
from ccsr.images.picture import PictureError, Size
from ccsr.images.reading import load_picture
from ccsr.images.tensors import resize, to_uint8
from training.config import DataConfig

Example = dict[str, torch.Tensor]

MAX_DECODED_BYTES = 2 * 1024**3
"""Of decoded pictures that are kept in memory."""


class PictureFolder:
    """The pictures of a folder and its subfolders that can be trained on, as 8 bit.

    Files that cannot be read or are too small are left out with a warning that names them.

    Args:
        folder: Searched with its subfolders.
        smallest_side: Least length of the shorter side, in pixels. Smaller pictures would have to
            be enlarged, and teach blur.
        max_bytes: Decoded pictures are kept up to this size; the least recently used go first.

    Raises:
        ValueError: If no picture remains.
    """

    def __init__(
        self, folder: Path, smallest_side: int = 1, max_bytes: int = MAX_DECODED_BYTES
    ) -> None:
        self.folder, self.max_bytes = folder, max_bytes
        left_out = {path: _unusable(path, smallest_side) for path in picture_paths(folder)}
        self.paths = [path for path, reason in left_out.items() if reason is None]
        for path, reason in left_out.items():
            if reason is not None:
                warnings.warn(f"{path} is left out: {reason}", stacklevel=2)
        if not self.paths:
            raise ValueError(
                f"none of the {len(left_out)} pictures in {folder} can be trained on; they must be "
                f"readable and have at least {smallest_side} pixels a side"
            )
        self._kept: OrderedDict[int, np.ndarray] = OrderedDict()
        self._broken: set[int] = set()

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> np.ndarray:
        """Picture `index`: [H,W,3] uint8.

        Raises:
            PictureError: If it is damaged where the scan of the folder has not looked.
        """
        if index not in self._kept:
            picture = load_picture(self.paths[index], max_pixels=MAX_HR_PIXELS)
            self._kept[index] = to_uint8(picture.rgb)
        self._kept.move_to_end(index)
        # The latest stays, however large it is.
        while len(self._kept) > 1 and self._kept_bytes() > self.max_bytes:
            self._kept.popitem(last=False)
        return self._kept[index]

    def _kept_bytes(self) -> int:
        return sum(picture.nbytes for picture in self._kept.values())

    def draw(self, generator: torch.Generator) -> np.ndarray:
        """A random picture [H,W,3] uint8; one that proves to be damaged is replaced by another.

        Raises:
            ValueError: If all are damaged.
        """
        while len(self._broken) < len(self):
            index = random_int(generator, 0, len(self) - 1)
            if index in self._broken:
                continue
            try:
                return self[index]
            except PictureError as error:
                warnings.warn(f"{self.paths[index]} is left out: {error}", stacklevel=2)
                self._broken.add(index)
        raise ValueError(f"all pictures in {self.folder} are damaged; give others")


def _unusable(path: Path, smallest_side: int) -> str | None:
    """Why a file cannot be trained on, by its header alone; None if it can."""
    try:
        with Image.open(path) as image:
            width, height = image.size
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return "it is no picture that can be read"
    if min(width, height) < smallest_side:
        return f"it has {width}x{height} pixels, and crops have {smallest_side} a side"
    if width * height > MAX_HR_PIXELS:
        return f"it has {width}x{height} pixels, more than {MAX_HR_PIXELS // 10**6} million"
    return None


class Crops(Dataset[Example]):
    """Random HR crops with random flips and quarter turns: {"hr": [3,P,P] in [0,1]}."""

    def __init__(
        self, pictures: PictureFolder, crop_px: int, data: DataConfig, seed: int, length: int
    ) -> None:
        self.pictures, self.crop_px, self.data = pictures, crop_px, data
        self.seed, self.length = seed, length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Example:
        generator = generator_for(self.seed, index)
        picture = self.pictures.draw(generator)
        hr = random_crop(picture, self.crop_px, self.data.smallest_reduction, generator)
        return {"hr": random_turn(hr, generator)}


def random_crop(
    picture: np.ndarray, crop_px: int, smallest_reduction: float, generator: torch.Generator
) -> torch.Tensor:
    """A random square of picture [H,W,3] uint8, reduced by a random factor -> [3,P,P] in [0,1].

    The factor is uniform in [`smallest_reduction`, 1). A picture with a side below P is enlarged.
    """
    height, width = picture.shape[:2]
    fits = crop_px / min(height, width)
    factor = max(random_float(generator, smallest_reduction, 1.0), fits)
    # Cropped before resizing, so that the cost depends on the crop, not on the picture.
    source = min(round(crop_px / factor), height, width)
    top = random_int(generator, 0, height - source)
    left = random_int(generator, 0, width - source)
    cut = picture[top : top + source, left : left + source]
    x = torch.from_numpy(np.ascontiguousarray(cut)).permute(2, 0, 1).float() / 255
    return x if source == crop_px else resize(x[None], Size(crop_px, crop_px))[0]


def random_turn(x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """One of the eight flips and quarter turns of x [3,P,P], at random."""
    turn = random_int(generator, 0, 7)
    x = torch.rot90(x, turn % 4, (1, 2))
    return x.flip(2) if turn >= 4 else x


class Pairs(Dataset[Example]):
    """HR crops and their degraded LR: {"hr": [3,P,P], "lr": [3,P/scale,P/scale]}, in [0,1]."""

    def __init__(self, crops: Crops, degrade: Degrade) -> None:
        self.crops, self.degrade = crops, degrade

    def __len__(self) -> int:
        return len(self.crops)

    def __getitem__(self, index: int) -> Example:
        hr = self.crops[index]["hr"]
        # The 1 makes this generator another than that of the crop.
        return {"hr": hr, "lr": self.degrade(hr[None], generator_for(self.crops.seed, index, 1))[0]}


def enlarged(lr: torch.Tensor, hr: torch.Tensor) -> torch.Tensor:
    """The networks' input: LR [B,3,h,w], bicubically enlarged to the size of HR [B,3,H,W]."""
    return resize(lr, Size(*hr.shape[2:]))
