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
    x = ui.trajectory.drag_t_min(-20)
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
    mark, mouse = ui.trajectory.t_min_mark, ui.page.mouse
    mark.scroll_into_view_if_needed()
    box = box_at_rest(mark)
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    mouse.move(x, y)
    mouse.down()
    mouse.move(x + pixels, y, steps=4)
    expect_centre(mark, x + pixels)
    value = ui.number("t_min").input_value()
    mouse.up()
    expect(ui.number("t_min")).not_to_have_value(value)
    # Drawn anew, it is where it was let go.
    expect_centre(mark, x + pixels)


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
