"""Which files a command means, and where their results go."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ccsr.batch import (
    Item,
    check_writable,
    find_items,
    is_done,
    record,
    refuse_originals,
)
from ccsr.evaluation.report import SETTINGS_KEY
from ccsr.images.picture import Picture
from ccsr.images.reading import load_picture
from ccsr.images.writing import save_png
from ccsr.inference.estimate_cache import digest
from ccsr.whole_file import WriteError


def picture(path: Path, shade: int = 100) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (20, 20), (shade, 0, 0)).save(path, "PNG")
    return path


def names(items: list[Item], folder: Path) -> dict[str, str]:
    return {item.source.name: item.output.relative_to(folder).as_posix() for item in items}


def test_files_and_folders_are_taken_by_content(tmp_path: Path) -> None:
    """`.jfif` was once left out, as by a list of endings."""
    folder, out = tmp_path / "in", tmp_path / "out"
    for name in ("a.png", "b.jfif", "c", ".hidden.png", "sub/d.png"):
        picture(folder / name)
    (folder / "notes.txt").write_text("not a picture")
    (folder / "broken.JPG").write_bytes(b"")
    found = names(find_items([folder, picture(tmp_path / "e.bmp")], out), out)
    assert found == {
        "a.png": "a.png",
        "b.jfif": "b.png",
        "broken.JPG": "broken.png",
        "c": "c.png",
        "e.bmp": "e.png",
    }


def test_subfolders_are_mirrored(tmp_path: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    for name in ("a.png", "x/a.png", "x/y/b.jpg"):
        picture(folder / name)
    (folder / "x" / "loop").symlink_to(folder)
    items = find_items([folder], out, recursive=True)
    assert sorted(item.output.relative_to(out).as_posix() for item in items) == [
        "a.png",
        "x/a.png",
        "x/y/b.png",
    ]


def test_names_that_differ_by_their_endings_stay_apart(tmp_path: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    for name in ("a.jpg", "a.png", "b.png"):
        picture(folder / name)
    found = names(find_items([folder], out), out)
    assert found == {"a.jpg": "a_jpg.png", "a.png": "a_png.png", "b.png": "b.png"}


def test_equal_names_of_two_folders_are_refused(tmp_path: Path) -> None:
    one, two = picture(tmp_path / "x" / "a.png"), picture(tmp_path / "y" / "a.png")
    with pytest.raises(ValueError, match="would both become"):
        find_items([one, two], tmp_path / "out")
    assert len(find_items([one, one], tmp_path / "out")) == 1


def test_results_inside_the_searched_folder_are_no_pictures_of_it(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    picture(tmp_path / "results" / "a.png")
    items = find_items([tmp_path], tmp_path / "results", recursive=True)
    assert [item.source for item in items] == [tmp_path / "a.png"]


def test_an_original_is_never_replaced(tmp_path: Path) -> None:
    path = picture(tmp_path / "a.png")
    with pytest.raises(ValueError, match="would be replaced by a result"):
        find_items([path], tmp_path)
    link = tmp_path / "link"
    link.symlink_to(tmp_path)
    with pytest.raises(ValueError, match="would be replaced by a result"):
        find_items([path], link)
    with pytest.raises(ValueError, match="would be replaced by a result"):
        refuse_originals([None, path], [tmp_path / "b.png", tmp_path / "." / "a.png"])
    # A JPEG beside its result is none of it.
    assert find_items([picture(tmp_path / "b.jpg")], tmp_path)[0].output == tmp_path / "b.png"


@pytest.mark.parametrize(("recursive", "message"), [(False, "--recursive"), (True, "no pictures")])
def test_a_folder_without_pictures_is_named(tmp_path: Path, recursive: bool, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        find_items([tmp_path], tmp_path / "out", recursive=recursive)
    with pytest.raises(ValueError, match="no file or folder"):
        find_items([tmp_path / "none"], tmp_path / "out")


def test_a_folder_that_cannot_be_written_to_is_told(tmp_path: Path) -> None:
    check_writable(tmp_path / "new" / "folder")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / ".left by a kill.part").write_text("half")
    os.utime(tmp_path / ".left by a kill.part", (0, 0))
    check_writable(tmp_path)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("in the way")
    for folder in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/none")):
        with pytest.raises(WriteError, match=r"cannot be written to.*another folder"):
            check_writable(folder)


def test_a_result_is_done_if_picture_and_settings_are_the_same(tmp_path: Path) -> None:
    item = Item(picture(tmp_path / "a.png"), tmp_path / "out.png")
    settings = {SETTINGS_KEY: json.dumps({"seed": 0, "t_max": 0.5})}
    assert not is_done(item, settings)
    texts = record(settings, digest(load_picture(item.source)))
    save_png(item.output, Picture(np.zeros((80, 80, 3), np.float32)), texts)
    assert is_done(item, {SETTINGS_KEY: '{"t_max": 0.5, "seed": 0}'})
    assert not is_done(item, {SETTINGS_KEY: '{"t_max": 0.6, "seed": 0}'})
    picture(item.source, shade=101)
    assert not is_done(item, settings)
    nested = {SETTINGS_KEY: "[" * 100_000}
    save_png(item.output, Picture(np.zeros((80, 80, 3), np.float32)), nested, overwrite=True)
    assert not is_done(item, settings)
    item.output.write_bytes(item.output.read_bytes()[:100])
    assert not is_done(item, settings)
