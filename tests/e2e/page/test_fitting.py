"""A picture that is too large: the message itself offers what can be done."""

from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import expect
from skimage import data

from ccsr.images.picture import MAX_INPUT_PIXELS
from tests.e2e.page.page_objects import CCSRPage, box_at_rest, expect_size

pytestmark = pytest.mark.e2e


@pytest.fixture
def photograph_file(tmp_path: Path) -> Path:
    """Of 12 megapixels, as a phone makes them."""
    path = tmp_path / "phone.jpg"
    Image.fromarray(data.chelsea()).resize((4000, 3000)).save(path, quality=80)
    return path


def size_of(text: str) -> tuple[int, int]:
    """The size of the picture in the line about it."""
    width, height = text.split(" pixels")[0].split("x")
    return int(width), int(height)


def test_a_photograph_of_a_phone_is_shrunk_or_cut(ui: CCSRPage, photograph_file: Path) -> None:
    ui.give_file(photograph_file)
    expect(ui.about).to_contain_text("4000x3000 pixels; the limit")
    ui.choose_number("Scale", "1")
    ui.page.get_by_role("button", name="Shrink to fit").click()
    expect(ui.about).to_contain_text("pixels, result")
    width, height = size_of(ui.about.inner_text())
    assert 0.98 * MAX_INPUT_PIXELS < width * height <= MAX_INPUT_PIXELS
    assert width / height == pytest.approx(4 / 3, abs=0.01)
    expect(ui.page.locator("#fitting")).to_be_hidden()


def test_a_part_is_cut_out_by_a_frame(ui: CCSRPage, photograph_file: Path) -> None:
    ui.give_file(photograph_file)
    ui.page.get_by_role("button", name="Cut out a part").click()
    frame = ui.page.locator("#cut-frame .cut-box")
    expect(frame).to_be_visible()
    corner = ui.page.locator("#cut-frame .cut-corner")
    whole = box_at_rest(ui.page.locator("#cut-frame img"))
    box = box_at_rest(corner)
    mouse = ui.page.mouse
    mouse.move(box["x"] + 12, box["y"] + 12)
    mouse.down()
    mouse.move(box["x"] + 12 - whole["width"] / 8, box["y"] + 12 - whole["height"] / 8, steps=4)
    mouse.up()
    said = ui.page.locator("#cut-frame .cut-actions span").inner_text()
    before = box_at_rest(frame)
    frame.focus()
    ui.page.keyboard.press("ArrowLeft")
    after = box_at_rest(frame)
    assert after["x"] < before["x"]
    ui.page.locator("#cut-frame").get_by_role("button", name="Cut out").click()
    expect(ui.about).to_contain_text(f"{said}, result")
    expect(frame).to_be_hidden()
    assert size_of(said)[0] == pytest.approx(4000 * (0.295 - 0.125), abs=60)


def test_longest_side_is_the_scale_said_in_another_way(ui: CCSRPage, picture_file: Path) -> None:
    box = ui.page.get_by_label("Longest side, pixels")
    expect(box).to_be_hidden()
    ui.choose_picture(picture_file)
    expect(box).to_have_value("240")
    box.fill("150")
    box.press("Enter")
    expect(ui.number("Scale")).to_have_value("2.5")
    expect(ui.about).to_contain_text("result 150x100")
    ui.upscale.finish("150x100")
    expect_size(ui.upscale.after, 150, 100)
    ui.choose_number("Scale", "3")
    expect(box).to_have_value("180")
    for wanted, made, scale in (("9999", "480", "8"), ("0", "60", "1"), ("-5", "60", "1")):
        box.fill(wanted)
        box.press("Enter")
        expect(ui.number("Scale")).to_have_value(scale)
        expect(box).to_have_value(made)
        ui.expect_refusal(f"from 60 to 480 for this picture, got {wanted}: it is {made} now")
