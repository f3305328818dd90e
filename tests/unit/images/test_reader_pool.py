"""Reading within limits of time and memory."""

import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import GifImagePlugin, Image, TiffImagePlugin

from ccsr.images.picture import Picture, PictureError
from ccsr.images.reader_pool import THUMBNAIL_SIZE, ReaderPool, facts_of
from ccsr.images.reading import load_picture
from ccsr.images.writing import save_png

SIDE = 2048


@pytest.fixture
def pool() -> Iterator[ReaderPool]:
    pool = ReaderPool(1, max_seconds=1, max_bytes=320 * 1024**2)
    yield pool
    pool.close()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def flat_png(path: Path) -> Path:
    """A PNG of a few kilobytes whose 16-bit pixels fill 32 MB, and several times that if read."""
    header = struct.pack(">IIBBBBB", SIDE, SIDE, 16, 6, 0, 0, 0)
    pixels = zlib.compress((b"\0" + b"\x40\x10" * 4 * SIDE) * SIDE)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + parts)
    return path


def jpeg_of_scans(path: Path) -> Path:
    """A large progressive JPEG whose last scan is there 260 times, and is still allowed."""
    noise = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE), np.uint8)
    Image.fromarray(noise).save(path, progressive=True, quality=2)
    data = path.read_bytes()
    last = data.rindex(b"\xff\xda")
    path.write_bytes(data[:last] + data[last:-2] * 260 + data[-2:])
    return path


def test_a_picture_is_that_which_is_read_without_limits(
    pool: ReaderPool, picture_file: Path, tmp_path: Path
) -> None:
    deep = tmp_path / "deep.png"
    rgb = np.random.default_rng(0).random((40, 60, 3), np.float32)
    save_png(deep, type(load_picture(picture_file))(rgb, rgb[..., 0], 16))
    for path in (picture_file, deep):
        expected, picture = load_picture(path), pool.picture(path)
        assert np.array_equal(picture.rgb, expected.rgb)
        assert (picture.alpha is None) == (expected.alpha is None)
        assert pool.facts(path) == facts_of(expected)


def test_texts_of_a_png_are_read(pool: ReaderPool, tmp_path: Path, photograph: np.ndarray) -> None:
    path = tmp_path / "told.png"
    Image.fromarray((255 * photograph).astype(np.uint8)).save(path)
    assert pool.texts(path) == {}


def test_what_is_wrong_with_a_file_is_told(
    pool: ReaderPool, picture_file: Path, tmp_path: Path
) -> None:
    cut = tmp_path / "cut.png"
    cut.write_bytes(picture_file.read_bytes()[:100])
    with pytest.raises(PictureError, match=r"cut.png is damaged"):
        pool.facts(cut)
    with pytest.raises(PictureError, match="the limit is 100 pixels"):
        pool.facts(picture_file, 100)


def test_messages_hold_no_folder_of_the_server(pool: ReaderPool, tmp_path: Path) -> None:
    for name in ("absent.png", "a" * 200 + ".png"):
        with pytest.raises(PictureError) as caught:
            pool.facts(tmp_path / name)
        assert str(tmp_path) not in str(caught.value)
        assert "Errno" not in str(caught.value)
        assert len(str(caught.value)) < 200


def test_a_reading_that_takes_too_long_is_ended(
    pool: ReaderPool, picture_file: Path, tmp_path: Path
) -> None:
    endless = jpeg_of_scans(tmp_path / "endless.jpg")
    started = time.process_time()
    with pytest.raises(PictureError, match=r"endless.jpg takes longer than 1 s to read"):
        pool.facts(endless)
    assert time.process_time() - started < 1
    assert pool.facts(picture_file).size == (40, 60)


def test_a_reading_that_takes_too_much_memory_is_refused(
    pool: ReaderPool, picture_file: Path, tmp_path: Path
) -> None:
    bomb = flat_png(tmp_path / "bomb.png")
    assert bomb.stat().st_size < 100_000
    with pytest.raises(PictureError, match=r"bomb.png takes too much memory"):
        pool.facts(bomb)
    assert pool.facts(picture_file).size == (40, 60)


def test_a_process_that_dies_is_replaced(pool: ReaderPool, picture_file: Path) -> None:
    pool.facts(picture_file)
    pool.close()
    assert pool.facts(picture_file).size == (40, 60)


def test_a_fault_of_the_program_is_logged_and_not_blamed_on_the_file(
    pool: ReaderPool, picture_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(PictureError, match="cannot be read"):
        pool._read("another reading", picture_file, 0)
    assert "KeyError: 'another reading'" in caplog.text


def test_limits_of_the_system_that_are_lower_are_kept(picture_file: Path) -> None:
    """A process cannot raise its own limits; under `ulimit -v` every reading failed."""
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_AS, (10**9, 10**9));"
        "from ccsr.images.reader_pool import READERS;"
        f"print(READERS.facts({str(picture_file)!r}).size)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "60x40"


@pytest.mark.parametrize(
    ("suffix", "kind"),
    [("gif", GifImagePlugin.GifImageFile), ("tif", TiffImagePlugin.TiffImageFile)],
)
def test_frames_are_not_counted(
    suffix: str, kind: type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / f"many.{suffix}"
    frames = [Image.new("L", (16, 16), level) for level in (0, 100, 200)]
    frames[0].save(path, save_all=True, append_images=frames[1:])
    monkeypatch.setattr(kind, "n_frames", property(lambda _: pytest.fail("all frames were read")))
    assert load_picture(path).notes == ("only the first of its frames is used",)


def test_a_thumbnail_is_the_picture_shrunk(
    pool: ReaderPool, tmp_path: Path, photograph: np.ndarray
) -> None:
    path = tmp_path / "photo.png"
    save_png(path, Picture(np.repeat(photograph, 4, axis=1)))
    small = pool.thumbnail(path)
    width, height = THUMBNAIL_SIZE
    assert small.dtype == np.uint8
    assert small.shape[1] == width
    assert small.shape[0] <= height
    assert np.abs(small.mean((0, 1)) - 255 * photograph.mean((0, 1))).max() < 2
    with pytest.raises(PictureError, match="pixels"):
        pool.thumbnail(path, max_pixels=100)
