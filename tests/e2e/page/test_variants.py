"""The variants of the paper's ablation side by side."""

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.page.conftest import Serve
from tests.e2e.page.page_objects import CCSRPage
from tests.fakes import FakeEngine

pytestmark = pytest.mark.e2e


def test_variants_are_shown_side_by_side(
    ui: CCSRPage, picture_file: Path, reference_file: Path
) -> None:
    ui.choose_picture(picture_file)
    ui.choose_reference(reference_file)
    ui.variants.open()
    ui.set_number("Seeds a variant", "2")
    ui.variants.run()
    expect(ui.variants.loupe.images).to_have_count(10)
    expect(ui.variants.loupe.root).to_contain_text("Bicubic")
    expect(ui.variants.loupe.root).to_contain_text("CCSR, worst")
    table = ui.variants.table
    for variant in ("V1", "V2", "CCSR", "Bicubic"):
        expect(table.get_by_role("rowheader", name=variant, exact=True)).to_be_visible()
    expect(table.get_by_role("columnheader", name="G-STD of PSNR (dB)")).to_be_visible()
    ui.variants.expect_ready()


def test_stopping_keeps_the_variants_that_are_done(
    ui: CCSRPage, engine: FakeEngine, picture_file: Path
) -> None:
    engine.delay = 0.2
    ui.choose_picture(picture_file)
    ui.variants.open()
    ui.variants.run()
    expect(ui.variants.status).to_contain_text("1 of 3 variants done")
    ui.variants.stop.click()
    expect(ui.variants.status).to_contain_text("of 3 variants kept.")
    expect(ui.variants.loupe.stage).to_be_visible()
    ui.variants.expect_ready()


def test_model_of_one_variant_has_nothing_to_compare(page: Page, serve: Serve) -> None:
    ui = CCSRPage(page, serve(FakeEngine(variants=("ccsr",)))).open()
    expect(ui.trajectory.tab).to_be_visible()
    expect(ui.variants.tab).to_have_count(0)
