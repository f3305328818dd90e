"""What all programs of this package share: how they describe themselves, and how they end."""

import argparse
import logging
import sys
from collections.abc import Callable

from ccsr.errors import failure_of, print_tracebacks_if_asked

logger = logging.getLogger(__name__)

BAD_INPUT, INTERRUPTED = 2, 130


def program(name: str, description: str | None) -> argparse.ArgumentParser:
    """A parser without options.

    Args:
        name: As the program is called, such as "python -m training.average".
        description: For --help, shown line by line as it is written.
    """
    return argparse.ArgumentParser(
        prog=name,
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def positive_int(text: str) -> int:
    """The type of options that are whole numbers from 1."""
    if text.isdecimal() and int(text) > 0:
        return int(text)
    raise argparse.ArgumentTypeError(f"it must be a whole number from 1, got {text[:80]!r}")


def exit_code(name: str, work: Callable[[], object]) -> int:
    """Do the work of a program; 0, BAD_INPUT after a refusal or a fault, or INTERRUPTED.

    Args:
        name: The program, for the sentence about a fault.
        work: What it does.
    """
    print_tracebacks_if_asked()
    try:
        work()
    except Exception as error:  # users get a sentence, whatever it was
        logger.debug("%s failed", name, exc_info=True)
        print(f"error: {failure_of(name, error)}", file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return INTERRUPTED
    return 0
