"""The web server around the page: what it lets through, and what it says about itself."""

import re
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qs

from gradio.routes import App
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from ccsr.ui.files import make_room
from ccsr.ui.introduction import PICTURE, PICTURE_ADDRESS, Introduction
from ccsr.ui.job_log import memory
from ccsr.ui.model_queue import ModelQueue
from ccsr.ui.presence import Presence
from ccsr.ui.states import BoundedStates
from ccsr.whole_file import lacks_space

STREAM = re.compile(r"/(?:heartbeat|call/(?:v2/)?[^/]+)/(?P<name>[^/]+)$|/queue/data$")
"""Addresses of connections that are open as long as a visitor is here."""
UNUSED = re.compile(
    r"/(?:file=https?:|proxy=|monitoring|vibe-|undo-vibe-|process_recording|deep_link|run-history|"
    r"stream/|profiling|dev/)",
    re.IGNORECASE,
)
"""Addresses of Gradio that this page has no use for; some let a visitor choose what is fetched."""
UPLOAD = re.compile(r"/upload/?$")
NO_ROOM = PlainTextResponse("The server has no room for files now; try again later.", 507)
MAX_BODY = 2**20
"""Bytes of a request that is no upload."""


class Gate:
    """Middleware: knows who is here, and answers what Gradio does not or should not.

    Args:
        app: What answers everything else.
        queue: That of the page, with its presence and its counters.
    """

    def __init__(self, app: ASGIApp, queue: ModelQueue) -> None:
        self.app, self.queue = app, queue

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request = Request(scope)
        answer = self._answer(request) or await self._check_upload(request)
        name, presence = stream_name(scope), self.queue.presence
        if answer is None and name is not None and presence is not None:
            answer = self._check_connections(request, presence)
        if answer is not None:
            await answer(scope, receive, send)
        elif UPLOAD.search(request.url.path):
            await self._answer_if_full(scope, receive, send)
        elif name is None or presence is None:
            await self.app(scope, receive, send)
        else:
            with presence.connection(name, address_of(request)):
                await self.app(scope, receive, send)

    async def _answer_if_full(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Take an upload, and say so if the disk becomes full."""
        try:
            await self.app(scope, receive, send)
        except OSError as error:
            # Gradio answers once the file is written, so nothing was sent yet.
            if not lacks_space(error):
                raise
            await NO_ROOM(scope, receive, send)

    def _check_connections(self, request: Request, presence: Presence) -> Response | None:
        limits = self.queue.limits
        near = presence.connections_of(address_of(request)) >= limits.max_connections_each
        if near or presence.num_connections >= limits.max_connections:
            return PlainTextResponse("Too many connections are open; try again soon.", 503)
        return None

    async def _check_upload(self, request: Request) -> Response | None:
        if request.method != "POST" or not UPLOAD.search(request.url.path):
            return None
        length, limits = content_length(request), self.queue.limits
        if length is None:
            return PlainTextResponse("Send the length of the file.", 411)
        if length > limits.max_upload_bytes + MAX_BODY:
            return PlainTextResponse(f"A file may have {limits.max_upload_bytes:,} bytes.", 413)
        room = limits.max_stored_bytes, limits.keep_seconds
        if not await run_in_threadpool(make_room, length, *room):
            return NO_ROOM
        return None

    def _answer(self, request: Request) -> Response | None:
        path = request.url.path
        if path.endswith("/healthz"):
            return JSONResponse(health(self.queue))
        if path.endswith("/" + PICTURE_ADDRESS):
            return FileResponse(PICTURE)
        if path.endswith("/metrics"):
            return PlainTextResponse(
                metrics(self.queue, len(request.app.state_holder.session_data))
            )
        if UNUSED.search(path):
            return PlainTextResponse("This page has nothing there.", 404)
        if request.method == "POST" and not UPLOAD.search(path):
            length = content_length(request)
            if length is None:
                return PlainTextResponse("Send the length of the request.", 411)
            if length > MAX_BODY:
                return PlainTextResponse(f"A request may have {MAX_BODY:,} bytes.", 413)
        return None


def stream_name(scope: Scope) -> str | None:
    """The visitor who holds this connection open, if it is of that kind."""
    found = STREAM.search(scope["path"])
    if found is None or scope["method"] != "GET":
        return None
    if found["name"]:
        return found["name"]
    return next(
        iter(parse_qs(scope["query_string"].decode("latin-1")).get("session_hash", [])), None
    )


def content_length(request: Request) -> int | None:
    """Bytes of what is sent with a request; None if they are not told."""
    length = request.headers.get("content-length", "")
    return int(length) if length.isdecimal() and len(length) < 20 else None


def address_of(request: Request) -> str:
    """Where a request comes from; behind a proxy on this computer, what that says."""
    return request.client.host if request.client else ""


def health(queue: ModelQueue) -> dict[str, Any]:
    """That the server answers, and what it is doing."""
    return {"status": "ok", "working": queue.is_working, "waiting": queue.num_waiting}


def metrics(queue: ModelQueue, num_sessions: int) -> str:
    """Counters and gauges in the text format of Prometheus."""
    gauges = {
        "ccsr_waiting": queue.num_waiting,
        "ccsr_working": int(queue.is_working),
        "ccsr_visitors": 0 if queue.presence is None else len(queue.presence),
        "ccsr_sessions": num_sessions,
        "ccsr_memory_bytes": memory(),
    }
    lines = [
        line
        for name, value in gauges.items()
        if value is not None
        for line in (f"# TYPE {name} gauge", f"{name} {value}")
    ]
    return "\n".join([*queue.log.metrics(), *lines]) + "\n"


def app_kwargs(queue: ModelQueue, forget: Callable[[str], None]) -> dict[str, Any]:
    """What `launch` takes for the server: the gate before everything else, and bounded states.

    Args:
        queue: That of the page.
        forget: Called with the session of each page that is forgotten.
    """

    @asynccontextmanager
    async def lifespan(app: App) -> AsyncGenerator[None]:
        # One without visitors is false.
        presence = Presence() if queue.presence is None else queue.presence
        capacity = queue.limits.max_sessions
        app.state_holder = BoundedStates(app.get_blocks(), capacity, presence, forget)
        yield

    return {
        "middleware": [Middleware(Gate, queue=queue), Middleware(Introduction)],
        "lifespan": lifespan,
    }
