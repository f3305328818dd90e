"""Where the mean of the seeds is wrong, and what could also be there."""

import re
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Locator, Page, expect

from tests.e2e.page.conftest import Serve
from tests.e2e.page.page_objects import CCSRPage, LoupePart
from tests.fakes import FakeCompact

pytestmark = pytest.mark.e2e


def pixels(image: Locator) -> np.ndarray:
    address = image.get_attribute("src")
    assert address is not None
    answer = image.page.request.get(address)
    return np.asarray(Image.open(BytesIO(answer.body())).convert("RGB"), np.float32)


def test_with_a_reference_the_true_error_stands_beside_the_map(
    ui: CCSRPage, picture_file: Path, reference_file: Path
) -> None:
    ui.choose_picture(picture_file)
    ui.choose_reference(reference_file)
    ui.seeds.finish(3)
    ui.unfold(ui.page.get_by_role("button", name="Where is it wrong?"))
    loupe, text = LoupePart(ui.page.locator("#errors-loupe")), ui.page.locator("#errors-text")
    expect(loupe.image("Error of the mean")).to_be_visible()
    expect(loupe.image("L-STD")).to_be_visible()
    expect(text.locator("svg")).to_be_visible()
    found = re.search(
        r"Mean error\s*([\d.]+) grey levels\s*Spearman\s*(-?[\d.]+)", text.inner_text()
    )
    assert found
    mean = pixels(ui.seeds.loupe.image("Mean"))
    hr = np.asarray(Image.open(reference_file).convert("RGB"), np.float32)
    assert float(found[1]) == pytest.approx(np.abs(mean - hr).mean(), abs=0.02)
    assert -1 <= float(found[2]) <= 1


def test_without_a_reference_the_error_is_foretold_by_the_table(
    page: Page, serve: Serve, picture_file: Path
) -> None:
    ui = CCSRPage(page, serve(FakeCompact())).open()
    expect(ui.picture).to_be_visible()  # the example that the page opens with
    ui.choose_picture(picture_file)
    # The reference of the example went with its picture.
    ui.seeds.finish(3)
    ui.unfold(page.get_by_role("button", name="Where is it wrong?"))
    loupe, text = LoupePart(page.locator("#errors-loupe")), page.locator("#errors-text")
    expect(loupe.image("Expected error")).to_be_visible()
    expect(text).to_contain_text("It rests on")
    # The right half of a fake result has ten times the noise.
    expected = pixels(loupe.image("Expected error")).sum(2)
    assert expected[:, 150:].mean() > 1.5 * expected[:, :90].mean()
    ui.choose_number("t_max", "0.8")
    ui.seeds.run()
    expect(text).to_contain_text("default settings of the model that ships only")
    expect(loupe.image("Expected error")).to_have_count(0)


def test_components_move_the_mean(ui: CCSRPage, picture_file: Path) -> None:
    ui.choose_picture(picture_file)
    ui.seeds.finish(4)
    ui.unfold(ui.page.get_by_role("button", name="What could also be there"))
    loupe = LoupePart(ui.page.locator("#alternatives-loupe"))
    expect(ui.page.locator("#component-1")).to_contain_text("of the variance")
    mean, moved = loupe.image("Mean"), loupe.image("Could also be there")
    assert np.abs(pixels(mean) - pixels(moved)).mean() < 0.6  # they are rounded
    before = moved.get_attribute("src") or ""
    slider = ui.page.locator("#component-1 input[type=range]")
    slider.focus()
    ui.page.keyboard.press("End")
    expect(moved).to_have_attribute("src", re.compile("components-4_2.0_0.0_0.0.png$"))
    assert moved.get_attribute("src") != before
    change = np.abs(pixels(mean) - pixels(moved))
    # Where the seeds differ more, it moves more.
    assert change[:, 130:].mean() > 3 * change[:, :110].mean()
    box = ui.number("Component 1")
    box.fill("9")
    ui.expect_refusal("Component 1 must be a number from -2 to 2, got 9")
    expect(moved).to_have_attribute("src", re.compile("components-4_2.0_0.0_0.0.png$"))
