"""What is freed is there for the next layer."""

import errno
import subprocess
import sys

import numpy as np
import pytest
import torch

from ccsr.inference.memory import (
    OutOfMemoryError,
    lacks_memory,
    memory_named,
    spill_to_disk,
)

FAULTS = """
import ctypes, resource, sys
from ccsr.inference.memory import give_back, keep_freed

libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.free.argtypes = [ctypes.c_void_p]
libc.memset.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]

def layer():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    features = [libc.malloc(8 * 2**20) for _ in range(4)]
    for each in features:
        libc.memset(each, 1, 8 * 2**20)
    for each in features:
        libc.free(each)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

if "keep" in sys.argv:
    keep_freed()
first, again = layer(), layer()
give_back()
print(first, again, layer())
"""


def page_faults(*words: str) -> tuple[int, ...]:
    """Those of a layer, of one after it, and of one after memory was given back."""
    command = [sys.executable, "-c", FAULTS, *words]
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return tuple(map(int, found.split()))


def test_numbers_stay_in_memory_if_the_disk_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    array = np.arange(5.0)
    monkeypatch.setattr("ccsr.inference.memory.SPILL_BYTES", 1)
    aside = spill_to_disk(array)
    assert isinstance(aside, np.memmap)
    aside += 1
    np.testing.assert_array_equal(aside, array + 1)
    monkeypatch.setattr("tempfile.TemporaryFile", full)
    assert spill_to_disk(array) is array


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's memory")
def test_freed_memory_is_kept_and_can_be_given_back() -> None:
    first, again, given_back = page_faults("keep")
    assert again < first / 100
    assert given_back > first / 2
    _, ordinary, _ = page_faults()
    assert ordinary > first / 2


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"),
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("could not create a primitive"),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
    ],
)
def test_all_kinds_of_too_little_memory_are_known(error: Exception) -> None:
    assert lacks_memory(error)
    outer = ValueError("it failed")
    outer.__cause__ = error
    assert lacks_memory(outer)
    with pytest.raises(OutOfMemoryError, match="for a cat; lower the scale"), memory_named("a cat"):
        raise error


@pytest.mark.parametrize("error", [RuntimeError("shape mismatch"), OSError(2, "no file")])
def test_other_errors_stay_what_they_are(error: Exception) -> None:
    assert not lacks_memory(error)
    with pytest.raises(type(error)), memory_named("a cat"):
        raise error
