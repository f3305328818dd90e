"""Memory of the process."""

import ctypes
import sys


def give_back() -> None:
    """Give memory that was freed back to the system.

    glibc keeps most of it for later, in pieces that are too small for a large picture; elsewhere
    nothing is done.
    """
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)
