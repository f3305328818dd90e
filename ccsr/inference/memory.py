"""Memory of the process."""

import ctypes
import errno
import math
import sys
import tempfile
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager, suppress

import numpy as np
import torch

from ccsr.errors import InputError

KEPT_BYTES = 128 * 1024**2
"""Freed memory that is kept: as much as a result of 512x512 pixels asks for again and again."""
LARGE_BYTES = 32 * 1024**2
"""What is larger is given back at once, as it would be anyway; glibc takes no higher bound."""
SPILL_BYTES = 16 * 1024**2
"""Arrays of so many lie in files while they are not needed: a picture of 4096x4096 has 201 MB."""
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
"""glibc's names of settings, from malloc.h."""


_OUT_OF_MEMORY = ("allocate memory", "out of memory", "bad_alloc", "a memory object",
                  "could not create a primitive")  # fmt: skip
"""In messages of torch, oneDNN, safetensors and the system when memory has run out."""


class OutOfMemoryError(InputError):
    """There is not enough memory; the message says what to do."""


def lacks_memory(error: BaseException) -> bool:
    """Whether an error, or its cause, says that memory has run out."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    if isinstance(error, OSError) and error.errno == errno.ENOMEM:
        return True
    if any(text in str(error) for text in _OUT_OF_MEMORY):
        return True
    return error.__cause__ is not None and lacks_memory(error.__cause__)


@contextmanager
def memory_named(work: str) -> Generator[None]:
    """Turn any error of too little memory inside into OutOfMemoryError.

    Args:
        work: What the memory is for, as in "there is not enough memory for <work>".
    """
    try:
        yield
    except OutOfMemoryError:
        raise
    except Exception as error:
        if not lacks_memory(error):
            raise
        raise OutOfMemoryError(
            f"there is not enough memory for {work}; lower the scale, cut out a part, set "
            "--max-memory lower, or close other programs"
        ) from error


def keep_freed() -> None:
    """Have memory that one layer frees kept for the next, where glibc is.

    It gives back what is free at the end of its memory at once, and the system clears every page
    of it when it is asked for again: a fifth of the time that a small picture takes.

    For programs to call before they start threads, which get memory of their own otherwise.
    """
    mallopt = _glibc("mallopt")
    if mallopt is not None:
        mallopt(_TRIM_THRESHOLD, KEPT_BYTES)
        mallopt(_MMAP_THRESHOLD, LARGE_BYTES)
        # What is asked for in threads comes from it, too.
        mallopt(_ARENA_MAX, 1)


def give_back() -> None:
    """Give memory that was freed back to the system, where glibc is.

    It keeps most of it for later, in pieces that are too small for a large picture.
    """
    malloc_trim = _glibc("malloc_trim")
    if malloc_trim is not None:
        malloc_trim(0)


def peak_memory() -> int:
    """Bytes that this process has had in memory at most; 0 where the system does not tell."""
    if sys.platform == "win32":
        return 0
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # In bytes on macOS, in KiB elsewhere.
    return peak if sys.platform == "darwin" else 1024 * peak


def memory_mapped(arrays: Iterable[np.ndarray]) -> list[np.ndarray]:
    """The same numbers, kept in one file without a name, which is gone when they are.

    They can be changed there. The system keeps in memory what there is room for.

    Args:
        arrays: One or more, of one type; one at a time is needed in memory.
    """
    shapes: list[tuple[int, ...]] = []
    kind = np.dtype(np.float32)
    with tempfile.TemporaryFile() as file:
        # Written before it is mapped: a disk that is full is an error here, and a crash there.
        for array in arrays:
            array.tofile(file)
            shapes.append(array.shape)
            kind = array.dtype
        file.flush()
        numbers = np.memmap(file, kind, "r+")
    ends = np.cumsum([math.prod(shape) for shape in shapes])
    parts = np.split(numbers, ends[:-1])
    return [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]


def spill_to_disk(array: np.ndarray) -> np.ndarray:
    """The same numbers, in a file if they are many and there is room."""
    if array.nbytes >= SPILL_BYTES:
        with suppress(OSError):
            (kept,) = memory_mapped([array])
            return kept
    return array


def _glibc(function: str) -> Callable[..., int] | None:
    """A function of the C library, if that is glibc."""
    return getattr(ctypes.CDLL(None), function, None) if sys.platform == "linux" else None
