"""What is shown says of what it is, and is marked once something else is chosen."""

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.page.conftest import Server
from tests.e2e.page.page_objects import CCSRPage, Tab, box_at_rest
from tests.fakes import FakeEngine

pytestmark = pytest.mark.e2e

DIMMED = "0.35"


def finish(ui: CCSRPage, tab: Tab) -> None:
    tab.open()
    tab.run()
    expect(tab.origin).to_contain_text("cat.png, x4")
    tab.expect_ready()


def test_results_of_every_tab_are_marked_by_what_was_chosen_since(
    ui: CCSRPage, picture_file: Path, reference_file: Path
) -> None:
    tabs = {
        ui.upscale: "#upscale-result .loupe-cells",
        ui.seeds: "#seeds-loupe .loupe-cells",
        ui.tradeoff: "#sweep-plot svg",
        ui.trajectory: "#trajectory-plot svg",
        ui.variants: "#variants-loupe .loupe-cells",
    }
    ui.choose_picture(picture_file)
    for tab in tabs:
        finish(ui, tab)
    ui.choose_number("Steps of the grid (S)", "12")
    # Upscale runs by itself only if it is in sight when the page hears of the change.
    ui.come_to_rest()
    for tab, shown in tabs.items():
        tab.open()
        expect(tab.origin).to_contain_text("Of other settings: cat.png, x4")
        expect(tab.origin).to_contain_text("S 45")
        expect(tab.panel.locator(shown).first).to_have_css("opacity", DIMMED)
    ui.choose_number("Steps of the grid (S)", "45")
    ui.come_to_rest()
    for tab, shown in tabs.items():
        tab.open()
        expect(tab.origin).not_to_contain_text("Of other settings")
        expect(tab.panel.locator(shown).first).to_have_css("opacity", "1")
    ui.choose_reference(reference_file)
    expect(ui.variants.origin).to_contain_text("Scored before the reference changed")
    ui.give_file(reference_file)
    for tab in tabs:
        tab.open()
        expect(tab.origin).to_contain_text("Of the picture before: cat.png")


def test_another_seed_marks_the_result_of_the_one_before(ui: CCSRPage, picture_file: Path) -> None:
    ui.choose_picture(picture_file)
    finish(ui, ui.upscale)
    ui.upscale.seed.fill("7")
    expect(ui.upscale.origin).to_contain_text("Of other settings")
    ui.upscale.run()
    expect(ui.upscale.origin).to_contain_text("seed 7")
    expect(ui.upscale.origin).not_to_contain_text("Of other settings")


def test_variant_has_no_effect_on_the_comparison_of_variants(
    ui: CCSRPage, picture_file: Path
) -> None:
    ui.choose_picture(picture_file)
    finish(ui, ui.variants)
    ui.unfold(ui.page.get_by_role("button", name="Colours, variant"))
    ui.page.get_by_role("radio", name="V2").check()
    ui.come_to_rest()
    expect(ui.variants.origin).not_to_contain_text("Of other settings")


@pytest.mark.parametrize("size", [(1440, 900), (390, 844)])
def test_settings_are_in_sight_beside_the_result(
    page: Page, server: Server, engine: FakeEngine, picture_file: Path, size: tuple[int, int]
) -> None:
    page.set_viewport_size({"width": size[0], "height": size[1]})
    ui = CCSRPage(page, server.url).open()
    ui.choose_picture(picture_file)
    ui.upscale.finish("240x160")
    handle = page.get_by_role("button", name="Settings", expanded=True)
    if size[0] < 900:
        expect(ui.slider("t_max")).to_be_hidden()
        page.get_by_role("button", name="Settings", expanded=False).first.click()
        expect(handle).to_be_visible()
        ui.upscale.result.evaluate("element => element.scrollIntoView(true)")
        drawer = box_at_rest(page.locator("div.settings"))
        box = box_at_rest(ui.upscale.result)
        assert box["y"] + box["height"] < drawer["y"]
    for name in ("t_max", "t_min", "Steps of the grid (S)"):
        expect(ui.slider(name)).to_be_in_viewport()
    expect(ui.upscale.result).to_be_in_viewport()
    assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
    if size[0] < 900:
        handle.click()
        expect(ui.slider("t_max")).to_be_hidden()


SMALL = """() => [...document.querySelectorAll("button, a, input, select, [role=slider]")]
    .filter((element) => element.checkVisibility() && element.offsetWidth)
    .map((element) => element.closest(".wrap-inner") ?? element)
    .filter((target) => Math.min(target.offsetWidth, target.offsetHeight) < 24)
    .map((target) => target.outerHTML.slice(0, 160))
"""
NAMELESS = """() => [...document.querySelectorAll("button, a, input, select, [role=slider]")]
    .filter((element) => element.checkVisibility())
    .filter((element) => !element.ariaLabel && !element.innerText && !element.title
        && !element.labels?.length)
    .map((element) => element.outerHTML.slice(0, 200))
"""


def test_everything_can_be_named_and_touched(ui: CCSRPage, picture_file: Path) -> None:
    ui.choose_picture(picture_file)
    ui.upscale.finish("240x160")
    assert ui.page.evaluate(SMALL) == []
    assert ui.page.evaluate(NAMELESS) == []


def test_upscale_is_reached_by_few_tabs_and_focus_is_seen(ui: CCSRPage) -> None:
    for _ in range(9):
        ui.page.keyboard.press("Tab")
        name = ui.page.evaluate("document.activeElement.className")
        if "primary" in name:
            break
    expect(ui.upscale.start).to_be_focused()
    ui.slider("t_max").focus()
    ui.page.keyboard.press("ArrowRight")
    expect(ui.slider("t_max")).to_have_css("outline-style", "solid")


def test_arrow_keys_choose_tabs(ui: CCSRPage) -> None:
    ui.upscale.tab.focus()
    ui.page.keyboard.press("ArrowRight")
    expect(ui.seeds.tab).to_have_attribute("aria-selected", "true")
    expect(ui.seeds.tab).to_be_focused()
    ui.page.keyboard.press("ArrowLeft")
    expect(ui.upscale.tab).to_be_focused()
