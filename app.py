"""The page as a program: `python app.py`, also what a Hugging Face Space runs."""

import argparse
import logging
import os
import sys
import tempfile
from functools import partial
from pathlib import Path

# Not among the files of other programs, which Gradio would serve, too.
os.environ.setdefault("GRADIO_TEMP_DIR", str(Path(tempfile.gettempdir()) / "ccsr-page"))
# Read when these libraries are imported: no call goes out.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"

from ccsr.cli import add_model, config_of
from ccsr.config import COMPACT, LoadingConfig
from ccsr.errors import InputError
from ccsr.inference.engine import load_engine
from ccsr.inference.events import Engine
from ccsr.inference.memory import keep_freed
from ccsr.inference.pace import warm_up
from ccsr.inference.stages import QUICK_PARAMETERS
from ccsr.program import exit_code, program
from ccsr.ui import zerogpu
from ccsr.ui.compute_thread import compute
from ccsr.ui.files import check_upload_folder
from ccsr.ui.limits import DEFAULT_LIMITS, PUBLIC
from ccsr.ui.model_queue import ModelQueue
from ccsr.ui.page import build_page, launch_kwargs
from ccsr.ui.presence import Presence
from ccsr.ui.sessions import Sessions


def main(arguments: list[str] | None = None) -> int:
    """Load a model, build the page and serve it until it is stopped.

    Returns:
        The exit code: 2 if the model cannot be loaded, the port is taken, no file can be written,
        or after a fault; 130 when it is interrupted before it serves.
    """
    parser = program("app.py", "The CCSR page. The variable CCSR_MODEL names its model, too.")
    add_model(parser, default=os.environ.get("CCSR_MODEL", COMPACT))
    parser.add_argument("--host", help="address to listen on; 0.0.0.0 for the whole network")
    parser.add_argument("--port", type=int, help="port to listen on; by default a free one")
    parser.add_argument("--share", action="store_true", help="make a public link through Gradio")
    parser.add_argument(
        "--public",
        action="store_true",
        default=os.environ.get("CCSR_PUBLIC") == "1",
        help="limit what a visitor can ask for, see the README; so does CCSR_PUBLIC=1",
    )
    parser.add_argument("--root-path", help="path of the page behind a proxy, such as /ccsr")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    return exit_code("app.py", partial(load_and_serve, options))


def load_and_serve(options: argparse.Namespace) -> None:
    """Load the model that is asked for, and serve the page until it is stopped.

    Raises:
        InputError: If the model cannot be loaded, or no file can be written.
        OSError: If the port is taken.
    """
    keep_freed()
    spaces_gpu = zerogpu.spaces_gpu()
    check_upload_folder()
    engine = compute(load_engine, options.model, config_of(LoadingConfig, options))
    serve(engine if spaces_gpu is None else zerogpu.ZeroGpuEngine(engine, spaces_gpu), options)


def serve(engine: Engine, options: argparse.Namespace) -> None:
    """Build the page around a model and serve it until it is stopped.

    Raises:
        InputError: If Gradio refuses to serve it so.
        OSError: If the port is taken.
    """
    queue = ModelQueue(PUBLIC if options.public else DEFAULT_LIMITS, Presence())
    sessions = Sessions(engine)
    if engine.info.parameters < QUICK_PARAMETERS and zerogpu.spaces_gpu() is None:
        compute(warm_up, engine, sessions.pace)
    page = build_page(engine, queue, sessions)
    try:
        page.launch(
            server_name=options.host,
            server_port=options.port,
            share=options.share,
            root_path=options.root_path,
            **launch_kwargs(queue, sessions),
        )
    except ValueError as error:  # how Gradio refuses, such as where a proxy hides its own address
        raise InputError(f"the page cannot be served: {error}") from error


if __name__ == "__main__":
    sys.exit(main())
