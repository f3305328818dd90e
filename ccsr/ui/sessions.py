"""What is kept of the picture that each visitor looks at, for all tabs."""

import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass

import gradio as gr

from ccsr.inference.events import Engine, Session
from ccsr.ui.inputs import read_picture

KEEP_SECONDS = 900
"""How long estimates serve after the end of a visitor's last run."""
MAX_VISITORS = 8
"""Visitors whose estimates are kept; beyond, those of whoever has not run anything for longest
are forgotten."""


@dataclass(frozen=True, eq=False)
class SessionPicture:
    """A chosen picture, with all that has been made of it."""

    path: str
    explorer: Session


def session_picture(engine: Engine, path: str) -> SessionPicture:
    """The picture of a file, of which nothing is made yet."""
    return SessionPicture(path, engine.session(read_picture(path)))


class Sessions:
    """The pictures that visitors look at, one each, with all that has been made of them.

    A visitor is a page that is open in a browser, as Gradio names it.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        # Ordered by use, the latest last.
        self._kept: dict[str, tuple[SessionPicture, float]] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """Pictures that are kept."""
        return len(self._kept)

    @contextmanager
    def lent(self, visitor: str | None, path: str) -> Generator[SessionPicture]:
        """The picture of a file, with what this visitor has made of it, for the time of a run.

        Raises:
            PictureError: If the file is no picture.
        """
        found = self._found(visitor, path)
        try:
            yield found
        finally:
            with self._lock:
                # Not if the visitor has left meanwhile.
                if visitor in self._kept:
                    self._kept[visitor] = found, time.monotonic()

    def _found(self, visitor: str | None, path: str) -> SessionPicture:
        now = time.monotonic()
        with self._lock:
            self._kept = {v: (e, t) for v, (e, t) in self._kept.items() if now - t < KEEP_SECONDS}
            found, _ = self._kept.pop(visitor or "", (None, 0.0))
        if found is None or found.path != path:
            found = session_picture(self.engine, path)
        with self._lock:
            if visitor is not None:
                self._kept[visitor] = found, now
            while len(self._kept) > MAX_VISITORS:
                del self._kept[next(iter(self._kept))]
        return found

    def release(self, request: gr.Request) -> None:
        """Free what is kept for the visitor who leaves."""
        with self._lock:
            self._kept.pop(request.session_hash or "", None)
