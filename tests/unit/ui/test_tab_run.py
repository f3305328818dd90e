import dataclasses
import re
from collections.abc import Generator
from pathlib import Path
from unittest.mock import Mock, call

import gradio as gr
import pytest

from ccsr.errors import InputError
from ccsr.images.picture import Size
from ccsr.inference.cost import Cost
from ccsr.inference.events import Decoded, Progress
from ccsr.inference.pace import Pace, StageClock
from ccsr.ui import tab_run as tab_run_module
from ccsr.ui.loupe import View, Views
from ccsr.ui.run_controller import RunState
from ccsr.ui.tab_run import Preview, RunEvent, RunView, TabRun, result_stage, seconds_left

COST = Cost(5, 1, Size(100, 100))
PAIR = Views((View("Bicubic", Path("bicubic.png")), View("Estimate", Path("preview.png"))))


@pytest.fixture(autouse=True)
def _frames_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tab_run_module, "FRAME_SECONDS", 0.0)


@dataclasses.dataclass(frozen=True)
class Made:
    folder: Path
    count: int
    total: int = 3
    finished: bool = False

    def __len__(self) -> int:
        return self.count


def cost(*_: object) -> Cost:
    return COST


def tab_run(noun: str = "seed") -> TabRun[None, Made]:
    def finish(made: Made) -> Made:
        return dataclasses.replace(made, finished=True)

    return TabRun(lambda _: None, lambda _: iter(()), cost, "test", noun=noun, finish=finish)


def progress(evaluation: int) -> Progress:
    return Progress(evaluation, 4, 999, (0,), None)


def events(*given: RunEvent | Made, error: Exception | None = None) -> Generator[RunEvent | Made]:
    yield from given
    if error:
        raise error


def test_earlier_results_stay_until_there_are_new_ones(tmp_path: Path) -> None:
    before, made = Made(tmp_path / "before", 3), Made(tmp_path / "made", 1)
    before.folder.mkdir()
    view = RunView(tab_run(), before)
    frames = view.frames(events(progress(1), made, progress(2)))
    assert next(frames).results is before
    assert before.folder.exists()
    assert next(frames).results is made
    assert not before.folder.exists()
    last = next(frames)
    assert last.results is made
    assert "1 of 3 seeds done" in last.status


def test_status_follows_the_progress(tmp_path: Path) -> None:
    view = RunView(tab_run(), None)
    assert "Reading the picture" in view.now().status
    given = progress(2), Decoded(5, 6), Made(tmp_path, 2)
    statuses = [frame.status for frame in view.frames(events(*given))]
    assert "Sharpening" in statuses[0]
    assert "Network evaluation 2 of 4" in statuses[0]
    assert "Decoded 5 of 6" in statuses[1]
    assert "2 of 3 seeds done" in statuses[2]


def test_every_stage_has_its_share_of_the_bar() -> None:
    view = RunView(tab_run(""), None, cost=COST, expected=20.0)
    assert "Reading the picture, about 20 s left" in view.now().status
    assert 'aria-valuenow="0.0"' in view.now().status
    stages = [
        re.search(r'valuenow="([0-9.]+)".*>(\w+), ', frame.status)
        for frame in view.frames(events(progress(2), progress(4)))
    ]
    # Of 5 for the encoding, 5 for the evaluations and 10 for the decoding.
    assert [found.groups() for found in stages if found] == [
        ("37.5", "Sharpening"),
        ("50.0", "Finishing"),
    ]


@pytest.mark.parametrize(
    ("share", "elapsed", "expected", "left"),
    [(0.5, 4.0, None, 4.0), (0.25, 1.0, None, 3.0), (0.5, 4.0, 20.0, 7.0), (1.0, 4.0, 20.0, 0.0)],
)
def test_what_is_known_before_counts_the_less_the_more_has_passed(
    share: float, elapsed: float, expected: float | None, left: float
) -> None:
    assert seconds_left(share, elapsed, expected) == pytest.approx(left)


def test_what_a_run_takes_foretells_another_even_if_it_was_stopped() -> None:
    pace = Pace()
    clock = StageClock(pace, result_stage(tab_run(), None), COST.megapixels)
    view = RunView(tab_run(), None, cost=COST, clock=clock)
    list(view.frames(events(progress(1), progress(2))))
    assert pace.seconds(COST, clock.result) is None
    list(view.frames(events(Decoded(1, 3), Made(Path(), 1))))
    known = pace.seconds(COST, clock.result)
    other = pace.seconds(COST, result_stage(tab_run(), "reference.png"))
    assert known
    assert other
    # With a reference there is more to do.
    assert other.low == known.low
    assert other.high > known.high


