"""The web server around the page: what it lets through, and what it says about itself."""

import re
from typing import Any
from urllib.parse import parse_qs

from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from ccsr.ui.job_log import memory
from ccsr.ui.model_queue import ModelQueue

STREAM = re.compile(r"/(?:heartbeat|call/(?:v2/)?[^/]+)/(?P<name>[^/]+)$|/queue/data$")
"""Addresses of connections that are open as long as a visitor is here."""
UNUSED = re.compile(
    r"/(?:file=https?:|proxy=|monitoring|vibe-|undo-vibe-|process_recording|deep_link|run-history|"
    r"stream/|profiling|dev/)",
    re.IGNORECASE,
)
"""Addresses of Gradio that this page has no use for; some let a visitor choose what is fetched."""
UPLOAD = re.compile(r"/upload/?$")
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
        answer = self._answer(Request(scope))
        if answer is not None:
            await answer(scope, receive, send)
            return
        name, presence = stream_name(scope), self.queue.presence
        if name is None or presence is None:
            await self.app(scope, receive, send)
            return
        presence.enter(name)
        try:
            await self.app(scope, receive, send)
        finally:
            presence.leave(name)

    def _answer(self, request: Request) -> Response | None:
        path = request.url.path
        if path.endswith("/healthz"):
            return JSONResponse(health(self.queue))
        if path.endswith("/metrics"):
            return PlainTextResponse(metrics(self.queue))
        if UNUSED.search(path):
            return PlainTextResponse("This page has nothing there.", 404)
        if request.method == "POST" and not UPLOAD.search(path):
            length = request.headers.get("content-length", "")
            if not length.isdecimal():
                return PlainTextResponse("Send the length of the request.", 411)
            if int(length) > MAX_BODY:
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


def health(queue: ModelQueue) -> dict[str, Any]:
    """That the server answers, and what it is doing."""
    return {"status": "ok", "working": queue.is_working, "waiting": queue.num_waiting}


def metrics(queue: ModelQueue) -> str:
    """Counters and gauges in the text format of Prometheus."""
    gauges = {
        "ccsr_waiting": queue.num_waiting,
        "ccsr_working": int(queue.is_working),
        "ccsr_visitors": 0 if queue.presence is None else len(queue.presence),
        "ccsr_memory_bytes": memory(),
    }
    lines = [
        line
        for name, value in gauges.items()
        if value is not None
        for line in (f"# TYPE {name} gauge", f"{name} {value}")
    ]
    return "\n".join([*queue.log.metrics(), *lines]) + "\n"


def app_kwargs(queue: ModelQueue) -> dict[str, Any]:
    """What `launch` takes for the server: the gate before everything else."""
    return {"middleware": [Middleware(Gate, queue=queue)]}
