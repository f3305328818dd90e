"""The page on a free port, one server a module, and a browser."""

import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import gradio as gr
import httpx
import pytest
from gradio_client import Client
from playwright.sync_api import Browser, Page

from ccsr.config import SamplingConfig
from ccsr.images.picture import Picture
from ccsr.inference.estimate_cache import EstimateCache
from ccsr.inference.events import Engine, ModelInfo, Progress, Restored
from ccsr.ui.limits import DEFAULT_LIMITS, Limits
from ccsr.ui.model_queue import ModelQueue
from ccsr.ui.page import build_page, launch_kwargs
from ccsr.ui.presence import Presence
from ccsr.ui.sessions import Sessions
from tests.e2e.page.page_objects import WAIT, CCSRPage
from tests.fakes import FakeEngine, FakeSession

Serve = Callable[[Engine], str]


@dataclass
class Server:
    """A served page, whose engine is that of the test which is running."""

    engine: FakeEngine = field(default_factory=FakeEngine)
    url: str = ""

    @property
    def info(self) -> ModelInfo:
        return self.engine.info

    def session(
        self, picture: Picture, cache: EstimateCache | None = None, owner: str = ""
    ) -> FakeSession:
        return self.engine.session(picture, cache, owner)

    def run(
        self,
        picture: Picture,
        config: SamplingConfig,
        seeds: Sequence[int],
        *,
        preview: bool = False,
    ) -> Iterator[Progress | Restored]:
        return self.engine.run(picture, config, seeds, preview=preview)


@contextmanager
def launched(engine: Engine, limits: Limits = DEFAULT_LIMITS) -> Iterator[tuple[gr.Blocks, str]]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    queue = ModelQueue(limits, Presence())
    sessions = Sessions(engine)
    page = build_page(engine, queue, sessions)
    kwargs = launch_kwargs(queue, sessions)
    with pytest.MonkeyPatch.context() as patch:
        # Gradio gives up on a first page that takes 3 s; on busy cores it can take longer.
        patch.setattr(
            "gradio.networking.url_ok", lambda url: httpx.head(url, timeout=60).is_success
        )
        _, url, _ = page.launch(
            prevent_thread_lock=True, quiet=True, server_port=port, ssr_mode=False, **kwargs
        )
    yield page, url
    page.close(verbose=False)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The page around a fake engine with all variants and without prompts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(tmp_path_factory.mktemp("served")))
        server = Server()
        with launched(server) as (_, server.url):
            yield server


@pytest.fixture
def engine(server: Server) -> Iterator[FakeEngine]:
    """The engine of the server, new for each test: what an earlier test left runs on another."""
    server.engine = FakeEngine()
    yield server.engine
    server.engine.released.set()


@pytest.fixture
def serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    """Serve a page of its own around another engine; its files go to the folder of the test."""
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "served"))
    entered = []

    def start(engine: Engine) -> str:
        entered.append(launched(engine))
        return entered[-1].__enter__()[1]

    yield start
    for page in entered:
        page.__exit__(None, None, None)


@pytest.fixture
def client(server: Server, engine: FakeEngine) -> Client:
    """A program that calls the endpoints."""
    return Client(server.url, verbose=False, analytics_enabled=False)


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """An empty page of a desktop's size."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    context.set_default_timeout(WAIT)
    yield context.new_page()
    context.close()


@pytest.fixture
def ui(page: Page, server: Server, engine: FakeEngine) -> CCSRPage:
    """The page of the module's server, opened."""
    return CCSRPage(page, server.url).open()
