"""Files above the limit, chosen or dropped."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from ccsr.ui.limits import Limits
from tests.e2e.page.conftest import launched
from tests.e2e.page.page_objects import CCSRPage
from tests.fakes import FakeEngine

pytestmark = pytest.mark.e2e

LIMIT = 50_000
REFUSAL = "A file may have 0.0477 MB at most; save the picture as JPEG"

DROP = """(target, [name, size]) => {
    const dataTransfer = new DataTransfer();
    dataTransfer.items.add(new File([new Uint8Array(size)], name, { type: "image/png" }));
    for (const kind of ["dragenter", "dragover", "drop"]) {
        const options = { bubbles: true, cancelable: true, dataTransfer };
        target.dispatchEvent(new DragEvent(kind, options));
    }
}"""


@pytest.fixture
def large_file(tmp_path: Path) -> Path:
    noise = np.random.default_rng(0).integers(0, 256, (160, 160, 3), np.uint8)
    path = tmp_path / "noise.png"
    Image.fromarray(noise).save(path)
    assert path.stat().st_size > LIMIT
    return path


@pytest.fixture
def limited(
    page: Page, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, picture_file: Path
) -> Iterator[CCSRPage]:
    """A page with a low limit and a picture."""
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "served"))
    with launched(FakeEngine(), Limits(max_upload_bytes=LIMIT)) as (_, url):
        ui = CCSRPage(page, url).open()
        ui.choose_picture(picture_file)
        yield ui


@pytest.mark.parametrize("field", ["picture", "load-settings"])
def test_a_file_above_the_limit_is_refused_in_words(
    limited: CCSRPage, large_file: Path, field: str
) -> None:
    limited.page.locator(f"#{field} input[type=file]").set_input_files(str(large_file))
    limited.expect_refusal(REFUSAL)
    expect(limited.page.get_by_test_id("toast-body")).to_have_count(1)


def test_a_dropped_file_above_the_limit_is_refused_in_words(limited: CCSRPage) -> None:
    limited.page.locator("#load-settings button").first.evaluate(DROP, ["noise.png", LIMIT + 1])
    limited.expect_refusal(REFUSAL)
    expect(limited.page.get_by_test_id("toast-body")).to_have_count(1)
    expect(limited.page.locator("#load-settings")).not_to_contain_text("noise.png")


def test_of_several_files_the_others_are_kept(
    limited: CCSRPage, large_file: Path, picture_file: Path
) -> None:
    limited.unfold(limited.page.get_by_role("button", name="Several pictures at once"))
    files = [str(large_file), str(picture_file)]
    limited.page.locator("#several-files input[type=file]").set_input_files(files)
    limited.expect_refusal(REFUSAL)
    cards = limited.page.locator("#several-cards")
    expect(cards).to_contain_text("cat.png")
    expect(cards).not_to_contain_text("noise.png")
