"""Several pictures at once: their cards, their order, Stop, and the ZIP of the results."""

import csv
import io
import zipfile
from pathlib import Path

import pytest
from gradio_client import Client, handle_file
from PIL import Image
from playwright.sync_api import expect

from ccsr.evaluation.report import read_settings
from ccsr.ui.limits import DEFAULT_LIMITS
from tests.e2e.page.conftest import Server
from tests.e2e.page.page_objects import CCSRPage, expect_size
from tests.fakes import FakeEngine

pytestmark = pytest.mark.e2e


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Two pictures of one name, one that is none, and a third one."""
    paths = [tmp_path / "a" / "cat.png", tmp_path / "broken.png", tmp_path / "cat.png"]
    paths += [tmp_path / "dog.jpg"]
    for number, path in enumerate(paths):
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", (24 + 8 * number, 24), (90, 40 * number, 60)).save(path)
    paths[1].write_bytes(b"no picture")
    return paths


def open_several(ui: CCSRPage, files: list[Path]) -> None:
    ui.unfold(ui.page.get_by_role("button", name="Several pictures at once"))
    ui.page.locator("#several-files input[type=file]").set_input_files([str(f) for f in files])
    expect(ui.page.locator("#several-cards .card")).to_have_count(len(files))


def test_several_pictures_are_upscaled_and_one_that_fails_ends_nothing(
    ui: CCSRPage, engine: FakeEngine, files: list[Path], tmp_path: Path
) -> None:
    cards, status = ui.page.locator("#several-cards .card"), ui.page.locator("#several-status")
    open_several(ui, files)
    expect(cards.locator(".state")).to_have_text(["Waiting"] * 4)
    ui.page.get_by_role("button", name="Upscale all").click()
    expect(status).to_have_text("3 of 4 pictures done, 1 failed")
    expect(cards.locator(".state")).to_have_text(["Done", "Failed", "Done", "Done"])
    expect(ui.page.locator("#several-cards .error")).to_contain_text("broken.png")
    expect(cards.nth(1).locator(".blank")).to_have_text("PNG")
    with ui.page.expect_download() as download:
        ui.page.get_by_role("button", name="Download all (ZIP)").last.click()
    download.value.save_as(tmp_path / "all.zip")
    with zipfile.ZipFile(tmp_path / "all.zip") as archive:
        names = ["cat_x4_seed-0.png", "cat_x4_seed-0-2.png", "dog_x4_seed-0.png"]
        assert archive.namelist() == [*names, "results.csv"]
        rows = list(csv.DictReader(io.StringIO(archive.read("results.csv").decode())))
        assert [row["result"] for row in rows] == names
        assert [row["size"] for row in rows] == ["96x96", "160x96", "192x96"]
        archive.extract(names[1], tmp_path)
    assert read_settings(tmp_path / names[1]).seed == 0
    # A click shows one beside its input, and what was done is not done again.
    cards.nth(2).click()
    expect_size(ui.upscale.after, 160, 96)
    expect(ui.about).to_contain_text("40x24 pixels")
    made = engine.evaluations
    ui.page.get_by_role("button", name="Upscale all").click()
    expect(ui.page.get_by_role("button", name="Upscale all")).to_be_enabled()
    assert engine.evaluations == made


def test_cards_have_small_pictures_that_the_server_made(ui: CCSRPage, tmp_path: Path) -> None:
    """Of everything that can be read, whatever a browser can draw; and none of anything else."""
    sizes = {"wide.tif": (1800, 400), "tall.jpg": (300, 900), "cut.png": (64, 48)}
    paths = [tmp_path / name for name in sizes]
    for path, size in zip(paths, sizes.values(), strict=True):
        Image.effect_noise(size, 90).convert("RGB").save(path)
    paths[2].write_bytes(paths[2].read_bytes()[:200])
    open_several(ui, paths)
    images = ui.page.locator("#several-cards img")
    expect(images).to_have_count(2)
    expect_size(images.nth(0), 320, 71)
    expect_size(images.nth(1), 64, 192)
    expect(ui.page.locator("#several-cards .blank")).to_have_text("PNG")


def test_settings_that_cannot_be_used_are_refused(
    ui: CCSRPage, engine: FakeEngine, files: list[Path]
) -> None:
    open_several(ui, files[:1])
    ui.set_number("t_min", "0.9")
    start = ui.page.get_by_role("button", name="Upscale all")
    start.click()
    ui.expect_refusal("t_min must not be above t_max")
    ui.set_number("t_min", "0.5")
    start.click()
    expect(ui.page.locator("#several-status")).to_have_text("1 of 1 picture done")
    assert not engine.previewed


def test_stop_ends_the_rest_and_keeps_what_is_done(
    ui: CCSRPage, engine: FakeEngine, files: list[Path]
) -> None:
    states = ui.page.locator("#several-cards .card .state")
    open_several(ui, files[:1])
    start = ui.page.get_by_role("button", name="Upscale all")
    start.click()
    expect(states).to_have_text(["Done"])
    expect(start).to_be_enabled()
    ui.page.locator("#several-files input[type=file]").set_input_files([*map(str, files[2:])])
    expect(states).to_have_count(3)
    engine.delay = 60
    engine.begun.clear()
    start.click()
    assert engine.begun.wait(30)
    expect(states).to_have_text(["Done", "Running", "Waiting"])
    ui.page.get_by_role("button", name="Stop").last.click()
    engine.released.set()
    expect(start).to_be_enabled()
    expect(states).to_have_text(["Done", "Waiting", "Waiting"])
    expect(ui.page.get_by_role("button", name="Download all (ZIP)").last).to_be_enabled()


def test_another_run_of_the_visitor_comes_between_two_pictures(
    ui: CCSRPage, engine: FakeEngine, files: list[Path], picture_file: Path
) -> None:
    ui.choose_picture(picture_file)
    open_several(ui, [files[0], files[2]])
    engine.delay = 60
    ui.page.get_by_role("button", name="Upscale all").click()
    assert engine.begun.wait(30)
    ui.upscale.run()
    expect(ui.upscale.status).to_contain_text("Waiting for the model, 1 ahead")
    engine.delay = 0
    engine.released.set()
    expect(ui.upscale.facts).to_contain_text("240x160")
    expect(ui.page.locator("#several-status")).to_have_text("2 of 2 pictures done")


def test_another_visitor_comes_between_two_pictures(
    ui: CCSRPage, client: Client, engine: FakeEngine, files: list[Path]
) -> None:
    open_several(ui, [files[0], files[2], files[3]])
    engine.delay = 0.15
    ui.page.get_by_role("button", name="Upscale all").click()
    assert engine.begun.wait(30)
    client.predict(picture=handle_file(str(files[0])), api_name="/upscale")
    states = ui.page.locator("#several-cards .card .state")
    expect(states.first).to_have_text("Done")
    expect(states.last).to_have_text("Waiting")
    engine.released.set()
    expect(ui.page.locator("#several-status")).to_have_text("3 of 3 pictures done")


def test_more_pictures_than_a_page_takes_are_left_out(
    ui: CCSRPage, server: Server, files: list[Path]
) -> None:
    most = DEFAULT_LIMITS.max_files
    ui.unfold(ui.page.get_by_role("button", name="Several pictures at once"))
    many = [str(files[0])] * (most + 1)
    ui.page.locator("#several-files input[type=file]").set_input_files(many)
    expect(ui.page.locator("#several-cards .card")).to_have_count(most)
    ui.expect_refusal("1 picture left out")
