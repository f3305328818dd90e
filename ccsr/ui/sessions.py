"""The sessions of the visitors: the picture each has open, and the estimates made of it."""

import threading
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass

import gradio as gr

from ccsr.images.picture import Picture
from ccsr.inference.estimate_cache import EstimateCache
from ccsr.inference.events import Engine, Session
from ccsr.inference.pace import Pace
from ccsr.ui.inputs import read_picture

MAX_OPEN_BYTES = 512 * 1024**2
"""Of the pictures that visitors have open: ten of the largest."""


@dataclass(frozen=True, eq=False)
class OpenPicture:
    """A picture file that was read, with the session of its runs."""

    path: str
    picture: Picture
    session: Session

    @property
    def num_bytes(self) -> int:
        """Memory that the picture takes."""
        alpha = self.picture.alpha
        return self.picture.rgb.nbytes + (0 if alpha is None else alpha.nbytes)


def open_picture(
    engine: Engine, path: str, cache: EstimateCache | None = None, owner: str = ""
) -> OpenPicture:
    """Read a picture file and make its session; see `Engine.session`.

    Raises:
        PictureError: If the file is no picture.
    """
    picture = read_picture(path)
    return OpenPicture(path, picture, engine.session(picture, cache, owner))


class Sessions:
    """The open pictures of all visitors, one each; their estimates share one cache.

    A visitor is a page that is open in a browser, named by Gradio's session hash.

    Args:
        engine: The model.
        cache: Bounds the memory of the estimates; None: a cache of the usual size.
        max_bytes: Of the pictures; beyond it those that were used least recently are closed, but
            none that is used now. They are opened again when they are needed.
    """

    def __init__(
        self,
        engine: Engine,
        cache: EstimateCache | None = None,
        max_bytes: int = MAX_OPEN_BYTES,
    ) -> None:
        self.engine = engine
        self.cache = EstimateCache() if cache is None else cache
        self.max_bytes = max_bytes
        self.pace = Pace()
        """How fast runs of all visitors are."""
        # The most recently used last.
        self._opened: dict[str, OpenPicture] = {}
        self._used: Counter[OpenPicture] = Counter()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """The number of open pictures."""
        return len(self._opened)

    @contextmanager
    def open(self, visitor: str | None, path: str) -> Generator[OpenPicture]:
        """The picture of a file, for the time of a run; a visitor's picture stays open.

        Raises:
            PictureError: If the file is no picture.
        """
        if visitor is None:
            yield open_picture(self.engine, path)
            return
        opened = self._opened.get(visitor)
        if opened is None or opened.path != path:
            opened = open_picture(self.engine, path, self.cache, visitor)
        with self._lock:
            self._opened.pop(visitor, None)
            self._opened[visitor] = opened
            self._used[opened] += 1
            self._fit()
        try:
            yield opened
        finally:
            with self._lock:
                left = visitor not in self._opened
                self._used[opened] -= 1
                self._used += Counter[OpenPicture]()
                self._fit()
            # The run of a visitor who left meanwhile has made estimates after that.
            if left:
                self.cache.discard(visitor)

    def _fit(self) -> None:
        """Keep the bound of memory."""
        total = sum(opened.num_bytes for opened in self._opened.values())
        for visitor, opened in list(self._opened.items()):
            if total <= self.max_bytes:
                break
            if not self._used[opened]:
                del self._opened[visitor]
                total -= opened.num_bytes

    def release(self, request: gr.Request) -> None:
        """Free what is kept for the visitor who leaves."""
        self.forget(request.session_hash or "")

    def forget(self, visitor: str) -> None:
        """Free what is kept for a visitor."""
        with self._lock:
            self._opened.pop(visitor, None)
        self.cache.discard(visitor)
