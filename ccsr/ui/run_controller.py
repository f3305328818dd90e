"""The state of the run of one visitor in one tab, and its transitions."""

import enum
import threading
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, TypeVar

from ccsr.stopping import StopFlag, Stopped

F = TypeVar("F")


class RunState(enum.Enum):
    """Where a run is between the press of its button and its end."""

    IDLE = "idle"
    """No run yet, or it was stopped."""
    QUEUED = "queued"
    """Waits for the model."""
    RUNNING = "running"
    STOPPING = "stopping"
    """Stop was pressed; the run ends with the piece that it computes."""
    DONE = "done"
    FAILED = "failed"


class Action(enum.Enum):
    """What changes the state of a run."""

    PRESS = "press"
    """The button, or a rerun; supersedes a run that has not ended."""
    START = "start"
    """Its turn at the model."""
    STOP = "stop"
    """The Stop button."""
    FINISH = "finish"
    """The end of its work."""
    FAIL = "fail"
    """An error in its work."""


TRANSITIONS: dict[Action, dict[RunState, RunState]] = {
    Action.PRESS: dict.fromkeys(RunState, RunState.QUEUED),
    Action.START: {RunState.QUEUED: RunState.RUNNING},
    Action.STOP: {RunState.QUEUED: RunState.IDLE, RunState.RUNNING: RunState.STOPPING},
    Action.FINISH: {RunState.RUNNING: RunState.DONE, RunState.STOPPING: RunState.IDLE},
    Action.FAIL: dict.fromkeys((RunState.RUNNING, RunState.STOPPING), RunState.FAILED),
}
"""The next state by action and state; an action in any other state has no effect."""

NOT_BEGUN = "Stopped before it began."

# Of all controllers: each is in a `gr.State`, which deep-copies its initial value.
_lock = threading.Lock()


@dataclass(frozen=True, eq=False)
class Press:
    """One press of the button that starts a run."""

    visitor: str | None
    """Session of the browser; None for a program."""
    values: tuple[Any, ...]
    """At the press: paths of picture and reference, then what `TabRun.read` reads."""
    stop: StopFlag = field(default_factory=StopFlag)
    """Ends its run: set by Stop, by another press, and if its visitor leaves."""


class RunController:
    """The run of one visitor in one tab: its state, and the press that started it.

    A press supersedes the run before, which ends with the piece that it computes and yields nothing
    more.
    """

    def __init__(self) -> None:
        self.state = RunState.IDLE
        self._press: Press | None = None

    def press(self, press: Press) -> None:
        """Queue a run in place of the one before."""
        with _lock:
            if self._press is not None:
                self._press.stop.set()
            self._press = press
            self._act(Action.PRESS)

    def start(self, press: Press) -> bool:
        """Start a queued run; False if it was stopped or superseded."""
        with _lock:
            return self._press is press and self._act(Action.START)

    def is_running(self, press: Press) -> bool:
        """Whether the run of a press is under way and not to stop."""
        return self._press is press and self.state is RunState.RUNNING

    def stop(self) -> bool:
        """Stop the run; False if there is none."""
        with _lock:
            waits = self.state is RunState.QUEUED
            if not self._act(Action.STOP):
                return False
            assert self._press is not None
            self._press.stop.set(NOT_BEGUN if waits else None)
            return True

    def follow(
        self, press: Press, frames: Generator[F], ending: Callable[[RunState], F]
    ) -> Generator[F | None]:
        """Yield what a started run shows, and at last what its end shows.

        Args:
            press: That of the run.
            frames: The work of the run; closed when the run ends early.
            ending: The last frame, given the state after the run: DONE, FAILED, or IDLE if it was
                stopped. A superseded run ends with None instead: nothing is to change.

        Raises:
            Exception: That of the work, after the last frame.
        """
        try:
            with closing(frames):
                for frame in frames:
                    if self._ends_early(press):
                        break
                    yield frame
                    # Before the work goes on.
                    if self._ends_early(press):
                        break
        except Stopped:
            pass
        except Exception:
            # Whatever it was, the page must not go on showing a run. It is logged where the work
            # is done, by `errors_shown`.
            state = self.end(press, Action.FAIL)
            yield ending(state) if state else None
            raise
        if press.stop.is_set():
            self.end(press, Action.STOP)
        state = self.end(press, Action.FINISH)
        yield ending(state) if state else None

    def end(self, press: Press, action: Action) -> RunState | None:
        """End a run; the state after the action, None if it was superseded."""
        with _lock:
            if self._press is not press:
                return None
            self._act(action)
            return self.state

    def _ends_early(self, press: Press) -> bool:
        return self._press is not press or press.stop.is_set()

    def _act(self, action: Action) -> bool:
        following = TRANSITIONS[action].get(self.state)
        if following is None:
            return False
        self.state = following
        return True
