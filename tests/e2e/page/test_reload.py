"""What stays over a reload, what a link holds, and how the page introduces itself."""

import re
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.e2e.page.page_objects import CCSRPage, expect_file, expect_size
from tests.fakes import FakeEngine

pytestmark = pytest.mark.e2e


def test_reload_keeps_picture_and_result(
    ui: CCSRPage, engine: FakeEngine, picture_file: Path
) -> None:
    ui.choose_picture(picture_file)
    ui.upscale.seed.fill("5")
    ui.upscale.finish("240x160")
    ui.come_to_rest()
    evaluations = engine.evaluations
    ui.page.reload()
    expect(ui.picture).to_be_visible()
    expect(ui.about).to_contain_text("60x40 pixels, result 240x160")
    expect(ui.upscale.facts).to_contain_text("240x160")
    expect(ui.upscale.origin).to_contain_text("seed 5")
    expect(ui.upscale.origin).not_to_contain_text("Of ")
    expect_size(ui.upscale.before, 240, 160)
    expect_file(ui.upscale.after, "cat_x4_seed-5.png")
    assert engine.evaluations == evaluations
    # And once more, from the files of the page that was opened again.
    ui.come_to_rest()
    ui.page.reload()
    expect_file(ui.upscale.after, "cat_x4_seed-5.png")


def test_a_link_holds_the_settings(ui: CCSRPage) -> None:
    ui.choose_number("t_min", "0.4")
    ui.upscale.seed.fill("9")
    link = ui.page.locator("#settings-link a")
    expect(link).to_have_attribute("href", re.compile("seed=9"))
    address = link.get_attribute("href")
    assert address is not None
    other = CCSRPage(ui.page.context.new_page(), ui.url)
    ui.page.evaluate("localStorage.clear()")
    other.page.goto(ui.url + address)
    expect(other.number("t_min")).to_have_value("0.4")
    expect(other.upscale.seed).to_have_value("9")
    expect(other.number("t_max")).to_have_value("0.6667")
    expect(other.preset).to_have_value("Custom")
    other.page.close()


def test_nothing_that_the_page_asks_for_is_missing(ui: CCSRPage) -> None:
    missing: list[str] = []
    faults: list[str] = []
    page = ui.page
    page.on("response", lambda r: missing.append(r.url) if r.status >= 400 else None)
    page.on("console", lambda m: faults.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda error: faults.append(str(error)))
    ui.open()
    page.get_by_role("button", name="Use via API").click()
    expect(page.get_by_text("/upscale").first).to_be_visible()
    ui.come_to_rest()
    assert (missing, faults) == ([], [])


def test_the_page_introduces_itself(ui: CCSRPage) -> None:
    expect(ui.page).to_have_title(re.compile("^CCSR: super-resolution"))
    html = ui.page.request.get(ui.url).text()
    assert html.count('property="og:title"') == 1
    assert "Gradio" not in "".join(re.findall(r"<meta[^>]*>", html))
    picture = re.search(r'property="og:image" content="([^"]+)"', html)
    assert picture is not None
    for address in (picture[1], f"{ui.url}favicon.ico"):
        answer = ui.page.request.get(address)
        assert answer.ok
        assert answer.headers["content-type"].startswith("image/")
