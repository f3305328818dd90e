"""Earlier results, another program's result, and other formats of a result."""

import json
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

from ccsr.evaluation.report import read_settings
from ccsr.images.reading import load_picture
from ccsr.ui.tabs.compressed import compressed
from tests.e2e.page.page_objects import CCSRPage, expect_file

pytestmark = pytest.mark.e2e


def test_two_earlier_results_are_compared(ui: CCSRPage, picture_file: Path) -> None:
    ui.choose_picture(picture_file)
    ui.upscale.finish("Network evaluations16")
    ui.choose_number("t_min", "0.5")
    expect(ui.upscale.facts).to_contain_text("0 new of 9")
    ui.choose_number("t_min", "0.2")
    expect(ui.upscale.facts).to_contain_text("6 new of 22")
    loupe = ui.upscale.loupe
    loupe.press("All")
    names = ["t_max 0.6667, t_min 0.3333, seed 0", "t_max 0.6667, t_min 0.5, seed 0"]
    for name in ("Bicubic", "CCSR", *names):
        expect(loupe.image(name)).to_be_visible()
    loupe.image(names[1]).click()
    loupe.choose("Left", names[0])
    first, second = (image.get_attribute("src") for image in loupe.images.all())
    assert first != second
    for image in loupe.images.all():
        expect_file(image, "cat_x4_seed-0.png")


def test_another_programs_result_is_compared(
    ui: CCSRPage, picture_file: Path, reference_file: Path
) -> None:
    ui.choose_picture(picture_file)
    ui.upscale.finish("240x160")
    ui.unfold(ui.page.get_by_role("button", name="Compare with another result"))
    ui.give_file(picture_file, "brought")
    ui.expect_refusal("to be compared it must be 240x160")
    ui.give_file(reference_file, "brought")
    expect(ui.upscale.loupe.image("cat_large (yours)")).to_be_visible()
    expect(ui.upscale.loupe.image("CCSR")).to_be_visible()


def test_quality_out_of_its_range_is_refused(ui: CCSRPage, picture_file: Path) -> None:
    ui.choose_picture(picture_file)
    ui.upscale.finish("240x160")
    ui.unfold(ui.page.get_by_role("button", name="Download as JPEG or WEBP"))
    ui.set_number("Quality", "5")
    ui.expect_refusal("Quality must be a whole number from 30 to 100, got 5")


@pytest.mark.parametrize(("kind", "suffix"), [("JPEG", ".jpg"), ("WEBP", ".webp")])
def test_result_is_downloaded_compressed_with_its_settings(
    ui: CCSRPage, picture_file: Path, tmp_path: Path, kind: str, suffix: str
) -> None:
    ui.choose_picture(picture_file)
    ui.set_number("t_max", "0.8")
    ui.upscale.seed.fill("5")
    ui.upscale.finish("240x160")
    ui.unfold(ui.page.get_by_role("button", name="Download as JPEG or WEBP"))
    ui.page.get_by_label(kind).check()
    ui.set_number("Quality", "60")
    button = ui.page.locator("#compressed-download")
    expect(button).to_contain_text(f"Download {kind} (")
    ui.come_to_rest()
    with ui.page.expect_download() as download:
        button.click()
    path = tmp_path / download.value.suggested_filename
    download.value.save_as(path)
    assert path.name == f"cat_x4_seed-5_q60{suffix}"
    found = read_settings(path)
    assert (found.seed, found.config.t_max) == (5, 0.8)
    result = tmp_path / "result.png"
    ui.upscale.download(result)
    difference = np.abs(load_picture(path).rgb - load_picture(result).rgb).mean()
    assert 0 < 255 * difference < 12
    assert path.stat().st_size < result.stat().st_size / 2
    with Image.open(path) as image:
        assert image.format == kind
    # Byte for byte what is written with this quality.
    assert path.read_bytes() == compressed(result, kind, 60).read_bytes()


def test_all_files_of_a_result_are_downloaded(
    ui: CCSRPage, picture_file: Path, tmp_path: Path
) -> None:
    ui.choose_picture(picture_file)
    ui.upscale.finish("Network evaluations16")
    ui.choose_number("t_min", "0.5")
    expect(ui.upscale.facts).to_contain_text("0 new of 9")
    with ui.page.expect_download() as download:
        ui.upscale.panel.get_by_role("button", name="Download all (ZIP)").first.click()
    download.value.save_as(tmp_path / "all.zip")
    assert download.value.suggested_filename == "cat_upscaled.zip"
    with ZipFile(tmp_path / "all.zip") as packed:
        packed.extractall(tmp_path / "all")
    names = {"bicubic.png", "cat_x4_seed-0.png", "cat_x4_seed-0-2.png", "details.json"}
    assert {path.name for path in (tmp_path / "all").iterdir()} == names
    assert load_picture(tmp_path / "all" / "bicubic.png").size == (160, 240)
    found = json.loads((tmp_path / "all" / "details.json").read_text())
    assert (found["picture"], found["config"]["t_min"]) == ("cat.png", 0.5)
