"""python -m ccsr."""

import os
import signal
import sys
from types import FrameType


def main() -> int:
    """Run the command line; 130 when it is interrupted, also while libraries are imported."""
    standard = signal.getsignal(signal.SIGINT)
    if standard == signal.default_int_handler:
        # Interrupted imports raise what they will, and nothing is written yet.
        signal.signal(signal.SIGINT, _stop)
    try:
        from ccsr.cli import read_options

        options = read_options()
        from ccsr.commands import run
    except (MemoryError, ImportError) as error:
        # The second is what the loader of libraries says when they do not fit.
        if isinstance(error, ImportError) and "map segment" not in str(error):
            raise
        print("error: there is not enough memory to start; close other programs", file=sys.stderr)
        return 2

    signal.signal(signal.SIGINT, standard)
    return run(options)


def _stop(number: int, frame: FrameType | None) -> None:
    os.write(2, b"stopped\n")
    os._exit(130)


if __name__ == "__main__":
    sys.exit(main())
