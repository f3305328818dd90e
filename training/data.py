"""Training examples from pictures.

An example is a pure function of (seed, index). A resumed run therefore gets the examples of an
uninterrupted one, with any number of processes. Pixels are RGB, [3,H,W] float32 in [0,1].
"""

import warnings
from collections import OrderedDict
from collections.abc import Sequence

import numpy as np
import torch
from torch.utils.data import Dataset, get_worker_info

from ccsr.degradation.draws import generator_for, random_float, random_int
from ccsr.degradation.folder import MAX_HR_PIXELS
from ccsr.degradation.models import Degrade
from ccsr.errors import InputError
from ccsr.images.picture import PictureError, Size
from ccsr.images.reading import load_picture, read_size
from ccsr.images.tensors import resize, to_uint8
from training.config import DataConfig
from training.picture_file import PictureFile
from training.sources import Source, TrainingPicture

Example = dict[str, torch.Tensor]

MAX_DECODED_BYTES = 2 * 1024**3
"""Of decoded pictures that are kept in memory."""


class Pictures:
    """The pictures of some sources that can be trained on, as 8 bit.

    Files that cannot be read or are too small are left out with a warning that names them.

    Args:
        sources: Where they are.
        smallest_side: Least length of the shorter side, in pixels. Smaller pictures would have to
            be enlarged, and teach blur.
        scale: Of pictures that have an LR version: pixels of HR per pixel of LR on each side.
        max_bytes: Decoded pictures are kept up to this size by all workers of a `DataLoader`
            together; the least recently used go first.

    Raises:
        InputError: If no picture remains.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        smallest_side: int = 1,
        scale: int = 4,
        max_bytes: int = MAX_DECODED_BYTES,
    ) -> None:
        self.max_bytes = max_bytes
        self.pictures, self.left_out = usable_pictures(sources, smallest_side, scale)
        for file, reason in self.left_out.items():
            warnings.warn(f"{file} is left out: {reason}", stacklevel=2)
        if not self.pictures:
            where = ", ".join(str(source.path) for source in sources)
            file, reason = next(iter(self.left_out.items()))
            raise InputError(
                f"none of the pictures in {where} can be trained on; they must be readable and "
                f"have at least {smallest_side} pixels a side ({file.name}: {reason})"
            )
        weights = torch.tensor([picture.weight for picture in self.pictures])
        self._weights = None if bool((weights == weights[0]).all()) else weights
        self._kept: OrderedDict[PictureFile, np.ndarray] = OrderedDict()
        self._broken: set[int] = set()

    def __len__(self) -> int:
        return len(self.pictures)

    def read(self, file: PictureFile) -> np.ndarray:
        """A picture [H,W,3] uint8, from memory if it was read lately.

        Raises:
            PictureError: If it is damaged where the scan of the sources has not looked.
        """
        if file not in self._kept:
            with file.opened() as stored:
                self._kept[file] = to_uint8(load_picture(stored, max_pixels=MAX_HR_PIXELS).rgb)
        self._kept.move_to_end(file)
        worker = get_worker_info()
        limit = self.max_bytes // (1 if worker is None else worker.num_workers)
        # The latest stays, however large it is.
        while len(self._kept) > 1 and sum(x.nbytes for x in self._kept.values()) > limit:
            self._kept.popitem(last=False)
        return self._kept[file]

    def draw(self, generator: torch.Generator) -> tuple[np.ndarray, np.ndarray | None]:
        """A random picture and, if it has one, its LR version: [H,W,3] uint8.

        One that proves to be damaged is replaced by another.

        Raises:
            InputError: If all are damaged.
        """
        while len(self._broken) < len(self):
            index = self._draw_index(generator)
            if index in self._broken:
                continue
            picture = self.pictures[index]
            try:
                hr = self.read(picture.hr)
                return hr, None if picture.lr is None else self.read(picture.lr)
            except PictureError as error:
                warnings.warn(f"{picture.hr} is left out: {error}", stacklevel=2)
                self._broken.add(index)
        raise InputError(f"all {len(self)} pictures are damaged; give others")

    def _draw_index(self, generator: torch.Generator) -> int:
        if self._weights is None:
            return random_int(generator, 0, len(self) - 1)
        return int(torch.multinomial(self._weights, 1, generator=generator))


def usable_pictures(
    sources: Sequence[Source], smallest_side: int, scale: int
) -> tuple[list[TrainingPicture], dict[PictureFile, str]]:
    """The pictures of some sources that can be trained on, and why the others cannot.

    Args:
        sources: Where they are.
        smallest_side: As of `Pictures`.
        scale: As of `Pictures`.
    """
    found = [picture for source in sources for picture in source.pictures()]
    left_out = {file: reason for source in sources for file, reason in source.faults().items()}
    for picture in found:
        if (reason := _unusable(picture, smallest_side, scale)) is not None:
            left_out[picture.hr] = reason
    return [picture for picture in found if picture.hr not in left_out], left_out


def _unusable(picture: TrainingPicture, smallest_side: int, scale: int) -> str | None:
    """Why a picture cannot be trained on, by its header alone; None if it can."""
    size = _size_of(picture.hr)
    if size is None:
        return "it is no picture that can be read"
    if min(size) < smallest_side:
        return f"it has {size.width}x{size.height} pixels, and crops have {smallest_side} a side"
    if size.width * size.height > MAX_HR_PIXELS:
        return (
            f"it has {size.width}x{size.height} pixels, more than {MAX_HR_PIXELS // 10**6} million"
        )
    if picture.lr is not None:
        lr = _size_of(picture.lr)
        if lr is None:
            return f"{picture.lr} is no picture that can be read"
        if (lr.height * scale, lr.width * scale) != tuple(size):
            return (
                f"it has {size.width}x{size.height} pixels, not {scale} times the "
                f"{lr.width}x{lr.height} of {picture.lr}"
            )
    return None


def _size_of(file: PictureFile) -> Size | None:
    """Size of a picture by its header; None if it cannot be read."""
    try:
        with file.opened() as stored:
            return read_size(stored)
    except PictureError:
        return None


class Crops(Dataset[Example]):
    """Random HR crops with random flips and quarter turns: {"hr": [3,P,P] in [0,1]}."""

    def __init__(
        self, pictures: Pictures, crop_px: int, data: DataConfig, seed: int, length: int
    ) -> None:
        self.pictures, self.crop_px, self.data = pictures, crop_px, data
        self.seed, self.length = seed, length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Example:
        return {"hr": self.pair(index)[0]}

    def pair(self, index: int) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Crop `index` [3,P,P], and the same place of its LR version [3,P/scale,P/scale]."""
        generator = generator_for(self.seed, index)
        hr, lr = self.pictures.draw(generator)
        if lr is None:
            crop = random_crop(hr, self.crop_px, self.data.smallest_reduction, generator)
            return turned(crop, random_int(generator, 0, 7)), None
        side, scale = self.crop_px // self.data.scale, self.data.scale
        top, left = (random_int(generator, 0, length - side) for length in lr.shape[:2])
        turn = random_int(generator, 0, 7)
        crops = (
            square(hr, scale * top, scale * left, scale * side),
            square(lr, top, left, side),
        )
        hr_crop, lr_crop = (turned(crop, turn) for crop in crops)
        return hr_crop, lr_crop


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
    x = square(picture, top, left, source)
    return x if source == crop_px else resize(x[None], Size(crop_px, crop_px))[0]


