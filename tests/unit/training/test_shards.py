"""Pictures in tar files, as a source beside folders."""

import io
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from skimage import data
from torch.utils.data import DataLoader

from ccsr.images.picture import picture_from_array
from ccsr.images.writing import save_png
from training.config import DataConfig
from training.data import Crops, Pictures
from training.sources import Source, digest_of, source_of


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    (folder / "below").mkdir(parents=True)
    for name in ("a", "below/b", "c"):
        pixels = np.random.default_rng(len(name)).integers(0, 256, (80, 90, 3), dtype=np.uint8)
        pixels[20:60, 20:60] = data.coffee()[:40, :40]
        save_png(folder / f"{name}.png", picture_from_array(pixels))
    # One that Pillow does not read.
    deep = np.random.default_rng(0).random((80, 90, 3), np.float32)
    tifffile.imwrite(folder / "d.tif", deep, photometric="rgb")
    (folder / "a.json").write_text("{}")
    return folder


def packed(folder: Path, *options: str) -> Path:
    """A shard as the documentation says to make one."""
    shard = folder.parent / "pictures-0.tar"
    names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    subprocess.run(["tar", "-cf", str(shard), *options, "-C", str(folder), *names], check=True)
    return shard


def examples(path: Path, workers: int = 0, lr: Path | None = None) -> list[torch.Tensor]:
    crops = Crops(Pictures([Source(path, lr=lr)], 64), 64, DataConfig(), seed=3, length=9)
    return [batch["hr"] for batch in DataLoader(crops, batch_size=3, num_workers=workers)]


@pytest.mark.skipif(sys.platform == "win32", reason="tar is another program")
@pytest.mark.parametrize("layout", ["gnu", "pax", "ustar"])
def test_a_shard_gives_the_examples_of_the_folder_that_it_was_made_of(
    folder: Path, layout: str
) -> None:
    shard = packed(folder, f"--format={layout}")
    expected = examples(folder)
    assert all(map(torch.equal, examples(shard), expected))
    assert digest_of([Source(shard)]) == digest_of([Source(folder)])


def test_a_shard_gives_the_same_examples_to_any_number_of_workers(folder: Path) -> None:
    shard = packed(folder)
    assert all(map(torch.equal, examples(shard, workers=2), examples(shard)))


def test_a_list_names_shards_and_pictures(folder: Path) -> None:
    packed(folder)
    list_ = folder.parent / "list.txt"
    list_.write_text("pictures-0.tar\npictures/c.png\n")
    pictures = source_of(f"{list_}=2").pictures()
    inside = ("a.png", "below/b.png", "c.png", "d.tif")
    names = [f"pictures-0.tar/{name}" for name in inside]
    assert [p.name for p in pictures] == [*names, "pictures/c.png"]
    assert {p.weight for p in pictures} == {2}


