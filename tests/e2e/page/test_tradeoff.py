"""The sweep over t_max and t_min: plot, table, files, and what two points look like."""

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from ccsr.inference.engine import load_engine
from tests.e2e.page.conftest import Serve
from tests.e2e.page.page_objects import CCSRPage, expect_file, expect_size
from tests.fakes import FakeEngine

pytestmark = pytest.mark.e2e


def test_sweep_draws_its_points_and_shows_the_one_that_is_clicked(
    ui: CCSRPage, engine: FakeEngine, picture_file: Path, reference_file: Path
) -> None:
    ui.choose_picture(picture_file)
    ui.choose_reference(reference_file)
    ui.tradeoff.run_sweep("0.5, 0.6667", "0.3333, 0.5", 2)
    expect(ui.tradeoff.points).to_have_count(4)
    assert f"{engine.evaluations} network evaluations" in ui.tradeoff.cost.inner_text()
    assert engine.evaluations == 2 * (9 + 15)
    expect_file(ui.tradeoff.left, "t_max-0.6667_t_min-0.3333_seed-0.png")
    expect_file(ui.tradeoff.right, "t_max-0.6667_t_min-0.5_seed-0.png")
    for name in ("tradeoff.csv", "tradeoff.json", "tradeoff.png"):
        expect(ui.tradeoff.files.get_by_role("cell", name=name)).to_be_visible()
    ui.tradeoff.expect_ready()
    # Not A1 or A2: of the fake engine they lie one on the other.
    ui.tradeoff.points.nth(1).locator("use").click()
    expect_file(ui.tradeoff.right, "t_max-0.5_t_min-0.5_seed-0.png")
    # The keyboard does the same.
    ui.tradeoff.points.nth(0).focus()
    ui.page.keyboard.press("Enter")
    expect_file(ui.tradeoff.right, "t_max-0.5_t_min-0.3333_seed-0.png")
    for name in ("A1: t_max 0.5, t_min 0.3333", "Bicubic"):
        expect(ui.tradeoff.table.get_by_role("rowheader", name=name)).to_be_visible()
    expect(ui.tradeoff.loupe.image("Bicubic")).to_have_count(0)
    ui.tradeoff.loupe.choose("Left", "Bicubic")
    expect_file(ui.tradeoff.left, "bicubic.png")


def test_the_setting_of_a_point_is_used_on_the_other_tabs(
    ui: CCSRPage, engine: FakeEngine, picture_file: Path
) -> None:
    ui.choose_picture(picture_file)
    ui.choose_number("Steps of the grid (S)", "30")
    ui.tradeoff.run_sweep("0.5, 0.6667", "0.3333, 0.5", 2)
    expect(ui.tradeoff.points).to_have_count(4)
    ui.tradeoff.expect_ready()
    ui.tradeoff.points.nth(1).focus()
    ui.page.keyboard.press("Enter")
    use = ui.page.locator("#sweep-use")
    expect(use).to_have_text("Use t_max 0.5, t_min 0.5")
    use.click()
    expect(ui.number("t_max")).to_have_value("0.5")
    expect(ui.number("t_min")).to_have_value("0.5")
    expect(ui.number("Steps of the grid (S)")).to_have_value("30")
    # What is chosen in the loupe is used as well.
    ui.tradeoff.loupe.choose("Right", "CCSR: t_max 0.6667, t_min 0.3333")
    expect(use).to_have_text("Use CCSR: t_max 0.6667, t_min 0.3333")
    use.click()
    expect(ui.number("t_max")).to_have_value("0.6667")


def test_sweep_without_settings_in_order_is_refused(
    ui: CCSRPage, engine: FakeEngine, picture_file: Path
) -> None:
    ui.choose_picture(picture_file)
    ui.tradeoff.run_sweep("0.2", "0.5", 2)
    ui.expect_refusal("lower t_min or raise t_max")
    expect(ui.tradeoff.cost).to_contain_text("lower t_min or raise t_max")
    assert engine.evaluations == 0


def test_stopping_a_sweep_keeps_the_settings_that_are_done(
    ui: CCSRPage, engine: FakeEngine, picture_file: Path
) -> None:
    engine.delay = 0.1
    ui.choose_picture(picture_file)
    ui.tradeoff.run_sweep("0.5, 0.9", "0.4", 2)
    expect(ui.tradeoff.status).to_contain_text("1 of 2 settings done")
    expect(ui.tradeoff.points).to_have_count(1)
    expect(ui.tradeoff.files).to_be_hidden()
    ui.tradeoff.stop.click()
    expect(ui.tradeoff.status).to_contain_text("Stopped. 1 of 2 settings kept.")
    expect(ui.tradeoff.points).to_have_count(1)


def test_compact_model_sweeps_on_the_page(page: Page, serve: Serve, picture_file: Path) -> None:
    ui = CCSRPage(page, serve(load_engine("compact"))).open()
    expect(ui.picture).to_be_visible()  # the example that the page opens with
    ui.choose_picture(picture_file)
    ui.tradeoff.run_sweep("0.5, 0.6667", "0.3333, 0.5", 2)
    # One row a setting, and the enlargement.
    expect(ui.tradeoff.table.locator("tbody tr")).to_have_count(5, timeout=120_000)
    ui.tradeoff.expect_ready()
    expect(ui.tradeoff.points).to_have_count(4)
    for image in (ui.tradeoff.left, ui.tradeoff.right):
        expect_size(image, 240, 160)
