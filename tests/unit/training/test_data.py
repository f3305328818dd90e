from pathlib import Path

import numpy as np
import pytest
import torch
from skimage import data

from ccsr.degradation.chains import mixture
from ccsr.images.picture import picture_from_array
from ccsr.images.writing import save_png
from training.config import (
    DataConfig,
)
from training.data import Crops, Pairs, PictureFolder, enlarged, random_crop


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("coffee", "chelsea"):
        save_png(tmp_path / f"{name}.png", picture_from_array(getattr(data, name)()[:150, :200]))
    return tmp_path


def crops(folder: Path, seed: int = 0) -> Crops:
    return Crops(PictureFolder(folder), 64, DataConfig(), seed, length=100)


def test_example_depends_on_seed_and_index_alone(folder: Path) -> None:
    first, again, other = crops(folder), crops(folder), crops(folder, seed=1)
    _ = again[5]
    assert torch.equal(first[7]["hr"], again[7]["hr"])
    assert not torch.equal(first[7]["hr"], first[8]["hr"])
    assert not torch.equal(first[7]["hr"], other[7]["hr"])


def test_pairs_hold_the_lr_which_is_enlarged_to_the_size_of_hr(folder: Path) -> None:
    pair = Pairs(crops(folder), mixture("real-esrgan", 1.0, 4))[3]
    assert pair["lr"].shape == (3, 16, 16)
    lr_up = enlarged(pair["lr"][None], pair["hr"][None])[0]
    assert pair["hr"].shape == lr_up.shape == (3, 64, 64)
    assert (pair["hr"] - lr_up).abs().mean() < 0.1


def test_folder_without_pictures_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no pictures"):
        PictureFolder(tmp_path)


@pytest.mark.parametrize("shape", [(64, 64), (40, 90), (500, 300), (8, 8)])
def test_crop_of_any_picture_fills_the_square(shape: tuple[int, int]) -> None:
    picture = np.full((*shape, 3), 77, np.uint8)
    crop = random_crop(picture, 64, 0.5, torch.Generator().manual_seed(0))
    assert crop.shape == (3, 64, 64)
    torch.testing.assert_close(crop, torch.full_like(crop, 77 / 255))
