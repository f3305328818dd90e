"""Looking closely at pictures: zoom and place, the map's values, and who scrolls what."""

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Locator, expect
from skimage import data

from tests.e2e.page.conftest import Server
from tests.e2e.page.page_objects import WHEEL_LATCH, CCSRPage, LoupePart, box_at_rest
from tests.fakes import FakeEngine

pytestmark = pytest.mark.e2e


def scale_of(loupe: LoupePart, image: Locator) -> float:
    """Pixels of the page a pixel of the picture."""
    return loupe.box(image)["width"] / image.evaluate("(node) => node.naturalWidth")


def scrolled(ui: CCSRPage) -> float:
    return ui.page.evaluate("scrollY")


def test_all_pictures_share_zoom_and_place(ui: CCSRPage, picture_file: Path) -> None:
    ui.choose_picture(picture_file)
    ui.seeds.finish(3)
    loupe = ui.seeds.loupe
    names = ["Seed 0", "Seed 1", "Seed 2", "Mean", "Bicubic", "L-STD", "L-STD over the mean"]
    loupe.press("4:1")
    x, y = loupe.middle()
    ui.page.mouse.move(x, y)
    ui.page.mouse.down()
    ui.page.mouse.move(x + 90, y + 30, steps=3)
    ui.page.mouse.up()
    boxes = [loupe.box(loupe.image(name)) for name in names]
    assert boxes[0]["width"] == 4 * 240
    assert all(box == boxes[0] for box in boxes)
    stage = box_at_rest(loupe.stage)
    middle = (stage["width"] / 2 - boxes[0]["left"]) / boxes[0]["width"]
    assert middle == pytest.approx(0.5 - 90 / 960, abs=0.01)
    # The other loupes of the page look at the same place.
    ui.upscale.open()
    ui.upscale.finish("240x160")
    box = ui.upscale.loupe.box(ui.upscale.after)
    stage = box_at_rest(ui.upscale.loupe.stage)
    assert box["width"] == 4 * 240
    if stage["width"] < box["width"]:
        assert (stage["width"] / 2 - box["left"]) / box["width"] == pytest.approx(middle, abs=0.05)


def test_the_value_of_the_map_is_read_under_the_pointer(ui: CCSRPage, picture_file: Path) -> None:
    ui.choose_picture(picture_file)
    ui.seeds.finish(3)
    loupe = ui.seeds.loupe
    address = loupe.image("L-STD").get_attribute("src")
    assert address is not None
    answer = ui.page.request.get(address)
    drawn = Image.open(BytesIO(answer.body()))
    levels = np.asarray(drawn)
    top = float(loupe.root.locator(".loupe-scale span").last.inner_text().split()[0])
    loupe.image("Seed 1").click()
    x, y = loupe.middle()
    ui.page.mouse.move(x + 40, y + 20)
    column, row = map(int, loupe.reading.inner_text().split(" · ")[0].split(", "))
    box = loupe.box(loupe.images.first)
    assert column == pytest.approx(120 + 40 * 240 / box["width"], abs=1)
    value = float(loupe.reading.inner_text().split("L-STD ")[1].split()[0])
    assert levels[row, column] > 0
    assert value == pytest.approx(levels[row, column] * top / 255, abs=0.05)


def test_a_map_is_transparent_where_the_picture_is(ui: CCSRPage, tmp_path: Path) -> None:
    path = tmp_path / "half.png"
    picture = Image.effect_noise((60, 40), 90).convert("RGBA")
    picture.paste((0, 0, 0, 0), (0, 0, 30, 40))
    picture.save(path)
    ui.choose_picture(path)
    ui.seeds.finish(2)
    loupe = ui.seeds.loupe
    loupe.image("Seed 1").click()
    x, y = loupe.middle()
    ui.page.mouse.move(x - 40, y)
    expect(loupe.reading).to_contain_text("L-STD transparent")
    ui.page.mouse.move(x + 40, y)
    expect(loupe.reading).to_contain_text("grey levels")
    expect(loupe.reading).not_to_contain_text("transparent")


def test_two_pictures_flicker_and_are_swapped_by_hand(ui: CCSRPage, picture_file: Path) -> None:
    ui.choose_picture(picture_file)
    ui.upscale.finish("240x160")
    loupe = ui.upscale.loupe
    loupe.press("Flicker")
    for _ in range(2):
        expect(ui.upscale.before).to_be_visible()
        expect(ui.upscale.after).to_be_hidden()
        expect(ui.upscale.after).to_be_visible()
        expect(ui.upscale.before).to_be_hidden()
    loupe.stage.focus()
    ui.page.keyboard.press("Space")
    first = ui.upscale.before.is_visible()
    ui.page.wait_for_timeout(700)
    assert ui.upscale.before.is_visible() is first
    ui.page.keyboard.press("Space")
    assert ui.upscale.before.is_visible() is not first
    loupe.press("Side by side")
    for image in (ui.upscale.before, ui.upscale.after):
        expect(image).to_be_visible()


@pytest.mark.parametrize("size", [(128, 128), (240, 100)])
def test_a_result_uses_the_width_there_is(
    browser: Browser, server: Server, engine: FakeEngine, tmp_path: Path, size: tuple[int, int]
) -> None:
    path = tmp_path / "photo.png"
    Image.fromarray(data.chelsea()).resize(size).save(path)
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    ui = CCSRPage(context.new_page(), server.url).open()
    ui.choose_picture(path)
    ui.upscale.finish("x".join(str(4 * side) for side in size))
    loupe = ui.upscale.loupe
    stage = box_at_rest(loupe.stage)
    scale = scale_of(loupe, ui.upscale.after)
    # As wide as the page has room for it, and never below 1:1 where that fits.
    assert scale >= 1 or loupe.box(ui.upscale.after)["width"] == pytest.approx(
        stage["width"], abs=1
    )
    loupe.press("1:1")
    assert scale_of(loupe, ui.upscale.after) == 1
    context.close()


