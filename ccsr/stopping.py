"""Stopping work from another thread.

Network evaluations, encoding and decoding are made of pieces, the modules of the networks, each of
which calls `check_stop` first. A run whose flag is set ends at the next one.
"""

import threading
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from weakref import WeakSet

import torch
from torch import nn


class Stopped(Exception):
    """Work was stopped."""


class StopFlag:
    """Says that a run is to stop, and why; thread-safe."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self.reason = "Stopped."

    def set(self, reason: str | None = None) -> None:
        """Let the run stop; the first reason holds."""
        if reason is not None and not self._event.is_set():
            self.reason = reason
        self._event.set()

    def is_set(self) -> bool:
        """Whether the run is to stop."""
        return self._event.is_set()


_hooked: WeakSet[nn.Module] = WeakSet()
"""Modules that have the hook: pipelines share networks."""
_flag: ContextVar[StopFlag | None] = ContextVar("stop_flag", default=None)


@contextmanager
def stoppable(flag: StopFlag) -> Generator[None]:
    """Let `check_stop` inside, in this thread, look at a flag."""
    token = _flag.set(flag)
    try:
        yield
    finally:
        _flag.reset(token)


def check_stop() -> None:
    """Stop here if the work is to stop; nothing happens outside of `stoppable`.

    Raises:
        Stopped: If the flag is set.
    """
    flag = _flag.get()
    if flag is not None and flag.is_set():
        raise Stopped


def stop_between_modules(network: nn.Module) -> None:
    """Have every module of a network call `check_stop` before it computes."""
    for module in network.modules():
        if module not in _hooked:
            module.register_forward_pre_hook(_check_before)
            _hooked.add(module)


def _check_before(module: nn.Module, inputs: object) -> None:
    # A compiled network is checked before it begins only.
    if not torch.compiler.is_compiling():
        check_stop()
