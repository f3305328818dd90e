"""More than 300 hostile and odd files: a right picture, or a clear message, soon and in bounds."""

import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from ccsr import commands
from ccsr.evaluation.report import SETTINGS_KEY, read_settings
from ccsr.images.picture import Picture, PictureError
from ccsr.images.reader_pool import ReaderPool
from ccsr.images.reading import is_picture_file, load_picture
from ccsr.images.writing import save_png
from tests.fakes import FakeEngine
from tests.hostile_files import HOSTILE_TEXTS, HostileFile, hostile_files

pytestmark = pytest.mark.e2e

MAX_SECONDS, MAX_BYTES = 5, 1024**3


@pytest.fixture(scope="module")
def files() -> list[HostileFile]:
    return list(hostile_files())


@pytest.fixture(scope="module")
def pool() -> Iterator[ReaderPool]:
    pool = ReaderPool(1, max_seconds=MAX_SECONDS, max_bytes=MAX_BYTES)
    yield pool
    pool.close()


def refusal(pool: ReaderPool, path: Path) -> str | None:
    """What is said of a file; None if it is a picture."""
    try:
        pool.facts(path)
    except PictureError as error:
        return str(error)
    return None


def test_all_are_read_rightly_or_refused_within_bounds(
    files: list[HostileFile], pool: ReaderPool, tmp_path: Path
) -> None:
    assert len(files) >= 300
    assert len({file.name for file in files}) == len(files)
    outcomes: Counter[str] = Counter()
    for file in files:
        path = tmp_path / file.name
        path.write_bytes(file.content)
        said = refusal(pool, path)
        outcomes["refused" if said else "picture"] += 1
        assert file.outcome in ("either", "refused" if said else "picture"), (file.name, said)
        if said is not None:
            # Not by the bounds of the process, which are a last resort.
            assert not re.search("takes longer|too much memory|cannot be read; save it", said), said
            assert len(said) < 300, said
            assert "Errno" not in said
            assert ";" in said, f"{said} does not say what to do"
        path.unlink()
    assert min(outcomes.values()) > 100, outcomes


def test_a_folder_of_them_is_worked_through(
    files: list[HostileFile],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """By the command line, with a model that takes no time."""
    monkeypatch.setattr(commands, "load_engine", lambda *_: FakeEngine())
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    for file in files:
        (folder / file.name).write_bytes(file.content)
    assert commands.main(["upscale", str(folder), "--output", str(out), "--scale", "1"]) == 2
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    written = list(out.iterdir())
    assert len(written) == len(captured.out.splitlines())
    assert min(len(written), captured.err.count("error: ")) > 100
    # What neither is a picture nor is named like one is left.
    taken = sum(is_picture_file(path) for path in folder.iterdir())
    assert len(written) + captured.err.count("error: ") == taken > len(files) - 20
    for path in written[::10]:
        assert load_picture(path).size


@pytest.mark.skipif(os.name == "nt", reason="there are no pipes among the files")
def test_what_is_no_file_is_refused_at_once(pool: ReaderPool, tmp_path: Path) -> None:
    """A pipe would be waited for, a device has no end."""
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    (tmp_path / "dangling.png").symlink_to(tmp_path / "none")
    (tmp_path / "device.png").symlink_to("/dev/zero")
    for path in tmp_path.iterdir():
        said = refusal(pool, path)
        assert said is not None
        assert re.search("not a file|no file|cannot be opened", said), said
    assert "check the name" in str(refusal(pool, tmp_path / ("x" * 300 + ".png")))


@pytest.mark.parametrize("text", HOSTILE_TEXTS)
def test_texts_that_are_no_settings_are_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    save_png(
        path, Picture(np.zeros((16, 16, 3), np.float32)), {SETTINGS_KEY: HOSTILE_TEXTS[text]()}
    )
    with pytest.raises(ValueError, match=r".") as caught:
        read_settings(path)
    assert len(str(caught.value)) < 400
