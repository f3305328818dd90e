"""Reading of files that anybody may have sent: in processes with a limit of time and memory.

A picture of a few kilobytes can be made to take a decoder gigabytes or minutes. A process that
exceeds its limits is ended and replaced, whatever the decoder is doing; nothing else is.
"""

import json
import logging
import os
import pickle
import re
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, LifoQueue
from typing import Any

import numpy as np
from PIL import Image

from ccsr.images.picture import MAX_INPUT_PIXELS, Picture, PictureError, Size
from ccsr.images.reading import is_picture_file, load_picture, read_texts
from ccsr.option import shortened

try:
    import resource
except ImportError:  # Windows, where the limit of time is kept by the clock alone
    resource = None

logger = logging.getLogger(__name__)

MAX_SECONDS = 5
"""Processor time of one reading."""
MAX_BYTES = 1280 * 1024**2
"""Address space of a reading process, of which the libraries take an eighth."""
MAX_WAIT = 30
"""Seconds on the clock, of one reading and of the wait for a free process."""
NUM_PROCESSES = 2
THUMBNAIL_SIZE = 320, 192
"""Most pixels across and down of a thumbnail: those of a card at two pixels to one of CSS."""


class Fault(Exception):
    """A fault of this program, not of a file; with its traceback as text."""


@dataclass(frozen=True)
class PictureFacts:
    """What is said of a picture that was read, without its pixels."""

    size: Size
    bits: int
    has_alpha: bool
    notes: tuple[str, ...]


def facts_of(picture: Picture) -> PictureFacts:
    """What is said of a picture."""
    return PictureFacts(picture.size, picture.bits, picture.alpha is not None, picture.notes)


def _facts(path: str, max_pixels: int) -> PictureFacts:
    return facts_of(load_picture(path, max_pixels=max_pixels))


def _picture(path: str, max_pixels: int) -> Picture:
    return load_picture(path, max_pixels=max_pixels)


def _is_picture(path: str, _: int) -> bool:
    return is_picture_file(Path(path))


def _texts(path: str, _: int) -> dict[str, str]:
    return read_texts(path)


def _thumbnail(path: str, max_pixels: int) -> np.ndarray:
    picture = load_picture(path, max_pixels=max_pixels)
    # Not by `images.tensors`: torch would take most of the memory of this process.
    image = Image.fromarray(np.round(255 * picture.visible_rgb).astype(np.uint8))
    image.thumbnail(THUMBNAIL_SIZE)
    return np.asarray(image)


READINGS: dict[str, Callable[[str, int], Any]] = {
    "facts": _facts,
    "picture": _picture,
    "texts": _texts,
    "is_picture": _is_picture,
    "thumbnail": _thumbnail,
}