def square(picture: np.ndarray, top: int, left: int, side: int) -> torch.Tensor:
    """A square of picture [H,W,3] uint8 -> [3,side,side] in [0,1]."""
    cut = picture[top : top + side, left : left + side]
    return torch.from_numpy(np.ascontiguousarray(cut)).permute(2, 0, 1).float() / 255


def turned(x: torch.Tensor, turn: int) -> torch.Tensor:
    """One of the eight flips and quarter turns of x [3,P,P], by a number from 0 to 7."""
    x = torch.rot90(x, turn % 4, (1, 2))
    return x.flip(2) if turn >= 4 else x


class Pairs(Dataset[Example]):
    """HR crops and their LR: {"hr": [3,P,P], "lr": [3,P/scale,P/scale]}, in [0,1].

    LR is that of the source, or else HR degraded.
    """

    def __init__(self, crops: Crops, degrade: Degrade) -> None:
        self.crops, self.degrade = crops, degrade

    def __len__(self) -> int:
        return len(self.crops)

    def __getitem__(self, index: int) -> Example:
        return self.degraded(index, *self.crops.pair(index))

    def degraded(self, index: int, hr: torch.Tensor, lr: torch.Tensor | None) -> Example:
        """The example of a crop, which is degraded if it has no LR version."""
        if lr is None:
            # The 1 makes this generator another than that of the crop.
            lr = self.degrade(hr[None], generator_for(self.crops.seed, index, 1))[0]
        return {"hr": hr, "lr": lr}


def enlarged(lr: torch.Tensor, hr: torch.Tensor) -> torch.Tensor:
    """The networks' input: LR [B,3,h,w], bicubically enlarged to the size of HR [B,3,H,W]."""
    return resize(lr, Size(*hr.shape[2:]))
