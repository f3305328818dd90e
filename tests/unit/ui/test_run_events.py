import gradio as gr
import pytest

from ccsr.ui.run_controller import Action, Press, RunController, RunState
from ccsr.ui.run_events import _buttons_now, button_updates


@pytest.mark.parametrize(
    ("state", "start", "stop", "label"),
    [
        (RunState.IDLE, True, False, "Stop"),
        (RunState.QUEUED, False, True, "Stop"),
        (RunState.RUNNING, False, True, "Stop"),
        (RunState.DONE, True, False, "Stop"),
        (RunState.FAILED, True, False, "Stop"),
    ],
)
def test_buttons_show_the_state(state: RunState, start: bool, stop: bool, label: str) -> None:
    start_update, stop_update = button_updates(state)
    assert start_update["interactive"] is start
    assert (stop_update["interactive"], stop_update["value"]) == (stop, label)


def test_answer_to_stop_leaves_the_start_button_to_the_last_frame() -> None:
    start_update, stop_update = button_updates(RunState.STOPPING)
    assert start_update == gr.skip()
    assert (stop_update["interactive"], stop_update["value"]) == (False, "Stopping")


def test_buttons_after_the_answer_to_stop_are_those_of_the_end() -> None:
    controller = RunController()
    press = Press(None, ())
    controller.press(press)
    assert controller.start(press)
    controller.stop()
    assert _buttons_now(controller) == (gr.skip(), gr.skip())
    controller.end(press, Action.FINISH)
    assert _buttons_now(controller) == button_updates(RunState.IDLE)
