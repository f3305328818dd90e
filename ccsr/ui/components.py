"""Components that pass on what the browser sent, so that `ccsr.ui.inputs` checks it.

Gradio's own raise errors while they read a value, some without a message for people. A subclass,
because Gradio builds components anew from their class when it updates them. `is_template` lets
the browser draw it as its base class.

A program can send any path and any address in the place of an upload. Gradio checks the path of a
picture only where the value claims to be a file, and downloads addresses; here files are read that
were sent to this server, and no others.
"""

import math
import stat
from pathlib import Path

import gradio as gr
from gradio.blocks import Block
from gradio.data_classes import FileData, ImageData, ListFiles
from gradio.utils import get_upload_folder, is_in_or_equal
from gradio_client.utils import is_http_url_like

NOT_SENT = "That is no file that was sent to this page; upload the file itself"


def uploaded(path: str | None) -> str | None:
    """The path of a file in the folder of uploads, links followed; None for none.

    It may have been removed since: whoever reads it says so.

    Raises:
        gr.Error: If it is anywhere else.
    """
    if not path:
        return None
    try:
        inside = is_in_or_equal(path, get_upload_folder()) and _may_be_file(path)
    except (OSError, ValueError):  # a name that no file can have
        inside = False
    if not inside:
        raise gr.Error(NOT_SENT, print_exception=False)
    return path


def _may_be_file(path: str) -> bool:
    try:
        return stat.S_ISREG(Path(path).stat().st_mode)
    except FileNotFoundError:
        return True


class WithoutDownloads(Block):
    """A component that fetches no address: its files are those that were sent."""

    async def async_move_resource_to_block_cache(
        self, url_or_file_path: str | Path | None
    ) -> str | None:
        """As Gradio's, but nothing is downloaded.

        Raises:
            gr.Error: For an address.
        """
        if is_http_url_like(str(url_or_file_path)):
            raise gr.Error(NOT_SENT, print_exception=False)
        return await super().async_move_resource_to_block_cache(url_or_file_path)


class PictureFile(gr.Image, WithoutDownloads):
    """An upload of a picture, read as the path of the file as it was sent."""

    is_template = True

    def preprocess(self, payload: ImageData | None) -> str | None:
        """The path, or None without a picture.

        Raises:
            gr.Error: If the file was not sent to this server.
        """
        return uploaded(payload.path) if payload else None


class PictureFiles(gr.File, WithoutDownloads):
    """An upload of several files, read as their paths."""

    is_template = True

    def preprocess(self, payload: ListFiles | None) -> list[str]:  # type: ignore[override]
        """The paths.

        Raises:
            gr.Error: If a file was not sent to this server.
        """
        paths = (uploaded(file.path) for file in (payload.root if payload else ()))
        return [path for path in paths if path]


class SettingsFile(gr.File, WithoutDownloads):
    """An upload of a single file, read as its path."""

    is_template = True

    def preprocess(self, payload: FileData | None) -> str | None:  # type: ignore[override]
        """The path, or None without a file.

        Raises:
            gr.Error: If the file was not sent to this server.
        """
        return uploaded(payload.path) if payload else None


class NumberSlider(gr.Slider):
    """A slider with a number box, read as any number."""

    is_template = True

    def preprocess(self, payload: float | None) -> float:
        """The number, or NaN for an empty box."""
        return math.nan if payload is None else payload


class NumberBox(gr.Number):
    """A number box, read as any number."""

    is_template = True

    def preprocess(self, payload: float | None) -> float:
        """The number, or NaN for an empty box."""
        return math.nan if payload is None else payload
