from pathlib import Path

import gradio as gr

from ccsr.config import SamplingConfig
from ccsr.inference.estimate_cache import EstimateCache
from ccsr.ui.sessions import OpenPicture, Sessions
from tests.fakes import FakeEngine

CONFIG = SamplingConfig()


def opened_by(sessions: Sessions, visitor: str | None, path: Path, *, run: bool = False) -> int:
    """How many network evaluations a run of the picture takes; with `run`, it is made."""
    with sessions.open(visitor, str(path)) as opened:
        missing = opened.session.num_evaluations(CONFIG, 0)
        if run:
            run_to_the_end(opened)
    return missing


def run_to_the_end(opened: OpenPicture) -> None:
    for _ in opened.session.run(CONFIG, 0):
        pass


def leave(sessions: Sessions, visitor: str) -> None:
    request = gr.Request()
    request.session_hash = visitor
    sessions.release(request)


def test_a_visitor_keeps_the_picture_and_its_estimates(picture_file: Path) -> None:
    sessions = Sessions(FakeEngine())
    with sessions.open("a", str(picture_file)) as first:
        run_to_the_end(first)
    with sessions.open("a", str(picture_file)) as second:
        assert second is first
        assert second.session.num_evaluations(CONFIG, 0) == 0


def test_estimates_of_an_earlier_picture_are_kept_too(
    picture_file: Path, reference_file: Path
) -> None:
    sessions = Sessions(FakeEngine())
    opened_by(sessions, "a", picture_file, run=True)
    assert opened_by(sessions, "a", reference_file) > 0
    assert len(sessions) == 1
    assert opened_by(sessions, "a", picture_file) == 0


def test_visitors_do_not_share_estimates(picture_file: Path) -> None:
    sessions = Sessions(FakeEngine())
    opened_by(sessions, "a", picture_file, run=True)
    assert opened_by(sessions, "b", picture_file) > 0
    assert len(sessions) == 2


def test_program_without_a_page_keeps_nothing(picture_file: Path) -> None:
    sessions = Sessions(FakeEngine())
    opened_by(sessions, None, picture_file, run=True)
    assert (len(sessions), len(sessions.cache)) == (0, 0)
    assert opened_by(sessions, None, picture_file) > 0


def test_visitor_who_leaves_takes_the_estimates_along(picture_file: Path) -> None:
    sessions = Sessions(FakeEngine())
    opened_by(sessions, "a", picture_file, run=True)
    opened_by(sessions, "b", picture_file, run=True)
    leave(sessions, "a")
    assert len(sessions) == 1
    assert opened_by(sessions, "b", picture_file) == 0
    assert opened_by(sessions, "a", picture_file) > 0


def test_visitor_who_leaves_during_a_run_leaves_nothing(picture_file: Path) -> None:
    sessions = Sessions(FakeEngine())
    with sessions.open("a", str(picture_file)) as opened:
        leave(sessions, "a")
        run_to_the_end(opened)
        assert len(sessions.cache)
    assert (len(sessions), len(sessions.cache)) == (0, 0)


def test_the_cache_bounds_the_estimates_of_all_visitors(picture_file: Path) -> None:
    sessions = Sessions(FakeEngine(), EstimateCache(max_memory_bytes=0, max_disk_bytes=0))
    for visitor in "abc":
        opened_by(sessions, visitor, picture_file, run=True)
    assert len(sessions) == 3
    assert opened_by(sessions, "a", picture_file) > 0


def test_pictures_that_were_not_used_for_long_are_closed(
    picture_file: Path, reference_file: Path
) -> None:
    sessions = Sessions(FakeEngine(), max_bytes=60 * 40 * 3 * 4 * 3)
    for number in range(1000):
        opened_by(sessions, f"visitor {number}", picture_file)
    assert len(sessions) == 3
    with sessions.open("visitor 998", str(picture_file)) as used:
        for number in range(9):
            opened_by(sessions, f"other {number}", picture_file)
        with sessions.open("visitor 998", str(picture_file)) as again:
            assert again is used


def test_estimates_stay_when_their_picture_is_closed(picture_file: Path) -> None:
    sessions = Sessions(FakeEngine(), max_bytes=0)
    opened_by(sessions, "a", picture_file, run=True)
    assert len(sessions) == 0
    assert opened_by(sessions, "a", picture_file) == 0
