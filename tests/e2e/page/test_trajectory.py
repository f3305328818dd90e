"""The estimates of a run as a film strip, and the plot whose marks are the settings."""

from pathlib import Path

import pytest
from playwright.sync_api import Locator, expect

from ccsr.config import SamplingConfig
from ccsr.diffusion.timesteps import timestep_plan
from ccsr.evaluation.report import read_settings
from tests.e2e.page.page_objects import CCSRPage, LoupePart, box_at_rest
from tests.fakes import FakeEngine

pytestmark = pytest.mark.e2e

EVALUATIONS = timestep_plan(SamplingConfig()).num_evaluations


def show_trajectory(ui: CCSRPage) -> None:
    ui.trajectory.open()
    ui.trajectory.run()
    expect(ui.trajectory.strip).to_have_count(EVALUATIONS)


def test_a_frame_that_is_clicked_is_shown_large_beside_the_last(
    ui: CCSRPage, picture_file: Path
) -> None:
    ui.choose_picture(picture_file)
    show_trajectory(ui)
    ui.trajectory.expect_ready()
    loupe = LoupePart(ui.trajectory.part("strip"))
    small = box_at_rest(ui.trajectory.strip.nth(3))["width"]
    ui.trajectory.strip.nth(3).click()
    expect(ui.trajectory.strip).to_have_count(2)
    captions = loupe.cells.locator("figcaption")
    expect(captions).to_have_text(["t = 613", "t = 341"])
    assert box_at_rest(ui.trajectory.strip.first)["width"] > 2 * small


def test_the_run_that_was_made_before_is_not_made_again(
    ui: CCSRPage, engine: FakeEngine, picture_file: Path
) -> None:
    ui.choose_picture(picture_file)
    ui.upscale.finish(f"Network evaluations{EVALUATIONS}")
    show_trajectory(ui)
    assert engine.evaluations == EVALUATIONS


def test_marks_are_dragged_and_moved_by_keys(ui: CCSRPage, picture_file: Path) -> None:
    ui.choose_picture(picture_file)
    show_trajectory(ui)
    value, mark = ui.number("t_min"), ui.trajectory.t_min_mark
    x, y = ui.trajectory.middle_of(mark)
    ui.trajectory.drag((x, y), -20)
    expect(value).not_to_have_value("0.3333")
    dragged = float(value.input_value())
    assert 0.34 < dragged < 0.6
    # The picture follows the setting, and so do the marks, whatever moves it.
    expect(ui.trajectory.strip).to_have_count(EVALUATIONS)
    mark.focus()
    for _ in range(2):
        before = value.input_value()
        ui.page.keyboard.press("ArrowRight")
        expect(value).not_to_have_value(before)
        expect(mark).to_be_focused()
    assert dragged - 0.05 < float(value.input_value()) < dragged
    ui.choose_number("t_min", "0.1")
    ui.page.wait_for_function(
        """(x) => document.querySelector("[id=mark-t_min-0]").getBoundingClientRect().x > x + 50""",
        arg=x,
    )


def expect_centre(mark: Locator, x: float) -> None:
    """Wait until the middle of a mark has come to rest at x, to 3 pixels."""
    for _ in range(20):
        box = box_at_rest(mark)
        centre = box["x"] + box["width"] / 2
        if centre == pytest.approx(x, abs=3):
            return
    pytest.fail(f"the mark rests at {centre:.0f}, not at {x:.0f}")


@pytest.mark.parametrize("pixels", [-30, 20])
def test_a_mark_is_under_the_mouse_that_drags_it(
    ui: CCSRPage, picture_file: Path, pixels: int
) -> None:
    ui.choose_picture(picture_file)
    show_trajectory(ui)
    mark = ui.trajectory.t_min_mark
    x, y = ui.trajectory.middle_of(mark)
    ui.trajectory.hold((x, y), pixels)
    expect_centre(mark, x + pixels)
    value = ui.number("t_min").input_value()
    ui.page.mouse.up()
    expect(ui.number("t_min")).not_to_have_value(value)
    # Drawn anew, it is where it was let go.
    expect_centre(mark, x + pixels)


def test_a_drag_that_the_browser_cancels_ends_where_it_came_to(
    ui: CCSRPage, picture_file: Path
) -> None:
    ui.choose_picture(picture_file)
    show_trajectory(ui)
    mark = ui.trajectory.t_min_mark
    x, y = ui.trajectory.middle_of(mark)
    ui.trajectory.hold((x, y), -30)
    mark.dispatch_event("pointercancel", {"bubbles": True})
    expect(ui.number("t_min")).not_to_have_value("0.3333")
    ui.page.mouse.move(x - 60, y, steps=4)
    expect_centre(mark, x - 30)


def test_two_drags_at_once_both_count(ui: CCSRPage, picture_file: Path) -> None:
    ui.choose_picture(picture_file)
    show_trajectory(ui)
    marks = ui.trajectory.t_min_mark, ui.trajectory.t_max_mark
    places = [ui.trajectory.middle_of(mark) for mark in marks]
    # The second has begun and ended before there is an answer to the first.
    for place, pixels in zip(places, (-20, -30), strict=True):
        ui.trajectory.drag(place, pixels)
    expect(ui.number("t_max")).not_to_have_value("0.6667")
    for mark, (x, _), pixels in zip(marks, places, (-20, -30), strict=True):
        expect_centre(mark, x + pixels)
    ui.come_to_rest()
    assert float(ui.number("t_min").input_value()) > 0.34
    assert float(ui.number("t_max").input_value()) > 0.68


def test_drag_goes_on_while_the_plot_is_drawn_after_the_drag_before(
    ui: CCSRPage, picture_file: Path
) -> None:
    ui.choose_picture(picture_file)
    show_trajectory(ui)
    mark, mouse = ui.trajectory.t_min_mark, ui.page.mouse
    x, y = ui.trajectory.middle_of(mark)
    ui.trajectory.drag((x, y), -30)
    mouse.down()
    mouse.move(x - 50, y, steps=2)
    expect(ui.number("t_min")).not_to_have_value("0.3333")
    first = ui.number("t_min").input_value()
    expect_centre(mark, x - 50)
    mouse.move(x - 70, y, steps=2)
    expect_centre(mark, x - 70)
    mouse.up()
    expect(ui.number("t_min")).not_to_have_value(first)
    expect_centre(mark, x - 70)


def test_mark_at_its_limit_stays_there(ui: CCSRPage, picture_file: Path) -> None:
    ui.choose_picture(picture_file)
    show_trajectory(ui)
    value, mark = ui.number("t_min"), ui.trajectory.t_min_mark
    ui.choose_number("t_min", "0")
    expect(mark).to_have_attribute("aria-valuenow", "0")
    mark.focus()
    place = box_at_rest(mark)["x"]
    for _ in range(5):
        ui.page.keyboard.press("ArrowRight")
    ui.page.keyboard.press("ArrowLeft")
    expect(value).not_to_have_value("0")
    assert box_at_rest(mark)["x"] < place


def test_estimate_of_a_trajectory_carries_the_settings_that_end_there(
    ui: CCSRPage, picture_file: Path, tmp_path: Path
) -> None:
    ui.choose_picture(picture_file)
    show_trajectory(ui)
    address = ui.trajectory.strip.nth(2).get_attribute("src")
    assert address is not None
    saved = tmp_path / "estimate.png"
    saved.write_bytes(ui.page.request.get(address).body())
    found = read_settings(saved)
    assert timestep_plan(found.config).num_evaluations == 3