def test_pairs_may_be_two_shards(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    shards: list[Path] = []
    for name, array in (("hr", pixels.repeat(4, 0).repeat(4, 1)), ("lr", pixels)):
        (tmp_path / name).mkdir()
        save_png(tmp_path / name / "a.png", picture_from_array(array))
        shards.append(packed(tmp_path / name).rename(tmp_path / f"{name}.tar"))
    hr, lr = shards
    crops = Crops(Pictures([Source(hr, lr=lr)], 64), 64, DataConfig(), 0, 1)
    x, reduced = crops.pair(0)
    assert reduced is not None
    assert torch.equal(x[:, ::4, ::4], reduced)


def left_out_of(shard: Path, smallest_side: int = 64) -> dict[str, str]:
    with pytest.warns(UserWarning, match="is left out") as told:
        pictures = Pictures([Source(shard)], smallest_side)
    found = {str(file).removeprefix(str(shard)): why for file, why in pictures.left_out.items()}
    assert len(told) == len(found)
    assert len(pictures) > 0
    return found


def test_members_that_cannot_be_trained_on_are_named_and_left_out(folder: Path) -> None:
    save_png(folder / "small.png", picture_from_array(np.zeros((20, 90, 3), np.uint8)))
    (folder / "text.png").write_text("no picture")
    (folder / "link.png").symlink_to(folder / "a.png")
    found = left_out_of(packed(folder))
    assert found["/small.png"].startswith("it has 90x20 pixels")
    assert found["/text.png"] == "it is no picture that can be read"
    assert found["/link.png"] == "it is a link or has holes; add --dereference to tar"
    assert len(found) == 3


@pytest.mark.parametrize("place", ["data", "header", "between"])
def test_what_is_whole_in_a_damaged_shard_is_used(folder: Path, place: str) -> None:
    shard = packed(folder)
    with tarfile.open(shard) as tar:
        b, c = tar.getmember("below/b.png"), tar.getmember("c.png")
    if place == "data":
        os.truncate(shard, c.offset_data + 100)
    elif place == "header":
        os.truncate(shard, c.offset + 100)
    else:
        content = bytearray(shard.read_bytes())
        content[c.offset : c.offset + 512] = b"\xff" * 512
        shard.write_bytes(content)
    found = left_out_of(shard)
    last = c if place == "data" else b
    expected = {"": f"nothing behind {last.name} can be read"}
    expected |= {"/c.png": "its end is missing"} if place == "data" else {}
    assert found == expected


def test_what_is_no_shard_beside_others_is_named(folder: Path) -> None:
    packed(folder)
    (folder.parent / "broken.tar").write_bytes(b"\x01" * 2000)
    list_ = folder.parent / "list.txt"
    list_.write_text("broken.tar\npictures-0.tar\n")
    with pytest.warns(UserWarning, match=r"broken\.tar is left out: it is no tar file"):
        assert len(Pictures([Source(list_)])) == 4
    with (
        pytest.warns(UserWarning, match="is left out"),
        pytest.raises(
            ValueError,
            match=r"none of the pictures in .*broken.tar .*\(broken.tar: it is no tar file\)",
        ),
    ):
        Pictures([Source(folder.parent / "broken.tar")])


def test_a_fault_of_the_program_is_not_called_damage(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shard = packed(folder)
    monkeypatch.delattr("training.shards.SUFFIXES")
    with pytest.raises(NameError):
        Source(shard).pictures()


@pytest.mark.parametrize("kind", ["gz", "bz2", "xz"])
@pytest.mark.parametrize("name", ["shard.tar", "shard.tar.{}"])
def test_compressed_shards_are_refused(tmp_path: Path, kind: str, name: str) -> None:
    shard = tmp_path / name.format(kind)
    with tarfile.open(shard, f"w:{kind}") as tar:  # type: ignore[call-overload]
        tar.addfile(tarfile.TarInfo("a.png"), io.BytesIO())
    with pytest.raises(ValueError, match=r"is compressed, .* make the shard by tar -cf"):
        Source(shard).pictures()


def test_a_shard_without_pictures_and_a_folder_of_shards_are_refused(folder: Path) -> None:
    shard = folder.parent / "text.tar"
    with tarfile.open(shard, "w") as tar:
        tar.add(folder / "a.json", "a.json")
    with pytest.raises(ValueError, match=r"no pictures \(.*\) in .*text\.tar"):
        Source(shard).pictures()
    (folder.parent / "shards").mkdir()
    shard.rename(folder.parent / "shards" / "text.tar")
    with pytest.raises(ValueError, match=r"its shards are given by name: .*shards/\*\.tar"):
        Source(folder.parent / "shards").pictures()


def test_a_shard_that_is_changed_is_scanned_again(folder: Path) -> None:
    shard = packed(folder)
    before = digest_of([Source(shard)])
    (folder / "c.png").unlink()
    packed(folder)
    assert digest_of([Source(shard)]) != before
    shard.unlink()
    with pytest.raises(ValueError, match="there is no folder"):
        Source(shard).pictures()
