"""Files that are there whole or not at all, also after a kill or on a full disk.

Everything that is written goes through here: under a name of its own beside the file, and to its
own name once all of it is on the disk.
"""

import errno
import os
import re
import shutil
import time
import uuid
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

UNFINISHED = ".part"
"""Ending of files and folders that are being written; their names are hidden ones."""
ABANDONED_SECONDS = 60 * 60
"""Parts that were not written to for so long belong to no process that is still at work."""
_NO_LINKS = (errno.EPERM, errno.EACCES, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL, errno.EMLINK)
"""What file systems without hard links answer, such as FAT."""
_CAUSES = {
    errno.ENOSPC: "the disk is full; free some space or choose another folder",
    errno.EDQUOT: "your share of the disk is full; free some space or choose another folder",
    errno.EFBIG: "files may not be so large; raise the limit (ulimit -f) or choose another folder",
    errno.EROFS: "the disk can only be read; choose another folder",
    errno.EACCES: "its folder may not be written to; choose another folder",
    errno.EPERM: "its folder may not be written to; choose another folder",
    errno.ENAMETOOLONG: "its name is too long; choose a shorter one",
}


_TORCH = ("inline_container", "file write failed")
"""In messages of torch when a file cannot be written, which do not say why."""
_RUST = re.compile(r"\(os error (\d+)\)")
"""In messages of safetensors: the number of the system's error."""


class WriteError(OSError):
    """A file could not be written; the message says which, why, and what to do."""


def lacks_space(error: BaseException) -> bool:
    """Whether an error of a writing library, or its cause, says that the disk is full."""
    if _number_of(error) in (errno.ENOSPC, errno.EDQUOT):
        return True
    return error.__cause__ is not None and lacks_space(error.__cause__)


def _number_of(error: BaseException) -> int | None:
    """Number of the system's error that a writing library met; None if it met none."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    if found := _RUST.search(str(error)):
        return int(found[1])
    if not any(text in str(error) for text in _TORCH):
        return None
    # What torch met while it wrote; without that, a full disk is the one cause that is known.
    met = error.__context__ and _number_of(error.__context__)
    return met or errno.ENOSPC


@contextmanager
def whole_file(path: Path, *, overwrite: bool = False) -> Generator[BinaryIO]:
    """A file to write to, which gets the name `path` when the block ends, and vanishes if it fails.

    Args:
        path: In an existing folder.
        overwrite: Whether a file that is there already is replaced.

    Raises:
        FileNotFoundError: If the folder does not exist.
        FileExistsError: If the file exists and may not be replaced.
        WriteError: If it cannot be written, for example because the disk is full.
    """
    _check_folder(path)
    part = _unfinished(path)
    try:
        with _causes_named(path), part.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        with _causes_named(path):
            if overwrite:
                part.replace(path)
            else:
                _move_to_free_name(part, path)
    finally:
        part.unlink(missing_ok=True)


def write_whole(path: Path, content: bytes | str, *, overwrite: bool = False) -> Path:
    """Write bytes, or a text as UTF-8, by `whole_file`; returns the path."""
    data = content.encode() if isinstance(content, str) else content
    with whole_file(path, overwrite=overwrite) as file:
        file.write(data)
    return path


@contextmanager
def whole_folder(path: Path) -> Generator[Path]:
    """A folder to fill, which gets the name `path` when the block ends, and vanishes if it fails.

    Args:
        path: A folder that is not there, or is empty.

    Raises:
        FileExistsError: If there is something already.
        WriteError: If it cannot be written, for example because the disk is full.
    """
    refuse_filled(path)
    part = _unfinished(path)
    try:
        with _causes_named(path):
            part.mkdir(parents=True)
            yield part
            with suppress(FileNotFoundError):
                path.rmdir()
            part.rename(path)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def remove_unfinished(folder: Path, untouched_seconds: float = ABANDONED_SECONDS) -> None:
    """Remove what killed processes left in a folder and its subfolders.

    Args:
        folder: Where to look.
        untouched_seconds: Parts that were written to since may be those of another process, and
            stay; 0 where no other process writes.
    """
    for part in folder.rglob(f".*{UNFINISHED}"):
        with suppress(OSError):  # another process removes it, too
            if time.time() - part.stat().st_mtime < untouched_seconds:
                continue
            if part.is_dir():
                shutil.rmtree(part, ignore_errors=True)
            else:
                part.unlink()


def refuse_filled(folder: Path) -> None:
    """Raise FileExistsError if there is a file of that name, or a folder with something in it."""
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise FileExistsError(f"{folder} is there and not empty; give a new folder")


def make_folder(folder: Path) -> None:
    """Make a folder and those that it is in.

    Raises:
        WriteError: If it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WriteError(
            f"the folder {folder} could not be made: {error.strerror}; choose another one"
        ) from error


def nearest_folder(path: Path) -> Path:
    """A folder, or the nearest one around it that is there already."""
    return next(folder for folder in (path, *path.absolute().parents) if folder.exists())


def _check_folder(path: Path) -> None:
    if not path.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {path.parent}; make it first")


def _unfinished(path: Path) -> Path:
    return path.with_name(f".{uuid.uuid4().hex}{UNFINISHED}")


def _move_to_free_name(part: Path, path: Path) -> None:
    """Rename, or raise FileExistsError if there is a file of that name."""
    try:
        # Unlike a renaming it fails if the name is taken, and there is no moment in between.
        os.link(part, path)
    except FileExistsError as error:
        raise _exists(path) from error
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if path.exists():
            raise _exists(path) from error
        part.rename(path)


def _exists(path: Path) -> FileExistsError:
    return FileExistsError(f"{path} exists; choose another name or overwrite it")


@contextmanager
def _causes_named(path: Path) -> Generator[None]:
    """Turn errors of the system into sentences."""
    try:
        yield
    except (FileExistsError, WriteError):
        raise
    except Exception as error:
        number = _number_of(error)
        if number is None:
            raise
        cause = _CAUSES.get(number, f"{os.strerror(number)}; choose another folder")
        raise WriteError(f"{path.name} could not be written: {cause}") from error
