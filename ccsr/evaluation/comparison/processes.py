"""The processes of `torchrun` or `accelerate launch`, which take turns with the pictures."""

import os
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, TypeVar

import torch

T = TypeVar("T")

TIMEOUT = timedelta(days=30)
"""How long a process waits for the others."""


class Processes:
    """This process among those of a launcher; alone without one.

    Args:
        on_cpu: Whether they compute on CPUs, and communicate by gloo.
    """

    def __init__(self, *, on_cpu: bool) -> None:
        self._state: Any = None
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            # It takes a second to import.
            from accelerate import PartialState

            self._state = PartialState(cpu=on_cpu, timeout=TIMEOUT)

    @property
    def index(self) -> int:
        """Number of this process, from 0."""
        return 0 if self._state is None else self._state.process_index

    @property
    def count(self) -> int:
        """Number of processes."""
        return 1 if self._state is None else self._state.num_processes

    @property
    def is_main(self) -> bool:
        """Whether this process makes the tables."""
        return self.index == 0

    def wait(self) -> None:
        """Wait until all processes are here."""
        if self._state is not None:
            self._state.wait_for_everyone()

    def share(self, items: Sequence[T]) -> Sequence[T]:
        """Every `count`-th item, another for each process."""
        return items[self.index :: self.count]

    def close(self) -> None:
        """End the connection."""
        if self._state is not None:
            self._state.destroy_process_group()


def local_device(device: str) -> str:
    """The device of this process: of several GPUs each process has another."""
    local = os.environ.get("LOCAL_RANK")
    if device in ("auto", "cuda") and local is not None and torch.cuda.is_available():
        return f"cuda:{int(local) % torch.cuda.device_count()}"
    return device
