from pathlib import Path

import pytest

from ccsr.config import SamplingConfig
from ccsr.inference.events import Progress
from ccsr.ui.sessions import open_picture
from ccsr.ui.tab_run import Job, Preview, RunView
from ccsr.ui.tabs.upscale import TAB_RUN, UNSEEN_RUN, Upscaled, upscale
from tests.fakes import FakeEngine

A1 = SamplingConfig(t_max=0.5)


@pytest.fixture(autouse=True)
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "served"))


def upscaled(job: Job[tuple[SamplingConfig, int], Upscaled]) -> Upscaled:
    (*_, last) = upscale(job)
    assert isinstance(last, Upscaled)
    return last


def test_network_evaluations_are_counted_from_where_the_model_starts(picture_file: Path) -> None:
    engine = FakeEngine(loop_start="official")
    result = upscaled(Job(engine, open_picture(engine, str(picture_file)), (A1, 0)))
    assert result.facts["Network evaluations"] == str(engine.evaluations) == "8"


def test_the_enlargement_comes_first_and_each_preview_before_its_progress(
    picture_file: Path,
) -> None:
    engine = FakeEngine()
    events = list(upscale(Job(engine, open_picture(engine, str(picture_file)), (A1, 0))))
    assert [type(event) for event in events] == [
        Preview,
        *[Preview, Progress] * 9,
        Upscaled,
    ]
    first, second = events[:2]
    assert isinstance(first, Preview)
    assert isinstance(second, Preview)
    assert [view.name for view in first.views.views] == ["Bicubic"]
    assert second.views.views[-1].name == "Estimate after step 1 of 9"


def test_the_frame_that_has_a_result_shows_it(picture_file: Path) -> None:
    """Without another request of the browser."""
    engine = FakeEngine()
    view = RunView(TAB_RUN, None)
    job = Job(engine, open_picture(engine, str(picture_file)), (A1, 0))
    *_, last = view.frames(TAB_RUN.work(job))
    assert last.results is not None
    assert last.pictures == last.results.views


def test_without_previews_only_the_enlargement_is_told_before(picture_file: Path) -> None:
    engine = FakeEngine()
    job = Job(engine, open_picture(engine, str(picture_file)), (A1, 0))
    events = list(UNSEEN_RUN.work(job))
    assert [type(event) for event in events] == [Preview, *[Progress] * 9, Upscaled]
    assert not engine.previewed


def test_enlargement_is_shared_by_results_of_one_scale(picture_file: Path) -> None:
    engine = FakeEngine()
    source = open_picture(engine, str(picture_file))
    first = upscaled(Job(engine, source, (A1, 0)))
    second = upscaled(Job(engine, source, (A1, 1), before=first))
    assert second.bicubic == first.bicubic
    assert second.facts["Network evaluations"] == "9"
    TAB_RUN.release(first, second)
    # The first result stays to be compared with.
    assert [view.file for view in second.earlier] == [first.result]
    assert first.result.exists()
    assert second.bicubic.exists()
    third = upscaled(Job(engine, source, (SamplingConfig(scale=2), 0), before=second))
    assert third.bicubic != second.bicubic
    TAB_RUN.release(second, third)
    assert not second.bicubic.exists()
    assert not first.result.exists()
