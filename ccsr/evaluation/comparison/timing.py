"""How long a picture takes, as in the paper's Table 2, and what it is measured on."""

import platform
import statistics
import time
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path

import torch

from ccsr.evaluation.comparison.methods import Method
from ccsr.evaluation.comparison.test_set import Sample
from ccsr.images.picture import noise_picture

TIMED_SIDE = 128
"""Of the input in pixels, that of the paper."""
REPEATS = 3
PACKAGES = ("ccsr", "torch", "diffusers", "numpy", "scikit-image", "pyiqa", "spandrel")
CPU_FILE = Path("/proc/cpuinfo")


def seconds_of(methods: Sequence[Method], scale: int) -> Iterator[tuple[str, float]]:
    """Median seconds a picture of the methods that run here, nothing shared with others.

    The first run of each pays for its set-up and is left out.
    """
    lr = noise_picture(TIMED_SIDE)
    for method in methods:
        if not method.runs_here:
            continue
        spent: list[float] = []
        for number in range(REPEATS + 1):
            # Another sample each time: estimates of the one before are not reused.
            sample = Sample("timing", number, method.name, Path(), "bicubic", scale)
            started = time.perf_counter()
            method.restore(sample, lr, 0)
            _wait()
            spent.append(time.perf_counter() - started)
        yield method.name, statistics.median(spent[1:])


def _wait() -> None:
    """Wait for what a GPU is still doing."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def machine(device: torch.device, dtype: str) -> str:
    """The device and the versions, for under a table."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else _processor()
    threads = "" if device.type == "cuda" else f", {torch.get_num_threads()} threads"
    return (
        f"{name}{threads}, {dtype}; {', '.join(_versions())}, Python {platform.python_version()}."
    )


def _processor() -> str:
    if CPU_FILE.exists():
        for line in CPU_FILE.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _versions() -> Iterator[str]:
    for package in PACKAGES:
        try:
            yield f"{package} {version(package)}"
        except ModuleNotFoundError:
            continue
