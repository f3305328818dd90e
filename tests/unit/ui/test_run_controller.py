from collections.abc import Generator

import pytest

from ccsr.stopping import Stopped
from ccsr.ui.run_controller import Action, Press, RunController, RunState

PRESS = Press("a", ())


def started() -> tuple[RunController, Press]:
    controller, press = RunController(), Press("a", (1,))
    controller.press(press)
    assert controller.start(press)
    return controller, press


def work(count: int, seen: list[object] | None = None) -> Generator[int]:
    """Frames 0, 1, ...; `seen` has those that were made, and "closed"."""
    seen = [] if seen is None else seen
    try:
        for number in range(count):
            seen.append(number)
            yield number
    finally:
        seen.append("closed")


def end_of(state: RunState) -> str:
    return state.value


@pytest.mark.parametrize("state", RunState)
@pytest.mark.parametrize("action", Action)
def test_actions_change_the_state_where_they_apply(action: Action, state: RunState) -> None:
    expected = {
        (Action.START, RunState.QUEUED): RunState.RUNNING,
        (Action.STOP, RunState.QUEUED): RunState.IDLE,
        (Action.STOP, RunState.RUNNING): RunState.STOPPING,
        (Action.FINISH, RunState.RUNNING): RunState.DONE,
        (Action.FINISH, RunState.STOPPING): RunState.IDLE,
        (Action.FAIL, RunState.RUNNING): RunState.FAILED,
        (Action.FAIL, RunState.STOPPING): RunState.FAILED,
    }.get((action, state), RunState.QUEUED if action is Action.PRESS else state)
    controller = RunController()
    controller.press(PRESS)
    controller.state = state
    match action:
        case Action.PRESS:
            controller.press(Press("a", ()))
        case Action.START:
            assert controller.start(PRESS) == (state is RunState.QUEUED)
        case Action.STOP:
            assert controller.stop() == (state in (RunState.QUEUED, RunState.RUNNING))
        case Action.FINISH | Action.FAIL:
            controller.end(PRESS, action)
    assert controller.state is expected


def test_run_shows_its_frames_and_its_end() -> None:
    controller, press = started()
    assert list(controller.follow(press, work(3), end_of)) == [0, 1, 2, "done"]
    assert controller.state is RunState.DONE


def test_stop_ends_the_work_and_has_the_last_word() -> None:
    controller, press = started()
    seen: list[object] = []
    made = work(9, seen)
    frames = controller.follow(press, made, end_of)
    assert next(frames) == 0
    assert controller.stop()
    assert controller.state is RunState.STOPPING
    assert list(frames) == ["idle"]
    assert seen == [0, "closed"]
    assert controller.state is RunState.IDLE
    assert not controller.stop()


def test_stop_during_the_work_ends_it_after_that() -> None:
    controller, press = started()

    def frames() -> Generator[int]:
        yield 0
        controller.stop()
        yield 1
        yield 2

    assert list(controller.follow(press, frames(), end_of)) == [0, "idle"]


def test_stopped_before_its_turn_does_not_start() -> None:
    controller = RunController()
    controller.press(PRESS)
    assert controller.stop()
    assert controller.state is RunState.IDLE
    assert not controller.start(PRESS)


def test_a_press_takes_the_place_of_the_one_that_waits() -> None:
    controller, first, again = RunController(), Press("a", (1,)), Press("a", (2,))
    controller.press(first)
    controller.press(again)
    assert first.stop.is_set()
    assert not controller.start(first)
    assert controller.start(again)


def test_a_run_that_its_flag_stops_ends_as_by_the_button() -> None:
    controller, press = started()

    def frames() -> Generator[int]:
        yield 0
        press.stop.set("The time is over.")
        raise Stopped

    assert list(controller.follow(press, frames(), end_of)) == [0, "idle"]
    assert controller.state is RunState.IDLE


def test_superseded_run_ends_and_shows_nothing_more() -> None:
    controller, press = started()
    seen: list[object] = []
    made = work(9, seen)
    frames = controller.follow(press, made, end_of)
    assert next(frames) == 0
    again = Press("a", ())
    controller.press(again)
    assert press.stop.is_set()
    assert list(frames) == [None]
    assert seen == [0, "closed"]
    assert controller.state is RunState.QUEUED
    assert controller.start(again)


def test_run_superseded_at_its_end_leaves_the_next_one_its_state() -> None:
    controller, press = started()
    frames = controller.follow(press, work(1), end_of)
    assert next(frames) == 0
    controller.press(PRESS)
    controller.stop()
    assert list(frames) == [None]
    assert controller.state is RunState.IDLE


def test_error_comes_after_the_last_frame() -> None:
    def failing() -> Generator[int]:
        yield 0
        raise ValueError("no")

    controller, press = started()
    frames = controller.follow(press, failing(), end_of)
    assert [next(frames), next(frames)] == [0, "failed"]
    with pytest.raises(ValueError, match="no"):
        next(frames)
    assert controller.state is RunState.FAILED
    again = Press("a", ())
    controller.press(again)
    assert controller.start(again)
