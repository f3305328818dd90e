"""The sessions of the visitors: the picture each has open, and the estimates made of it."""

import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass

import gradio as gr

from ccsr.images.picture import Picture
from ccsr.inference.estimate_cache import EstimateCache
from ccsr.inference.events import Engine, Session
from ccsr.ui.inputs import read_picture


@dataclass(frozen=True, eq=False)
class OpenPicture:
    """A picture file that was read, with the session of its runs."""

    path: str
    picture: Picture
    session: Session


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
    """

    def __init__(self, engine: Engine, cache: EstimateCache | None = None) -> None:
        self.engine = engine
        self.cache = EstimateCache() if cache is None else cache
        self._opened: dict[str, OpenPicture] = {}
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
            self._opened[visitor] = opened
        try:
            yield opened
        finally:
            # The run of a visitor who left meanwhile has made estimates after that.
            if visitor not in self._opened:
                self.cache.discard(visitor)

    def release(self, request: gr.Request) -> None:
        """Free what is kept for the visitor who leaves."""
        visitor = request.session_hash or ""
        with self._lock:
            self._opened.pop(visitor, None)
        self.cache.discard(visitor)
