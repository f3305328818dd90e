"""What is kept of the picture that each visitor looks at, for all tabs."""

import threading
import time
from dataclasses import dataclass

import gradio as gr

from ccsr.events import Engine, Explorer
from ccsr.ui.inputs import read_picture

KEEP_SECONDS = 900
"""How long estimates serve after the last run of a visitor."""
MAX_VISITORS = 8
"""Visitors whose estimates are kept; beyond, those of whoever has not run anything for longest
are forgotten."""


@dataclass(frozen=True, eq=False)
class Explored:
    """A chosen picture, with all that has been made of it."""

    path: str
    explorer: Explorer


def explored(engine: Engine, path: str) -> Explored:
    """The picture of a file, of which nothing is made yet."""
    return Explored(path, engine.explore(read_picture(path)))


class Explorations:
    """The pictures that visitors look at, one each, with all that has been made of them."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        # Ordered by use, the latest last.
        self._kept: dict[str, tuple[Explored, float]] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """Pictures that are kept."""
        return len(self._kept)

    def of(self, visitor: str | None, path: str) -> Explored:
        """The picture of a file, with what this visitor has made of it.

        Raises:
            PictureError: If the file is no picture.
        """
        now = time.monotonic()
        with self._lock:
            self._kept = {v: (e, t) for v, (e, t) in self._kept.items() if now - t < KEEP_SECONDS}
            found, _ = self._kept.pop(visitor or "", (None, 0.0))
        if found is None or found.path != path:
            found = explored(self.engine, path)
        with self._lock:
            if visitor is not None:
                self._kept[visitor] = found, now
            while len(self._kept) > MAX_VISITORS:
                del self._kept[next(iter(self._kept))]
        return found

    def forget(self, request: gr.Request) -> None:
        """Free what is kept for the visitor who leaves."""
        with self._lock:
            self._kept.pop(request.session_hash or "", None)


def visitor_of(request: gr.Request) -> str | None:
    """What tells visitors apart: a page that is open in a browser."""
    return request.session_hash
