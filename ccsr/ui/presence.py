"""Which visitors are here: those who hold a connection open on which answers are sent.

A page keeps one open as long as it is open in a browser, and another while it waits for an answer;
a program keeps one open while it waits. Whoever leaves, by whatever way, closes them.
"""

import threading
import time
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager

GRACE_SECONDS = 0.5
"""A connection that is closed and opened again, as by a client between two answers, is none that
left."""
FIRST_SECONDS = 15.0
"""Within this time a program opens the connection for the answer to what it asked."""


class Presence:
    """The open connections by the name of their visitor: a session, or the event of a program."""

    def __init__(self) -> None:
        self._open: Counter[str] = Counter()
        self._addresses: Counter[str] = Counter()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """The number of visitors who are here."""
        return len(self._open)

    @property
    def num_connections(self) -> int:
        """The number of open connections."""
        return self._addresses.total()

    def connections_of(self, address: str) -> int:
        """The number of those from one address."""
        return self._addresses[address]

    def enter(self, name: str, address: str = "") -> None:
        """A connection was opened."""
        with self._lock:
            self._open[name] += 1
            self._addresses[address] += 1

    def leave(self, name: str, address: str = "") -> None:
        """A connection was closed."""
        with self._lock:
            for counter, key in ((self._open, name), (self._addresses, address)):
                counter[key] -= 1
                if not counter[key]:
                    del counter[key]

    @contextmanager
    def connection(self, name: str, address: str) -> Generator[None]:
        """A connection is open inside."""
        self.enter(name, address)
        try:
            yield
        finally:
            self.leave(name, address)

    def is_here(self, *names: str) -> bool:
        """Whether one of these has a connection open."""
        return any(name in self._open for name in names)


class Owner:
    """The visitor for whom a run is made, under all names it may have.

    Args:
        presence: Who is here; None: everybody.
        names: The session and the event; the first one tells visitors apart.
        address: Of its computer, or of the network that it is in.
    """

    def __init__(self, presence: Presence | None, *names: str, address: str = "") -> None:
        self.presence, self.names, self.address = presence, names, address
        self._seen = False
        self._last = time.monotonic()

    @property
    def name(self) -> str:
        """What tells it from others."""
        return self.names[0]

    def has_left(self) -> bool:
        """Whether it is gone, or has not come for the answer in time."""
        if self.presence is None or self.presence.is_here(*self.names):
            self._seen, self._last = True, time.monotonic()
            return False
        patience = GRACE_SECONDS if self._seen else FIRST_SECONDS
        return time.monotonic() - self._last > patience
