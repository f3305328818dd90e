"""Training examples from a folder of pictures.

An example is a pure function of (seed, index). A resumed run therefore gets the examples of an
uninterrupted one, with any number of processes. Pixels are RGB, [3,H,W] float32 in [0,1].
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset

from ccsr.degradation.chains import Degrade
from ccsr.degradation.draws import generator_for, random_float, random_int
from ccsr.degradation.folder import MAX_HR_PIXELS, picture_paths
from ccsr.images.picture import Size
from ccsr.images.reading import load_picture
from ccsr.images.tensors import resize, to_uint8
from training.config import DataConfig

Example = dict[str, torch.Tensor]


@dataclass
class PictureFolder:
    """The pictures of a folder and its subfolders, decoded once and kept in memory as 8 bit.

    Raises:
        ValueError: If the folder holds no picture.
    """

    folder: Path

    def __post_init__(self) -> None:
        self.paths = picture_paths(self.folder)
        self._kept: dict[int, np.ndarray] = {}

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> np.ndarray:
        """Picture `index`: [H,W,3] uint8."""
        if index not in self._kept:
            picture = load_picture(self.paths[index], max_pixels=MAX_HR_PIXELS)
            self._kept[index] = to_uint8(picture.rgb)
        return self._kept[index]


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
        picture = self.pictures[random_int(generator, 0, len(self.pictures) - 1)]
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