def test_the_clock_of_a_run_is_told_of_each_end_of_a_stage() -> None:
    clock = Mock(spec=StageClock, started=0.0)
    view = RunView(tab_run(), None, cost=COST, clock=clock)
    list(view.frames(events(progress(1), Decoded(1, 2), Decoded(2, 2), Made(Path(), 1))))
    assert clock.method_calls == [call.evaluated(1), call.decoded(), call.decoded(), call.made()]


def test_preview_is_shown_at_once_and_with_the_progress_that_follows() -> None:
    view = RunView(tab_run(""), None)
    frames = list(view.frames(events(progress(1), Preview(PAIR), progress(2))))
    assert [frame.pictures for frame in frames] == [None, PAIR, PAIR]


def test_of_progress_that_comes_fast_a_part_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tab_run_module, "FRAME_SECONDS", 60.0)
    view = RunView(tab_run(""), None)
    given = [progress(1), progress(2), progress(3), Preview(PAIR), progress(4), Made(Path(), 1, 1)]
    frames = list(view.frames(events(*given)))
    shown = [re.search(r"evaluation (\d)", frame.status) for frame in frames]
    # The first, the preview, the last, which begins another stage, and the result.
    assert [found.group(1) for found in shown if found] == ["1", "3", "4", "4"]


def test_new_results_come_with_their_pictures() -> None:
    showing = dataclasses.replace(tab_run(""), views=lambda _: PAIR)
    view, before = RunView(showing, None), RunView(showing, Made(Path("before"), 1, 1))
    (frame,) = view.frames(events(Made(Path(), 1, 1)))
    assert frame.pictures == PAIR
    assert view.ending(RunState.DONE).pictures == PAIR
    # Those of earlier results are shown already.
    assert before.now().pictures is None


def test_finished_run_has_its_results_and_no_status(tmp_path: Path) -> None:
    view = RunView(tab_run(), None, Made(tmp_path, 3))
    frame = view.ending(RunState.DONE)
    assert frame.status == ""
    assert frame.results
    assert frame.results.finished


@pytest.mark.parametrize(
    ("before", "made", "preview", "status"),
    [
        (None, None, None, "Stopped.<"),
        (None, None, PAIR, "Shown is what there is: Estimate."),
        (3, None, None, "The earlier result is shown."),
        (3, 1, None, "Stopped. 1 of 3 seeds kept."),
    ],
)
def test_stopped_run_says_what_is_shown(
    before: int | None, made: int | None, preview: Views | None, status: str
) -> None:
    earlier, new = (Made(Path(), n) if n else None for n in (before, made))
    frame = RunView(tab_run(), earlier, new, preview=preview).ending(RunState.IDLE)
    assert status in frame.status
    assert frame.pictures == preview
    if new:
        assert frame.results == dataclasses.replace(new, finished=True)
    else:
        assert frame.results is earlier


def test_results_stay_if_what_is_written_at_the_end_fails(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def finish(made: Made) -> Made:
        raise OSError("no space left on device")

    failing, made = dataclasses.replace(tab_run(), finish=finish), Made(Path(), 3)
    for state in (RunState.DONE, RunState.IDLE, RunState.FAILED):
        frame = RunView(failing, None, made).ending(state)
        assert frame.results == made
        assert "could not be written" in frame.status
        assert "no space left on device" in caplog.text
        caplog.clear()


def test_run_that_is_complete_when_it_is_stopped_is_a_finished_one() -> None:
    assert RunView(tab_run(), None, Made(Path(), 3)).ending(RunState.IDLE).status == ""


def test_failed_run_keeps_its_results_and_no_preview() -> None:
    view = RunView(tab_run(), None, Made(Path(), 1), preview=PAIR, failure="No memory")
    frame = view.ending(RunState.FAILED)
    assert "No memory" in frame.status
    assert frame.results
    assert frame.pictures is None


def test_error_of_the_work_is_a_message() -> None:
    view = RunView(tab_run(), None)
    with pytest.raises(gr.Error, match="too large"):
        list(view.frames(events(error=InputError("too large"))))
    assert "too large" in view.ending(RunState.FAILED).status