class ReaderPool:
    """A few processes that read files; as many readings at a time, and others wait.

    Args:
        num_processes: Started when they are first needed.
        max_seconds: Processor time of one reading of an input; that of larger pictures has as many
            times as much as they may have more pixels.
        max_bytes: Address space of a process.
    """

    def __init__(
        self,
        num_processes: int = NUM_PROCESSES,
        max_seconds: int = MAX_SECONDS,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        self.max_seconds, self.max_bytes = max_seconds, max_bytes
        self._free: LifoQueue[_Process | None] = LifoQueue()
        for _ in range(num_processes):
            self._free.put(None)

    def picture(self, path: str | Path, max_pixels: int = MAX_INPUT_PIXELS) -> Picture:
        """As `load_picture`, within the limits.

        Raises:
            PictureError: If the file is no picture that can be used, or exceeds the limits.
        """
        return self._read("picture", path, max_pixels)

    def facts(self, path: str | Path, max_pixels: int = MAX_INPUT_PIXELS) -> PictureFacts:
        """Read a whole picture, of which only the facts come back.

        Raises:
            PictureError: As `picture`.
        """
        return self._read("facts", path, max_pixels)

    def texts(self, path: str | Path) -> dict[str, str]:
        """As `read_texts`, within the limits.

        Raises:
            PictureError: As `picture`.
        """
        return self._read("texts", path, 0)

    def is_picture(self, path: str | Path) -> bool:
        """As `is_picture_file`; what exceeds the limits is told when it is read as a picture."""
        try:
            return self._read("is_picture", path, 0)
        except PictureError:
            return True

    def thumbnail(self, path: str | Path, max_pixels: int = MAX_INPUT_PIXELS) -> np.ndarray:
        """A picture shrunk to fit into `THUMBNAIL_SIZE`, [H,W,3] uint8 without transparency.

        Raises:
            PictureError: As `picture`.
        """
        return self._read("thumbnail", path, max_pixels)

    def close(self) -> None:
        """End all processes that are free; they are started again if they are needed."""
        for _ in range(self._free.qsize()):
            process = self._free.get()
            if process is not None:
                process.end()
            self._free.put(None)

    def _read(self, reading: str, path: str | Path, max_pixels: int) -> Any:  # noqa: ANN401
        seconds = self.max_seconds * max(1, max_pixels // MAX_INPUT_PIXELS)
        request = {
            "reading": reading,
            "path": str(Path(path).absolute()),
            "max_pixels": max_pixels,
            "seconds": seconds,
        }
        with self._process() as process:
            answer = process.ask(request)
        if isinstance(answer, TimeoutError):
            raise PictureError(
                f"{shortened(Path(path).name)} takes longer than {seconds} s to read; "
                "save it again as PNG or JPEG"
            )
        if isinstance(answer, MemoryError):
            raise PictureError(
                f"{shortened(Path(path).name)} takes too much memory to read; save it again with 8 "
                "bits a channel, or make it smaller"
            )
        if isinstance(answer, Fault):
            logger.error("%s cannot be read\n%s", path, answer)
            raise PictureError(_unreadable(str(path)))
        if isinstance(answer, Exception):
            raise answer
        return answer

    @contextmanager
    def _process(self) -> "Generator[_Process]":
        """A process for one reading; one that has ended is replaced by the next reading."""
        try:
            process = self._free.get(timeout=MAX_WAIT)
        except Empty as error:
            raise PictureError("too many files are being read; try again soon") from error
        try:
            if process is None or not process.is_alive():
                process = _Process(self.max_bytes)
            yield process
        finally:
            self._free.put(process)


class _Process:
    """One reading process, spoken to by its standard input and output."""

    def __init__(self, max_bytes: int) -> None:
        # More threads of a numerical library would take address space, and gain nothing here.
        variables = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        root = str(Path(__file__).resolve().parents[2])
        variables["PYTHONPATH"] = os.pathsep.join([root, *filter(None, [os.getenv("PYTHONPATH")])])
        self._process = subprocess.Popen(
            [
                sys.executable,
                "-c",
                f"from {__name__} import main; main({max_bytes})",
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=variables,
        )

    def is_alive(self) -> bool:
        """Whether it can read another file."""
        return self._process.poll() is None

    def end(self) -> None:
        """End it now, whatever it is doing."""
        self._process.kill()
        self._process.wait()

    def ask(self, request: dict[str, Any]) -> Any:  # noqa: ANN401
        """What was read, or why it was not: an exception."""
        requests, answers = self._process.stdin, self._process.stdout
        assert requests is not None
        assert answers is not None
        clock = threading.Timer(MAX_WAIT, self._process.kill)
        clock.start()
        try:
            requests.write(json.dumps(request).encode() + b"\n")
            requests.flush()
            # Of a process that runs this file, with the same rights as this one.
            return pickle.load(answers)
        except (OSError, EOFError, pickle.UnpicklingError):
            self.end()
            late = self._process.returncode in (-signal.SIGKILL, -getattr(signal, "SIGXCPU", 0))
            return TimeoutError() if late else PictureError(_unreadable(request["path"]))
        except BaseException:
            # Interrupted, it would give this answer to the next request.
            self.end()
            raise
        finally:
            clock.cancel()


def main(max_bytes: int) -> None:
    """Answer requests for readings, one a line, until there are no more."""
    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    if resource is not None:
        _, hardest = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (_at_most(max_bytes, hardest), hardest))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for line in requests:
        request = json.loads(line)
        if resource is not None:
            _limit_seconds(request["seconds"])
        answers.write(pickle.dumps(_answer(request), pickle.HIGHEST_PROTOCOL))
        answers.flush()


def _limit_seconds(max_seconds: int) -> None:
    """Let the system end this process after so much more processor time."""
    assert resource is not None
    used = resource.getrusage(resource.RUSAGE_SELF)
    _, hardest = resource.getrlimit(resource.RLIMIT_CPU)
    limit = int(used.ru_utime + used.ru_stime) + max_seconds + 1
    resource.setrlimit(resource.RLIMIT_CPU, (_at_most(limit, hardest), hardest))


def _at_most(limit: int, hardest: int) -> int:
    """A limit that the system accepts: no higher than the one that it has set."""
    assert resource is not None
    return limit if hardest == resource.RLIM_INFINITY else min(limit, hardest)


def _answer(request: dict[str, Any]) -> Any:  # noqa: ANN401
    try:
        return READINGS[request["reading"]](request["path"], request["max_pixels"])
    except PictureError as error:
        # Without the traceback, which holds what was read.
        return PictureError(_without_path(str(error), Path(request["path"])))
    except Exception as error:
        return MemoryError() if _lacks_memory(error) else Fault(traceback.format_exc())


def _unreadable(path: str) -> str:
    return f"{shortened(Path(path).name)} cannot be read; save it again as PNG or JPEG"


def _without_path(message: str, path: Path) -> str:
    """A message without the folder, which is the server's, long names and numbers of errors."""
    named = message.replace(str(path), path.name).replace(path.name, shortened(path.name))
    return re.sub(r"\[Errno -?\d+\] ", "", named)


def _lacks_memory(error: BaseException | None) -> bool:
    return error is not None and (
        isinstance(error, MemoryError) or _lacks_memory(error.__cause__ or error.__context__)
    )


READERS = ReaderPool()
"""Those of this program."""
