import pytest

from ccsr.ui.run_controller import RunState
from ccsr.ui.run_events import button_updates


@pytest.mark.parametrize(
    ("state", "start", "stop", "label"),
    [
        (RunState.IDLE, True, False, "Stop"),
        (RunState.QUEUED, False, True, "Stop"),
        (RunState.RUNNING, False, True, "Stop"),
        (RunState.STOPPING, False, False, "Stopping"),
        (RunState.DONE, True, False, "Stop"),
        (RunState.FAILED, True, False, "Stop"),
    ],
)
def test_buttons_show_the_state(state: RunState, start: bool, stop: bool, label: str) -> None:
    start_update, stop_update = button_updates(state)
    assert start_update["interactive"] is start
    assert (stop_update["interactive"], stop_update["value"]) == (stop, label)
