import os
import time
from pathlib import Path

import numpy as np
import pytest

from ccsr.images.picture import Picture, Size
from ccsr.ui import files


def test_the_bicubic_enlargement_keeps_transparency() -> None:
    rgb = np.full((20, 30, 3), 0.5, np.float32)
    alpha = np.zeros((20, 30), np.float32)
    alpha[:, 15:] = 1
    enlarged = files.bicubic(Picture(rgb, alpha, bits=16), Size(40, 60))
    assert enlarged.size == (40, 60)
    assert enlarged.alpha is not None
    assert enlarged.alpha[:, :20].max() < 0.01
    assert enlarged.alpha[:, 40:].min() > 0.99


MEGABYTE = 10**6


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of uploads and results."""
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    return tmp_path


def of_age(folder: Path, seconds: float) -> Path:
    """Fill a folder with a megabyte that was last used so long ago."""
    folder.mkdir(exist_ok=True)
    (folder / "a.png").write_bytes(bytes(MEGABYTE))
    when = time.time() - seconds
    os.utime(folder, (when, when))
    return folder


def test_old_files_are_removed(folder: Path) -> None:
    old, recent = of_age(files.new_folder(), 2 * 3600), of_age(files.new_folder(), 1800)
    old_upload = of_age(folder / "upload", 2 * 3600)
    assert files.make_room(0, 100 * MEGABYTE, 3600)
    assert not old.exists()
    assert not old_upload.exists()
    assert recent.exists()


def test_room_is_made_of_what_was_idle_longest(folder: Path) -> None:
    longest, long = of_age(folder / "a", 9000), of_age(files.new_folder(), 8000)
    used = of_age(folder / "b", 9500)
    files.use(used / "a.png")
    assert files.make_room(MEGABYTE, 3 * MEGABYTE, 10_000)
    assert (longest.exists(), long.exists(), used.exists()) == (False, True, True)


def test_what_is_in_use_stays_though_there_is_no_room(folder: Path) -> None:
    used = of_age(folder / "a", 60)
    assert not files.make_room(MEGABYTE, MEGABYTE, 10)
    assert used.exists()


def test_a_folder_that_cannot_be_written_to_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "file" / "folder"))
    with pytest.raises(ValueError, match=r"cannot be written to .* GRADIO_TEMP_DIR"):
        files.check_upload_folder()


def test_names_that_come_again_get_a_number() -> None:
    names = ["a.png", "b.png", "a.png", "a-2.png", "a.png", "a"]
    assert files.distinct(names) == ["a.png", "b.png", "a-2.png", "a-2-2.png", "a-3.png", "a"]


def test_what_a_browser_may_still_fetch_stays(folder: Path) -> None:
    shown = of_age(folder / "shown", files.FETCH_SECONDS + 1)
    recent = of_age(folder / "recent", 0)
    files.remove_fetched([shown, recent, folder / "none"])
    assert not shown.exists()
    assert recent.exists()
