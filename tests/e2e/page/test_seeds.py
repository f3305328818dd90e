"""Many seeds side by side: gallery, map, scores, blending, and the report."""

import json
import re
import zipfile
from pathlib import Path

import pytest
from playwright.sync_api import expect

from ccsr.config import L_STD_HELP, SamplingConfig
from ccsr.diffusion.timesteps import timestep_plan
from ccsr.images.reading import load_picture
from tests.e2e.page.page_objects import CCSRPage, expect_file, expect_size
from tests.fakes import FakeEngine

pytestmark = pytest.mark.e2e


def test_seeds_are_compared_and_their_spread_is_shown(
    ui: CCSRPage, picture_file: Path, tmp_path: Path
) -> None:
    ui.choose_picture(picture_file)
    ui.seeds.finish(4)
    expect(ui.seeds.facts).to_contain_text(L_STD_HELP)
    expect(ui.seeds.facts.locator("svg")).to_be_visible()
    expect(ui.seeds.gallery).to_have_count(4)
    for name in ("L-STD", "L-STD over the mean", "Mean", "Bicubic"):
        expect_size(ui.seeds.loupe.image(name), 240, 160)
    expect(ui.seeds.loupe.root).to_contain_text("grey levels")

    path = tmp_path / "report.zip"
    ui.seeds.download(path)
    with zipfile.ZipFile(path) as archive:
        names = set(archive.namelist())
        report = json.loads(archive.read("report.json"))
    assert names >= {f"seed-{n}.png" for n in range(4)} | {"mean.png", "l_std.png", "report.json"}
    assert report["seeds"] == [0, 1, 2, 3]
    expect(ui.seeds.facts).to_contain_text(f"{report['l_std']:.4f}")


def test_clicking_a_seed_compares_it(ui: CCSRPage, picture_file: Path) -> None:
    ui.choose_picture(picture_file)
    ui.seeds.finish(3)
    ui.seeds.gallery.nth(2).click()
    expect_file(ui.seeds.left, "mean.png")
    expect_file(ui.seeds.right, "seed-2.png")
    ui.seeds.loupe.choose("Left", "Seed 1")
    expect_file(ui.seeds.left, "seed-1.png")


def test_stopping_the_seeds_keeps_what_has_arrived(
    ui: CCSRPage, engine: FakeEngine, picture_file: Path, tmp_path: Path
) -> None:
    engine.delay = 0.1
    ui.choose_picture(picture_file)
    ui.set_number("t_max", "0.4")
    ui.seeds.run_seeds(20)
    expect(ui.seeds.facts).to_contain_text("2 of 20")
    ui.seeds.stop.click()
    expect(ui.seeds.status).to_contain_text(re.compile(r"Stopped\. \d+ of 20 seeds kept"))
    assert engine.closed.wait(10)
    kept = int(ui.seeds.status.inner_text().split()[1])
    assert 2 <= kept < 20
    evaluations_a_seed = timestep_plan(SamplingConfig(t_max=0.4)).num_evaluations
    assert engine.evaluations < (kept + 2) * evaluations_a_seed
    expect(ui.seeds.gallery).to_have_count(kept)
    path = tmp_path / "report.zip"
    ui.seeds.download(path)
    with zipfile.ZipFile(path) as archive:
        assert len([n for n in archive.namelist() if n.startswith("seed-")]) == kept


def test_results_stay_while_new_ones_are_made(
    ui: CCSRPage, engine: FakeEngine, picture_file: Path
) -> None:
    ui.choose_picture(picture_file)
    ui.seeds.finish(3)
    engine.delay = 60
    engine.begun.clear()
    ui.seeds.run()
    expect(ui.seeds.status).to_contain_text("Reading the picture")
    assert engine.begun.wait(30)
    expect(ui.seeds.gallery).to_have_count(3)
    expect(ui.seeds.facts).to_contain_text("3 of 3")
    ui.seeds.stop.click()
    engine.released.set()
    expect(ui.seeds.status).to_contain_text("Stopped. The earlier result is shown.")
    expect(ui.seeds.gallery).to_have_count(3)
    expect_size(ui.seeds.loupe.image("Seed 2"), 240, 160)


def test_blending_follows_the_slider_and_the_chosen_seed(
    ui: CCSRPage, engine: FakeEngine, picture_file: Path, reference_file: Path, tmp_path: Path
) -> None:
    ui.choose_picture(picture_file)
    ui.choose_reference(reference_file)
    ui.seeds.finish(3)
    ui.unfold(ui.seeds.agreement)
    facts = ui.seeds.agreement_facts
    expect(facts).to_contain_text("Share of the mean")
    expect(facts).to_contain_text("PSNR")
    evaluations = engine.evaluations
    ui.set_number("Allowed deviation, grey levels", "0")
    expect(facts).to_contain_text("Share of the mean100.0%")
    ui.seeds.gallery.nth(2).click()
    expect_file(ui.seeds.blended, "agreed-3-0-seed-2.png")
    path = tmp_path / "blended.png"
    ui.seeds.download_blended(path)
    assert load_picture(path).size == (160, 240)
    ui.set_number("Allowed deviation, grey levels", "25")
    expect(facts).to_contain_text("Share of the mean0.0%")
    assert engine.evaluations == evaluations


def test_a_reference_gives_a_table_of_scores(
    ui: CCSRPage, picture_file: Path, reference_file: Path
) -> None:
    ui.choose_picture(picture_file)
    ui.choose_reference(reference_file)
    ui.seeds.run_seeds(2)
    for name in ("PSNR (dB)", "SSIM", "LPIPS"):
        expect(ui.seeds.table.get_by_role("columnheader", name=name)).to_be_visible()
    for name in ("Mean", "G-STD", "Bicubic", "Seed 0", "Seed 1"):
        expect(ui.seeds.table.get_by_role("rowheader", name=name)).to_be_visible()


def test_a_reference_of_the_wrong_size_is_refused_before_any_work(
    ui: CCSRPage, engine: FakeEngine, picture_file: Path
) -> None:
    ui.choose_picture(picture_file)
    ui.choose_reference(picture_file)
    ui.seeds.run_seeds(2)
    ui.expect_refusal("the reference must be 240x160")
    expect(ui.seeds.status).to_contain_text("the reference must be 240x160")
    assert engine.evaluations == 0
