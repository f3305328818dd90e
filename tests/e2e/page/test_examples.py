"""The examples: a click sets picture and reference, and shows a result that ships."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from ccsr.images.reading import load_picture
from ccsr.inference.engine import load_engine
from ccsr.inference.events import Restored
from ccsr.inference.hub import COMPACT_FOLDER
from ccsr.inference.weights import weights_hash
from ccsr.ui.examples import EXAMPLES, RESULTS, made
from tests.e2e.page.conftest import Serve
from tests.e2e.page.page_objects import CCSRPage, expect_file, expect_size
from tests.fakes import FakeCompact

pytestmark = pytest.mark.e2e


def test_page_opens_with_a_result_and_an_example_shows_its_own(page: Page, serve: Serve) -> None:
    engine = FakeCompact()
    ui = CCSRPage(page, serve(engine)).open()
    expect_file(ui.upscale.after, "portrait.webp")
    expect_size(ui.upscale.after, 400, 400)
    expect(ui.picture).to_be_visible()
    expect(ui.upscale.status).not_to_contain_text("appears here")
    ui.unfold(page.get_by_role("button", name="Reference picture"))
    expect(page.locator("#reference img")).to_be_visible()
    strip = page.locator("#examples")
    strip.get_by_role("button", name="Gravel").click()
    expect_file(ui.upscale.after, "gravel.webp")
    expect_size(ui.upscale.before, 684, 684)
    expect(page.locator("#about-example")).to_contain_text("not good here")
    expect(page.locator("#reference img")).to_have_count(0)
    expect(ui.upscale.facts).to_contain_text("made beforehand")
    expect(page.get_by_role("button", name="Download PNG")).to_be_disabled()
    assert engine.evaluations == 0
    # What ships stays when it is replaced.
    ui.upscale.finish("684x684")
    expect(ui.upscale.facts).not_to_contain_text("made beforehand")
    expect(page.get_by_role("button", name="Download PNG")).to_be_enabled()
    assert (RESULTS / "gravel.webp").is_file()
    assert (RESULTS / "gravel-bicubic.webp").is_file()


def test_results_that_ship_are_those_of_the_weights_that_ship() -> None:
    """After other weights: python assets/make_results.py."""
    assert made().weights == weights_hash(COMPACT_FOLDER)
    example = EXAMPLES[0]
    engine = load_engine()
    events = engine.run(load_picture(example.picture), made().config, [made().seed])
    result = next(event.picture.rgb for event in events if isinstance(event, Restored))
    with Image.open(example.result) as image:
        difference = np.abs(np.asarray(image, np.float32) - 255 * result).mean()
    # What the compression takes away, and rounding in another precision.
    assert difference < 3
    assert np.abs(load_picture(example.bicubic).rgb - result).mean() * 255 > 3


def test_examples_are_small() -> None:
    files: list[Path] = [file for e in EXAMPLES for file in (e.result, e.bicubic)]
    assert sum(file.stat().st_size for file in files) < 1_000_000
    assert {e.file for e in EXAMPLES if e.reference} == {"portrait.png", "coffee.png"}
