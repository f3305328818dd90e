"""The queue for the model: one run works, others wait in turn.

Only work with the model waits here; what shows results does not. A visitor has one place that waits
at most, which goes to the visitor's next run, and gives it back by stopping or leaving.
"""

import asyncio
import threading
import time
import uuid
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, TypeVar

import gradio as gr
from gradio.context import LocalContext

from ccsr.errors import InputError
from ccsr.stopping import StopFlag
from ccsr.ui.compute_thread import WATCH_SECONDS, Computing, compute_steps
from ccsr.ui.job_log import JobLog
from ccsr.ui.limits import DEFAULT_LIMITS, Limits
from ccsr.ui.presence import Owner, Presence
from ccsr.ui.snippets import counted, duration

T = TypeVar("T")

About = tuple[str, Mapping[str, Any]]
"""The kind of a run, and what else the log says of it."""

TELL_SECONDS = 1.0
"""How often somebody who waits is told so, even if nothing has changed."""
SUPERSEDED = "Another run of yours waits in its place."


class QueueFull(InputError):
    """Too many runs wait."""


@dataclass(frozen=True)
class Waiting:
    """A run waits."""

    ahead: int
    """How many runs come first, that at work among them."""


@dataclass(eq=False)
class _Place:
    owner: Owner
    stop: StopFlag


class ModelQueue:
    """Who works with the model and who waits for it.

    Args:
        limits: How many may wait, and how long a run may take.
        presence: Tells who has left.
    """

    def __init__(self, limits: Limits = DEFAULT_LIMITS, presence: Presence | None = None) -> None:
        self.limits, self.presence, self.log = limits, presence, JobLog()
        self._working: _Place | None = None
        self._waiting: list[_Place] = []
        self._lock = threading.Lock()

    @property
    def num_waiting(self) -> int:
        """How many runs wait."""
        return len(self._waiting)

    @property
    def is_working(self) -> bool:
        """Whether the model is at work."""
        return self._working is not None

    def check_room(self, owner: Owner) -> None:
        """Check that a run of a visitor may wait.

        Raises:
            QueueFull: If too many wait already, or too many from this address.
        """
        others = [place.owner for place in self._waiting if place.owner.name != owner.name]
        near = [other for other in others if other.address == owner.address]
        for waiting, most, where in (
            (others, self.limits.max_waiting, ""),
            (near, self.limits.max_waiting_each, " from your network"),
        ):
            if len(waiting) >= most:
                raise QueueFull(
                    f"{counted(len(waiting), 'run')}{where} wait for the model, which is the "
                    "limit; try again soon"
                )

    def has_room(self, owner: Owner) -> bool:
        """Whether a run of a visitor may wait, and takes the place of no other of theirs."""
        if any(place.owner.name == owner.name for place in list(self._waiting)):
            return False
        try:
            self.check_room(owner)
        except QueueFull:
            return False
        return True

    def owner(self, request: gr.Request | None) -> Owner:
        """The visitor whose event this is; a program may have no session."""
        session, client = (request.session_hash, request.client) if request else (None, None)
        names = [name for name in (session, LocalContext.event_id.get(None)) if name]
        address = client.host if client else ""
        return Owner(self.presence, *(names or [uuid.uuid4().hex]), address=address)

    async def run(
        self, owner: Owner, work: Callable[[], Generator[T]], stop: StopFlag, about: About
    ) -> AsyncGenerator[Waiting | Computing | T]:
        """Wait for the model, then yield what the work yields.

        The work does not begin if it is stopped before, and is stopped if its owner leaves or it
        takes longer than the limit.

        Args:
            owner: For whom it is done.
            work: Begins the work.
            stop: Its flag.
            about: The kind of the work, and what the log says of it.

        Raises:
            QueueFull: If too many wait already.
        """
        place = self._enter(owner, stop)
        try:
            async for waiting in self._wait(place):
                yield waiting
            if stop.is_set():
                return
            kind, details = about
            with self.log.job(kind, stop, details):
                async with aclosing(compute_steps(work(), stop, self._watch(place))) as steps:
                    async for step in steps:
                        yield step
        finally:
            self._leave(place)

    def _enter(self, owner: Owner, stop: StopFlag) -> _Place:
        with self._lock:
            self.check_room(owner)
            for other in self._waiting:
                if other.owner.name == owner.name:
                    other.stop.set(SUPERSEDED)
            place = _Place(owner, stop)
            self._waiting.append(place)
            return place

    async def _wait(self, place: _Place) -> AsyncGenerator[Waiting]:
        told, when = -1, 0.0
        while not self._begin(place):
            if place.owner.has_left():
                place.stop.set()
            if place.stop.is_set():
                return
            ahead = self._ahead(place)
            if ahead != told or time.monotonic() - when > TELL_SECONDS:
                told, when = ahead, time.monotonic()
                yield Waiting(ahead)
            await asyncio.sleep(WATCH_SECONDS / 4)

    def _begin(self, place: _Place) -> bool:
        """Let a run work if it is its turn; whether it works."""
        with self._lock:
            waiting = [other for other in self._waiting if not other.stop.is_set()]
            if self._working is None and waiting and waiting[0] is place:
                self._waiting.remove(place)
                self._working = place
            return self._working is place

    def _ahead(self, place: _Place) -> int:
        with self._lock:
            before = self._waiting[: self._waiting.index(place)]
            return (self._working is not None) + sum(not p.stop.is_set() for p in before)

    def _leave(self, place: _Place) -> None:
        with self._lock:
            if self._working is place:
                self._working = None
            elif place in self._waiting:
                self._waiting.remove(place)

    def _watch(self, place: _Place) -> Callable[[], None]:
        started, most = time.monotonic(), self.limits.max_seconds

        def watch() -> None:
            if place.owner.has_left():
                place.stop.set()
            if most is not None and time.monotonic() - started > most:
                place.stop.set(f"Stopped: a run of this page may take {duration(most)}.")

        return watch
