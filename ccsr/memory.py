"""Memory of the process."""

import ctypes
import sys
from collections.abc import Callable

KEPT_BYTES = 128 * 1024**2
"""Freed memory that is kept: as much as a result of 512x512 pixels asks for again and again."""
LARGE_BYTES = 32 * 1024**2
"""What is larger is given back at once, as it would be anyway; glibc takes no higher bound."""
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
"""glibc's names of settings, from malloc.h."""


def keep_freed() -> None:
    """Have memory that one layer frees kept for the next, where glibc is.

    It gives back what is free at the end of its memory at once, and the system clears every page
    of it when it is asked for again: a fifth of the time that a small picture takes.
    """
    mallopt = _glibc("mallopt")
    if mallopt is not None:
        mallopt(_TRIM_THRESHOLD, KEPT_BYTES)
        mallopt(_MMAP_THRESHOLD, LARGE_BYTES)
        # One for all threads, or each thread that has worked would keep as much.
        mallopt(_ARENA_MAX, 1)


def give_back() -> None:
    """Give memory that was freed back to the system, where glibc is.

    It keeps most of it for later, in pieces that are too small for a large picture.
    """
    malloc_trim = _glibc("malloc_trim")
    if malloc_trim is not None:
        malloc_trim(0)


def _glibc(function: str) -> Callable[..., int] | None:
    """A function of the C library, if that is glibc."""
    return getattr(ctypes.CDLL(None), function, None) if sys.platform == "linux" else None
