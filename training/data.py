"""Pictures -> training examples.

An example is a pure function of (seed, index), so a run that resumes at step k sees the same
examples as one that never stopped, whatever the number of processes.
"""

import hashlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch.utils.data import Dataset

from ccsr.images.picture import Size
from ccsr.images.reading import load_picture
from ccsr.images.tensors import resize, to_uint8
from training.config import DataConfig

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp"}
MAX_TRAINING_PIXELS = 100_000_000

Example = dict[str, torch.Tensor]
Degrade = Callable[[torch.Tensor, torch.Generator], torch.Tensor]


def generator_for(*key: int) -> torch.Generator:
    """A CPU generator that depends on all numbers of `key` and nothing else."""
    digest = hashlib.sha256(repr(key).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "little"))


def random_int(generator: torch.Generator, low: int, high: int) -> int:
    """Uniform whole number from low to high, both included."""
    return int(torch.randint(low, high + 1, (1,), generator=generator))


def random_float(generator: torch.Generator, low: float, high: float) -> float:
    """Uniform number in [low, high)."""
    return low + (high - low) * float(torch.rand(1, generator=generator))


@dataclass
class PictureFolder:
    """The pictures of a folder, decoded once and kept in memory as 8-bit.

    Raises:
        ValueError: If the folder holds no picture.
    """

    folder: Path

    def __post_init__(self) -> None:
        self.paths = sorted(
            p for p in self.folder.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file()
        )
        if not self.paths:
            raise ValueError(f"no pictures ({', '.join(sorted(SUFFIXES))}) in {self.folder}")
        self._kept: dict[int, np.ndarray] = {}

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> np.ndarray:
        """Picture `index`: [H,W,3] uint8."""
        if index not in self._kept:
            picture = load_picture(self.paths[index], max_pixels=MAX_TRAINING_PIXELS)
            self._kept[index] = to_uint8(picture.rgb)
        return self._kept[index]


class Crops(Dataset[Example]):
    """Random HR crops: {"hr": [3,P,P] in [0,1]}, flipped and turned at random."""

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
    """Cut a square out of picture [H,W,3] uint8, reduced by a random factor -> [3,P,P] in [0,1].

    A picture too small for the square is enlarged to fit.
    """
    height, width = picture.shape[:2]
    fits = crop_px / min(height, width)
    factor = max(random_float(generator, smallest_reduction, 1.0), fits)
    # Cut before resizing: the cost is that of the crop, not of the picture.
    source = min(round(crop_px / factor), height, width)
    top = random_int(generator, 0, height - source)
    left = random_int(generator, 0, width - source)
    cut = picture[top : top + source, left : left + source]
    x = torch.from_numpy(np.ascontiguousarray(cut)).permute(2, 0, 1).float() / 255
    return x if source == crop_px else resize(x[None], Size(crop_px, crop_px))[0]


def random_turn(x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """One of the eight flips and quarter turns of x [3,P,P]."""
    turn = random_int(generator, 0, 7)
    x = torch.rot90(x, turn % 4, (1, 2))
    return x.flip(2) if turn >= 4 else x


class Pairs(Dataset[Example]):
    """HR crops with their degraded LR: {"hr": [3,P,P], "lr_up": [3,P,P]}, both in [0,1].

    `lr_up` is the LR as the model receives it, bicubically enlarged to the size of `hr`.
    """

    def __init__(self, crops: Crops, degrade: Degrade) -> None:
        self.crops, self.degrade = crops, degrade

    def __len__(self) -> int:
        return len(self.crops)

    def __getitem__(self, index: int) -> Example:
        hr = self.crops[index]["hr"]
        # The second number keeps these draws apart from those that chose the crop.
        lr = self.degrade(hr[None], generator_for(self.crops.seed, index, 1))
        return {"hr": hr, "lr_up": resize(lr, Size(*hr.shape[1:]))[0]}


class Stored(Dataset[Example]):
    """Square windows of stored tensors that lie on one grid, such as latents and pixels.

    Raises:
        ValueError: If nothing is stored, not what is wanted, or squares smaller than the window.

    Args:
        folder: Safetensors files of tensors [N,C,h,w]; all h, w a multiple of the smallest.
        keys: Which tensors are wanted; the others stay on disk.
        window: Side of a window on the coarsest grid.
        seed: Example `index` depends on it.
        length: How many examples there are to be.
    """

    def __init__(
        self, folder: Path, keys: Collection[str], window: int, seed: int, length: int
    ) -> None:
        paths = sorted(folder.glob("*.safetensors"))
        if not paths:
            raise ValueError(f"{folder} holds no stored examples; make them first")
        self.tensors = {key: _joined(paths, key) for key in keys}
        self.side = min(t.shape[-1] for t in self.tensors.values())
        if window > self.side:
            raise ValueError(f"{folder} holds squares of {self.side}, smaller than {window}")
        self.window, self.seed, self.length = window, seed, length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Example:
        generator = generator_for(self.seed, index)
        count = len(next(iter(self.tensors.values())))
        item = random_int(generator, 0, count - 1)
        top = random_int(generator, 0, self.side - self.window)
        left = random_int(generator, 0, self.side - self.window)
        return {name: self._cut(t[item], top, left) for name, t in self.tensors.items()}

    def _cut(self, x: torch.Tensor, top: int, left: int) -> torch.Tensor:
        k = x.shape[-1] // self.side
        cut = x[:, top * k : (top + self.window) * k, left * k : (left + self.window) * k]
        return cut.float() / 255 if cut.dtype == torch.uint8 else cut.float()


def _joined(paths: Sequence[Path], key: str) -> torch.Tensor:
    """One tensor of all shards, along the batch."""
    parts = []
    for path in paths:
        with safe_open(path, "pt") as shard:
            try:
                parts.append(shard.get_tensor(key))
            except SafetensorError as error:
                raise ValueError(
                    f"{path} holds no {key!r} but {', '.join(shard.keys())}; make them anew"
                ) from error
    return torch.cat(parts)
