"""Where the bytes of a picture are: a file, or a part of a tar file."""

import io
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO, cast

from ccsr.images.picture import PictureError


@dataclass(frozen=True)
class PictureFile:
    """A picture's bytes, which are read when they are asked for."""

    path: Path
    member: str | None = None
    """Its name in the tar file `path`; None: all of the file is the picture."""
    start: int = 0
    """Of a member: the place of its first byte."""
    length: int = 0
    """Of a member: how many bytes it has."""

    def __str__(self) -> str:
        return str(self.path) if self.member is None else f"{self.path}/{self.member}"

    @property
    def name(self) -> str:
        """Its name without folders."""
        return self.path.name if self.member is None else PurePosixPath(self.member).name

    @property
    def num_bytes(self) -> int:
        """How many bytes it has."""
        return self.path.stat().st_size if self.member is None else self.length

    @contextmanager
    def opened(self) -> Generator[BinaryIO]:
        """The file, or the part of it, to read bytes from.

        Raises:
            PictureError: If the file cannot be opened.
        """
        try:
            file = self.path.open("rb")
        except OSError as error:
            raise PictureError(f"{self} cannot be opened: {error.strerror}") from error
        with file:
            part = None if self.member is None else _Part(file, self.start, self.length)
            yield file if part is None else cast("BinaryIO", part)


class _Part(io.BufferedIOBase):
    """Bytes of a file that is open, from one place on; nothing of what is beside them."""

    def __init__(self, file: BinaryIO, start: int, length: int) -> None:
        self._file, self._start, self._length, self._at = file, start, length, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        places = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._length}
        self._at = places[whence] + offset
        return self._at

    def read(self, size: int | None = -1, /) -> bytes:
        left = max(0, self._length - self._at)
        self._file.seek(self._start + self._at)
        data = self._file.read(left if size is None or size < 0 else min(size, left))
        self._at += len(data)
        return data
