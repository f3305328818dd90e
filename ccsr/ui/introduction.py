"""How the page introduces itself to search engines and messengers: text, icon and picture.

Gradio's page says these things of Gradio, in its first lines, which are the ones that are read.
"""

import re
from html import escape
from pathlib import Path

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

TITLE = "CCSR: super-resolution, stable over seeds"
DESCRIPTION = (
    "Enlarge a picture four times with CCSR, and see how far the result depends on the noise seed: "
    "seeds side by side, L-STD maps, trade-offs and trajectories."
)
ICON = Path(__file__).parent / "icon.svg"
PICTURE = Path(__file__).resolve().parents[2] / "assets" / "strip.jpg"
PICTURE_ADDRESS = "share.jpg"

_OTHERS = re.compile(r'<meta\s+(?:property="og:|name="twitter:)[^>]*>\s*')


def introduced(page: str, address: str) -> str:
    """The HTML of a page with what is said of it.

    Args:
        page: The HTML.
        address: Of the page, with a slash at its end.
    """
    said = {
        'name="description"': DESCRIPTION,
        'property="og:type"': "website",
        'property="og:url"': address,
        'property="og:title"': TITLE,
        'property="og:description"': DESCRIPTION,
        'property="og:image"': address + PICTURE_ADDRESS,
        'name="twitter:card"': "summary_large_image",
    }
    lines = [f'<meta {name} content="{escape(text)}" />' for name, text in said.items()]
    return _OTHERS.sub("", page).replace("<head>", "\n".join(["<head>", *lines]), 1)


class Introduction:
    """Middleware: writes what is said of the page into its HTML.

    Args:
        app: What answers.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http" or not _is_page(scope):
            await self.app(scope, receive, send)
            return
        head: Message = {}
        body = b""

        async def collect(message: Message) -> None:
            nonlocal head, body
            if message["type"] == "http.response.start":
                head = message
                return
            body += message.get("body", b"")
            if message.get("more_body"):
                return
            if "text/html" in MutableHeaders(raw=head["headers"]).get("content-type", ""):
                body = introduced(body.decode(), str(Request(scope).base_url)).encode()
                MutableHeaders(raw=head["headers"])["content-length"] = str(len(body))
            await send(head)
            await send({"type": "http.response.body", "body": body})

        await self.app(scope, receive, collect)


def _is_page(scope: Scope) -> bool:
    path = scope["path"].removeprefix(scope.get("root_path", "")).rstrip("/")
    return scope["method"] == "GET" and not path
