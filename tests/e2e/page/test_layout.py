"""What is in sight, on a desktop and on a narrow screen."""

from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect
from skimage import data

from tests.e2e.page.conftest import Server
from tests.e2e.page.page_objects import CCSRPage, Tab, box_at_rest
from tests.fakes import FakeEngine

pytestmark = pytest.mark.e2e

CONTRAST = (Path(__file__).parent / "contrast.js").read_text()
DRAWN_SIZES = """(texts) => texts.map((text) => {
    const { a, b } = text.getScreenCTM();
    return parseFloat(getComputedStyle(text).fontSize) * Math.hypot(a, b);
})"""
"""Sizes of texts of an SVG in pixels of the page."""


def test_an_example_is_chosen_by_a_click(ui: CCSRPage) -> None:
    ui.example.click()
    expect(ui.picture).to_be_visible()
    expect(ui.about).to_contain_text("pixels, result")


def test_broken_file_after_an_example_is_told_of(ui: CCSRPage, tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    ui.example.click()
    expect(ui.about).to_contain_text("pixels, result")
    ui.give_file(broken)
    expect(ui.about).to_contain_text("broken.png")


def test_the_result_is_in_sight_on_a_desktop(ui: CCSRPage, picture_file: Path) -> None:
    ui.choose_picture(picture_file)
    ui.upscale.run()
    expect(ui.upscale.facts).to_be_in_viewport()
    expect(ui.upscale.result).to_be_in_viewport(ratio=1)


def test_the_facts_of_a_wide_result_are_in_sight(
    page: Page, server: Server, engine: FakeEngine, tmp_path: Path
) -> None:
    path = tmp_path / "wide.png"
    Image.fromarray(data.chelsea()).resize((360, 240)).save(path)
    page.set_viewport_size({"width": 1440, "height": 900})
    ui = CCSRPage(page, server.url).open()
    ui.choose_picture(path)
    ui.upscale.finish("1440x960")
    box_at_rest(ui.upscale.loupe.stage)
    expect(ui.upscale.facts).to_be_in_viewport(ratio=1)


def run_on_a_narrow_page(page: Page, server: Server, picture_file: Path, tab: str) -> Tab:
    """The tab of this name of a page of 390 pixels, whose run has begun."""
    page.set_viewport_size({"width": 390, "height": 844})
    ui = CCSRPage(page, server.url).open()
    ui.choose_picture(picture_file)
    chosen: Tab = getattr(ui, tab)
    chosen.open()
    chosen.run()
    return chosen


@pytest.mark.parametrize(
    ("tab", "result"),
    [
        ("upscale", "#upscale-facts dt"),
        ("seeds", "#seeds-loupe img"),
        ("tradeoff", "#sweep-plot svg"),
        ("trajectory", "#trajectory-plot svg"),
        ("variants", "#variants-table table"),
    ],
)
def test_a_narrow_page_does_not_scroll_sideways(
    page: Page, server: Server, engine: FakeEngine, picture_file: Path, tab: str, result: str
) -> None:
    chosen = run_on_a_narrow_page(page, server, picture_file, tab)
    expect(page.locator(result).first).to_be_visible()
    expect(chosen.start).to_be_enabled()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


@pytest.mark.parametrize("tab", ["tradeoff", "trajectory"])
def test_labels_of_a_plot_can_be_read_on_a_narrow_page(
    page: Page, server: Server, engine: FakeEngine, picture_file: Path, tab: str
) -> None:
    chosen = run_on_a_narrow_page(page, server, picture_file, tab)
    labels = chosen.part("plot").locator("svg text")
    expect(labels.first).to_be_visible()
    chosen.expect_ready()
    assert min(labels.evaluate_all(DRAWN_SIZES)) >= 9
    # Pictures are below it, not beside it.
    assert chosen.part("plot").evaluate("(node) => node.clientWidth") > 300
    # What does not fit is reached by scrolling the plot, not the page.
    chosen.ui.come_to_rest()
    labels.last.scroll_into_view_if_needed()
    expect(labels.last).to_be_in_viewport(ratio=0.99)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_a_plot_is_whole_on_a_tablet(
    page: Page, server: Server, engine: FakeEngine, picture_file: Path
) -> None:
    page.set_viewport_size({"width": 768, "height": 1024})
    ui = CCSRPage(page, server.url).open()
    ui.choose_picture(picture_file)
    ui.tradeoff.run_sweep("0.6667", "0.3333, 0.5", 2)
    plot = ui.tradeoff.part("plot")
    expect(plot.locator("svg")).to_be_visible()
    assert plot.evaluate("(node) => node.scrollWidth <= node.clientWidth")


def test_the_page_asks_nothing_of_other_hosts(
    page: Page, server: Server, engine: FakeEngine
) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    CCSRPage(page, server.url).open()
    own = (server.url, "data:", "blob:")
    assert [address for address in asked if not address.startswith(own)] == []


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_all_text_can_be_read(
    browser: Browser, server: Server, engine: FakeEngine, picture_file: Path,
    reference_file: Path, theme: str,
) -> None:  # fmt: skip
    context = browser.new_context(viewport={"width": 1440, "height": 900}, color_scheme=theme)
    ui = CCSRPage(context.new_page(), server.url).open()
    assert ui.page.evaluate(CONTRAST) == {}
    ui.choose_picture(picture_file)
    ui.choose_reference(reference_file)
    ui.seeds.finish(2)
    ui.seeds.expect_ready()
    ui.come_to_rest()
    assert ui.page.evaluate(CONTRAST) == {}
    engine.delay = 60
    ui.seeds.run()
    assert engine.begun.wait(30)
    ui.page.wait_for_timeout(1000)  # the colours of the buttons change gradually
    assert ui.page.evaluate(CONTRAST) == {}
    context.close()
