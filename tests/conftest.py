"""What tests share: pictures, the page on a free port, and a browser."""

import os
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright
from skimage import data

from ccsr.inference.events import Engine
from tests.fakes import FakeEngine

CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
WAIT = 60_000
"""Milliseconds a page may take before a test calls it broken."""

expect.set_options(timeout=WAIT)

Serve = Callable[[Engine], str]


@pytest.fixture
def picture_file(tmp_path: Path) -> Path:
    """A photograph of 60x40 pixels."""
    path = tmp_path / "cat.png"
    Image.fromarray(data.chelsea()).resize((60, 40), Image.Resampling.BICUBIC).save(path)
    return path


@pytest.fixture
def reference_file(tmp_path: Path) -> Path:
    """The same photograph, four times as large."""
    path = tmp_path / "cat_large.png"
    Image.fromarray(data.chelsea()).resize((240, 160), Image.Resampling.BICUBIC).save(path)
    return path


@pytest.fixture
def photograph() -> np.ndarray:
    """[64,96,3] float32 in [0,1]."""
    small = Image.fromarray(data.coffee()).resize((96, 64), Image.Resampling.BICUBIC)
    return np.asarray(small, np.float32) / 255


@pytest.fixture
def serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    """Serve the page around an engine; its files go to the folder of the test."""
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "served"))
    from ccsr.ui.page import LAUNCH_KWARGS, build_page

    pages = []

    def start(engine: Engine) -> str:
        page = build_page(engine)
        pages.append(page)
        _, url, _ = page.launch(
            prevent_thread_lock=True,
            quiet=True,
            server_port=_free_port(),
            ssr_mode=False,
            **LAUNCH_KWARGS,
        )
        return url

    yield start
    for page in pages:
        page.close(verbose=False)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def engine() -> Iterator[FakeEngine]:
    fake = FakeEngine()
    yield fake
    fake.released.set()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    path = shutil.which("chromium") or shutil.which("chromium-browser") or "/usr/bin/chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=CHROMIUM_FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """An empty page of a desktop's size."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    context.set_default_timeout(WAIT)
    yield context.new_page()
    context.close()
