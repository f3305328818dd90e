from pathlib import Path

import numpy as np
import pytest
import torch
from skimage import data

from ccsr.degradation.models import mixture
from ccsr.images.picture import picture_from_array
from ccsr.images.writing import save_png
from training.config import (
    DataConfig,
)
from training.data import Crops, Pairs, Pictures, enlarged, random_crop
from training.sources import Source, digest_of, source_of


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("coffee", "chelsea"):
        save_png(tmp_path / f"{name}.png", picture_from_array(getattr(data, name)()[:150, :200]))
    return tmp_path


def crops(folder: Path, seed: int = 0) -> Crops:
    return Crops(Pictures([Source(folder)]), 64, DataConfig(), seed, length=100)


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
        Pictures([Source(tmp_path / "empty")])
    with (
        pytest.warns(UserWarning, match="200x150 pixels, and crops have 151 a side"),
        pytest.raises(
            ValueError,
            match=r"none of the pictures .* 151 pixels a side \(chelsea.png: it has 200x150 pixels",
        ),
    ):
        Pictures([Source(folder)], smallest_side=151)


def test_files_that_cannot_be_trained_on_are_named_and_left_out(folder: Path) -> None:
    whole = (folder / "coffee.png").read_bytes()
    (folder / "cut.png").write_bytes(whole[: len(whole) // 2])
    (folder / "text.png").write_text("not a picture")
    save_png(folder / "small.png", picture_from_array(np.zeros((20, 90, 3), np.uint8)))
    with pytest.warns(UserWarning, match="is left out") as left_out:
        pictures = Pictures([Source(folder)], smallest_side=64)
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
    roomy, tight = (Pictures([Source(folder)], max_bytes=n * one) for n in (2, 1))
    a, b = (picture.hr for picture in roomy.pictures)
    assert roomy.read(a) is not roomy.read(b)
    assert roomy.read(a) is roomy.read(a)
    first = tight.read(a)
    assert tight.read(a) is first
    tight.read(b)
    assert tight.read(a) is not first


@pytest.mark.parametrize("shape", [(64, 64), (40, 90), (500, 300), (8, 8)])
def test_crop_of_any_picture_fills_the_square(shape: tuple[int, int]) -> None:
    picture = np.full((*shape, 3), 77, np.uint8)
    crop = random_crop(picture, 64, 0.5, torch.Generator().manual_seed(0))
    assert crop.shape == (3, 64, 64)
    torch.testing.assert_close(crop, torch.full_like(crop, 77 / 255))


def test_linked_folders_and_lists_are_sources_too(folder: Path, tmp_path: Path) -> None:
    outer = tmp_path / "outer"
    outer.mkdir()
    (outer / "linked").symlink_to(folder)
    (outer / "around").symlink_to(outer)
    list_ = tmp_path / "list.txt"
    list_.write_text("chelsea.png\n\ncoffee.png\n")
    names = [[p.name for p in Source(path).pictures()] for path in (outer, list_)]
    # `outer` lies in `folder`, which holds the pictures and the link to itself.
    assert names == [["linked/chelsea.png", "linked/coffee.png"], ["chelsea.png", "coffee.png"]]
    list_.write_text("gone.png")
    with pytest.raises(ValueError, match=r"no file gone.png, which is in the list"):
        Source(list_).pictures()


def test_weight_of_a_source_is_that_of_its_pictures(folder: Path) -> None:
    (folder / "more").mkdir()
    save_png(folder / "more" / "a.png", picture_from_array(np.zeros((70, 70, 3), np.uint8)))
    heavy, light = source_of(f"{folder / 'more'}=6"), source_of(str(folder))
    pictures = Pictures([heavy, light])
    generator = torch.Generator().manual_seed(0)
    black = [pictures.draw(generator)[0].max() == 0 for _ in range(400)]
    # Of weights 6, and 1 for each of the three in the folder around it.
    assert np.mean(black) == pytest.approx(7 / 9, abs=0.06)
    with pytest.raises(ValueError, match="must be a number above 0, got '-1'"):
        source_of(f"{folder}=-1")


def test_pairs_of_folders_are_cropped_at_the_same_place(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    for name, array in (("lr", pixels), ("hr", pixels.repeat(4, 0).repeat(4, 1))):
        (tmp_path / name).mkdir()
        save_png(tmp_path / name / "a.png", picture_from_array(array))
    source = Source(tmp_path / "hr", lr=tmp_path / "lr")
    pairs = Pairs(
        Crops(Pictures([source], 64), 64, DataConfig(), 0, 10), mixture({"bicubic": 1}, 4)
    )
    firsts = set()
    for index in range(10):
        pair = pairs[index]
        assert torch.equal(pair["hr"][:, ::4, ::4], pair["lr"])
        firsts.add(float(pair["lr"][0, 0, 0]))
    assert len(firsts) > 5
    save_png(tmp_path / "lr" / "a.png", picture_from_array(pixels[:20]), overwrite=True)
    with (
        pytest.warns(UserWarning, match="160x120 pixels, not 4 times the 40x20 of"),
        pytest.raises(ValueError, match="none of the pictures"),
    ):
        Pictures([source])


def test_digest_of_sources_tells_other_pictures(folder: Path) -> None:
    before = digest_of([Source(folder)])
    assert digest_of([Source(folder)]) == before
    assert digest_of([Source(folder, weight=2)]) != before
    (folder / "coffee.png").write_bytes((folder / "chelsea.png").read_bytes())
    assert digest_of([Source(folder)]) != before
