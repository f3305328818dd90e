"""Test sets: HR pictures and their LR, from a folder or made by a degradation."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ccsr.config import DegradationModel
from ccsr.degradation.draws import generator_for
from ccsr.degradation.folder import MAX_HR_PIXELS, file_names, picture_paths
from ccsr.degradation.models import draw
from ccsr.errors import InputError
from ccsr.images.picture import Picture, PictureError, Size, picture_from_array
from ccsr.images.reading import load_picture, read_size
from ccsr.images.tensors import to_array, to_tensor, to_uint8

DEGRADATION_SEED = 0
"""With the number of a picture it fixes how the picture is degraded."""


@dataclass(frozen=True)
class Pair:
    """An HR picture and its LR."""

    hr: np.ndarray
    """[H,W,3] float32 in [0,1], whole multiples of the scale."""
    lr: Picture


@dataclass(frozen=True)
class Sample:
    """A pair of a test set, which is read when it is needed."""

    test_set: str
    index: int
    """In the sorted folder."""
    name: str
    """Path below the folder of HR pictures, without the suffix."""
    hr_path: Path
    lr_source: Path | DegradationModel
    """A file, or the degradation that makes it of HR."""
    scale: int

    def load(self) -> Pair:
        """Read both pictures.

        Raises:
            PictureError: If one cannot be read, or their sizes do not fit together.
        """
        hr = load_picture(self.hr_path, max_pixels=MAX_HR_PIXELS).visible_rgb
        height, width = (side // self.scale * self.scale for side in hr.shape[:2])
        hr = np.ascontiguousarray(hr[:height, :width])
        if isinstance(self.lr_source, Path):
            lr = load_picture(self.lr_source)
            check_sizes(self.hr_path, Size(*hr.shape[:2]), self.lr_source, lr.size, self.scale)
            return Pair(hr, lr)
        generator = generator_for(DEGRADATION_SEED, self.index)
        degraded = draw(self.lr_source, self.scale, generator).apply(to_tensor(hr))
        return Pair(hr, picture_from_array(to_uint8(to_array(degraded))))


@dataclass(frozen=True)
class Dataset:
    """Pairs under one name."""

    name: str
    hr_folder: Path
    lr_source: Path | DegradationModel
    scale: int
    limit: int | None = None
    """Only so many, the first in the order of their names."""

    @property
    def is_bicubic(self) -> bool:
        """Whether LR is the bicubic reduction of HR."""
        return self.lr_source == "bicubic"

    def samples(self) -> Iterator[Sample]:
        """The pairs in the order of their names.

        Raises:
            InputError: If a folder has no pictures, two HR pictures have one name, or an LR picture
                is missing.
        """
        hr_paths = picture_paths(self.hr_folder)[: self.limit]
        for index, path in enumerate(hr_paths):
            name = path.relative_to(self.hr_folder).with_suffix("").as_posix()
            lr_source = self.lr_source
            if isinstance(lr_source, Path):
                lr_source = file_named(lr_source, name)
            yield Sample(self.name, index, name, path, lr_source, self.scale)

    def check(self) -> list[Sample]:
        """The pairs, after a look at their names and sizes.

        Raises:
            InputError: If names or sizes of HR and LR do not fit together.
        """
        samples = list(self.samples())
        _refuse_equal_names(samples)
        for sample in samples:
            sizes = [size_of(p) for p in (sample.hr_path, sample.lr_source) if isinstance(p, Path)]
            if len(sizes) == 2 and sizes[0] and sizes[1] and isinstance(sample.lr_source, Path):
                check_sizes(sample.hr_path, sizes[0], sample.lr_source, sizes[1], self.scale)
        return samples


def _refuse_equal_names(samples: Sequence[Sample]) -> None:
    seen: dict[str, Path] = {}
    for sample in samples:
        if sample.name in seen:
            raise InputError(
                f"{seen[sample.name]} and {sample.hr_path} have the same name but for their "
                "suffix; rename one"
            )
        seen[sample.name] = sample.hr_path


def file_named(folder: Path, name: str) -> Path:
    """The picture of a folder whose path below it, without the suffix, is `name`.

    Raises:
        InputError: If there is none.
    """
    for path in (folder / file for file in file_names(name)):
        if path.is_file():
            return path
    raise InputError(f"{folder} has no picture called {name}; names must be those of the HR folder")


def check_sizes(hr_path: Path, hr: Size, lr_path: Path, lr: Size, scale: int) -> None:
    """Check that an LR picture is 1/`scale` of its HR picture.

    Raises:
        PictureError: If it is not.
    """
    if Size(hr.height // scale, hr.width // scale) != lr:
        raise PictureError(
            f"{lr_path} is {lr} pixels and {hr_path} is {hr}; LR must be 1/{scale} of HR on each "
            "side, or set --scale"
        )


def size_of(path: Path) -> Size | None:
    """Size of a picture, turned upright, without decoding it; None if it cannot be read.

    Such a picture fails when its turn comes, so that the others count.
    """
    try:
        return read_size(path)
    except PictureError:
        return None
