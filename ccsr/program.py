"""What all programs of this package share: how they describe themselves, and how they end."""

import argparse
import sys
from collections.abc import Callable

BAD_INPUT = 2


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


def exit_code(work: Callable[[], object]) -> int:
    """Do the work of a program; 0, or BAD_INPUT after a refusal, whose sentence is printed."""
    try:
        work()
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return BAD_INPUT
    return 0
