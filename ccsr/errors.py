"""The error of bad input, and what messages say of errors: of input, of the system, of faults."""

import logging
import os
import traceback

DEBUG_VARIABLE = "CCSR_DEBUG"
"""Environment variable that, with any value, has commands print the traceback of each error."""

PACKAGES = ("ccsr", "training")
"""Those of this program."""


class InputError(ValueError):
    """Input that cannot be worked on: says what was expected, what came, and what to do.

    A ValueError of another kind, as numpy and torch raise, is a fault of the program.
    """


def raised_here(error: BaseException) -> bool:
    """Whether the last line of Python that ran is one of this program: a fault of its own.

    Libraries written in C raise in the line that calls them: what they are known to raise has to be
    turned into another error there.
    """
    frames = list(traceback.walk_tb(error.__traceback__))
    module = str(frames[-1][0].f_globals.get("__name__")) if frames else ""
    return module.partition(".")[0] in PACKAGES


def reason_of(error: BaseException) -> str:
    """The first line of what an error says, and its type where that is hardly a sentence."""
    line = str(error).strip().partition("\n")[0]
    if line and isinstance(error, ValueError | OSError | RuntimeError | AssertionError):
        return line
    return f"{type(error).__name__}: {line}" if line else type(error).__name__


def failure_of(work: object, error: Exception) -> str:
    """What a program says of work that failed: a refusal names its reason and the remedy itself.

    Args:
        work: What begins the sentence about a fault: a command, or the file that it was at.
        error: InputError and OSError are refusals; any other is a fault of the program.
    """
    if isinstance(error, InputError | OSError):
        return str(error)
    return (
        f"{work}: {reason_of(error)}. This is a fault of the program: please report it, with what "
        f"`python -m ccsr doctor` prints, and what this command prints if {DEBUG_VARIABLE}=1 is set"
    )


def print_tracebacks_if_asked() -> None:
    """Let the loggers of this package print what they log of errors if DEBUG_VARIABLE is set."""
    if os.environ.get(DEBUG_VARIABLE):
        logging.basicConfig()
        for package in PACKAGES:
            logging.getLogger(package).setLevel(logging.DEBUG)