def test_the_wheel_zooms_after_a_click_or_with_ctrl_only(ui: CCSRPage, picture_file: Path) -> None:
    ui.choose_picture(picture_file)
    ui.upscale.finish("240x160")
    loupe, page = ui.upscale.loupe, ui.page
    x, y = loupe.middle()
    before = scale_of(loupe, ui.upscale.after)
    page.mouse.move(x, y)
    page.mouse.wheel(0, 60)
    page.wait_for_function("scrollY > 0")
    x, y = loupe.middle(WHEEL_LATCH)
    assert scale_of(loupe, ui.upscale.after) == before
    at = scrolled(ui)
    page.mouse.move(x + 30, y)
    page.keyboard.down("Control")
    page.mouse.wheel(0, -300)
    page.keyboard.up("Control")
    page.wait_for_function(
        "([node, least]) => parseFloat(node.style.width) > least",
        arg=[ui.upscale.after.element_handle(), 1.9 * before * 240],
    )
    assert scrolled(ui) == at
    page.mouse.click(x + 30, y)
    page.mouse.wheel(0, -300)
    page.wait_for_function(
        "([node, least]) => parseFloat(node.style.width) > least",
        arg=[ui.upscale.after.element_handle(), 3.9 * before * 240],
    )
    assert scrolled(ui) == at


def test_what_fits_follows_what_stands_above(ui: CCSRPage, picture_file: Path) -> None:
    ui.choose_picture(picture_file)
    ui.upscale.finish("240x160")
    loupe = ui.upscale.loupe
    loupe.middle()
    before = scale_of(loupe, ui.upscale.after)
    ui.upscale.origin.evaluate("(node) => { node.style.height = '90px'; }")
    box_at_rest(loupe.stage)
    smaller = scale_of(loupe, ui.upscale.after)
    assert smaller < before - 0.1
    loupe.stage.focus()
    ui.page.keyboard.press("+")
    assert scale_of(loupe, ui.upscale.after) == pytest.approx(2 * smaller, rel=0.01)


def test_keys_zoom_and_move(ui: CCSRPage, picture_file: Path) -> None:
    ui.choose_picture(picture_file)
    ui.upscale.finish("240x160")
    loupe = ui.upscale.loupe
    loupe.stage.focus()
    ui.page.keyboard.press("4")
    assert scale_of(loupe, ui.upscale.after) == 4
    ui.page.keyboard.press("+")
    assert scale_of(loupe, ui.upscale.after) == 8
    left = loupe.box(ui.upscale.after)["left"]
    ui.page.keyboard.press("ArrowRight")
    assert loupe.box(ui.upscale.after)["left"] == pytest.approx(left - 40, abs=1)
    ui.page.keyboard.press("0")
    assert scale_of(loupe, ui.upscale.after) < 4


def swipe(ui: CCSRPage, fingers: list[tuple[float, float, float, float]]) -> None:
    """Move each finger from a place to another."""
    browser_input = ui.page.context.new_cdp_session(ui.page)
    for part in range(7):
        points = [
            {"x": a + (c - a) * part / 6, "y": b + (d - b) * part / 6, "id": number}
            for number, (a, b, c, d) in enumerate(fingers)
        ]
        kind = "touchMove" if part else "touchStart"
        browser_input.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    browser_input.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})


def test_one_finger_scrolls_the_page_and_two_zoom(
    browser: Browser, server: Server, engine: FakeEngine, picture_file: Path
) -> None:
    context = browser.new_context(
        viewport={"width": 390, "height": 700}, has_touch=True, is_mobile=True
    )
    ui = CCSRPage(context.new_page(), server.url).open()
    ui.choose_picture(picture_file)
    ui.upscale.finish("240x160")
    loupe = ui.upscale.loupe
    x, y = loupe.middle()
    before, at = scale_of(loupe, ui.upscale.after), scrolled(ui)
    swipe(ui, [(x - 60, y + 30, x - 60, y - 70)])
    ui.page.wait_for_function("(at) => scrollY > at + 50", arg=at)
    assert scale_of(loupe, ui.upscale.after) == before
    # The page glides on after the finger has left it.
    x, y = loupe.middle(WHEEL_LATCH)
    at = scrolled(ui)
    swipe(ui, [(x - 20, y, x - 60, y), (x + 20, y, x + 60, y)])
    assert scale_of(loupe, ui.upscale.after) == pytest.approx(3 * before, rel=0.1)
    assert ui.page.evaluate("visualViewport.scale") == 1
    assert scrolled(ui) == at
    context.close()


def test_full_screen_zooms_the_map_too(ui: CCSRPage, picture_file: Path) -> None:
    ui.choose_picture(picture_file)
    ui.seeds.finish(2)
    loupe = ui.seeds.loupe
    loupe.image("L-STD").click()
    before = scale_of(loupe, loupe.image("L-STD"))
    loupe.press("Full screen")
    ui.page.wait_for_function("document.fullscreenElement !== null")
    ui.page.wait_for_function(
        "([node, least]) => parseFloat(node.style.width) > least",
        arg=[loupe.image("L-STD").element_handle(), before * 240 + 20],
    )
    fitting = scale_of(loupe, loupe.image("L-STD"))
    ui.page.mouse.move(*loupe.middle())
    ui.page.mouse.wheel(0, -300)
    ui.page.wait_for_function(
        "([node, least]) => parseFloat(node.style.width) > least",
        arg=[loupe.image("L-STD").element_handle(), 1.9 * fitting * 240],
    )
    loupe.press("Full screen")
    ui.page.wait_for_function("document.fullscreenElement === null")
