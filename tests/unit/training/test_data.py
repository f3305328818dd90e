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
    pair = Pairs(crops(folder), mixture({"bicubic": 1.0}, 4))[3]
    assert pair["lr"].shape == (3, 16, 16)
    lr_up = enlarged(pair["lr"][None], pair["hr"][None])[0]
    assert pair["hr"].shape == lr_up.shape == (3, 64, 64)
    assert (pair["hr"] - lr_up).abs().mean() < 0.1


def test_folder_without_pictures_is_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no pictures"):
        PictureFolder(tmp_path / "empty")
    with (
        pytest.warns(UserWarning, match="200x150 pixels, and crops have 151 a side"),
        pytest.raises(ValueError, match=r"none of the 2 pictures .* at least 151 pixels a side"),
    ):
        PictureFolder(folder, smallest_side=151)


def test_files_that_cannot_be_trained_on_are_named_and_left_out(folder: Path) -> None:
    whole = (folder / "coffee.png").read_bytes()
    (folder / "cut.png").write_bytes(whole[: len(whole) // 2])
    (folder / "text.png").write_text("not a picture")
    save_png(folder / "small.png", picture_from_array(np.zeros((20, 90, 3), np.uint8)))
    with pytest.warns(UserWarning, match="is left out") as left_out:
        pictures = PictureFolder(folder, smallest_side=64)
    reasons = sorted(str(warning.message) for warning in left_out)
    assert [reason.rpartition("/")[2].partition(" ")[0] for reason in reasons] == [
        "small.png",
        "text.png",
    ]
    # The header of the cut file is whole: it is found out when its pixels are read.
    examples = Crops(pictures, 64, DataConfig(), 0, 100)
    with pytest.warns(UserWarning, match=r"cut\.png is left out") as found:
        first = [examples[i]["hr"] for i in range(20)]
    assert len(found) == 1
    again = Crops(pictures, 64, DataConfig(), 0, 100)
    assert all(torch.equal(a, again[i]["hr"]) for i, a in enumerate(first))


def test_decoded_pictures_are_kept_within_a_limit(folder: Path) -> None:
    one = 150 * 200 * 3
    roomy, tight = PictureFolder(folder, max_bytes=2 * one), PictureFolder(folder, max_bytes=one)
    assert roomy[0] is not roomy[1]
    assert roomy[0] is roomy[0]
    first = tight[0]
    assert tight[0] is first
    _ = tight[1]
    assert tight[0] is not first


@pytest.mark.parametrize("shape", [(64, 64), (40, 90), (500, 300), (8, 8)])
def test_crop_of_any_picture_fills_the_square(shape: tuple[int, int]) -> None:
    picture = np.full((*shape, 3), 77, np.uint8)
    crop = random_crop(picture, 64, 0.5, torch.Generator().manual_seed(0))
    assert crop.shape == (3, 64, 64)
    torch.testing.assert_close(crop, torch.full_like(crop, 77 / 255))
