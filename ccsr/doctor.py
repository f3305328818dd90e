"""What a report of a fault needs: versions, machine, model, and a test of two seconds."""

import importlib.metadata
import logging
import os
import platform
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from ccsr.config import LoadingConfig, SamplingConfig
from ccsr.errors import InputError
from ccsr.images.formats import FORMATS
from ccsr.images.picture import noise_picture
from ccsr.inference.engine import ModelEngine, load_engine
from ccsr.inference.events import Restored

logger = logging.getLogger(__name__)

PACKAGES = ("torch", "diffusers", "transformers", "accelerate", "safetensors", "huggingface_hub",
            "gradio", "pydantic", "numpy", "pillow", "scikit-image", "xformers")  # fmt: skip
SIDE = 32
"""Of the picture of the self-test."""
TEST = SamplingConfig(num_steps=10, t_max=0.6, t_min=0.4)
LEAST_FREE = 2**30
"""Bytes that results and uploads of a few visitors take."""


@dataclass(frozen=True)
class Finding:
    """One line of the report."""

    name: str
    text: str
    is_well: bool = True

    def __str__(self) -> str:
        """As in the report."""
        return f"{self.name}: {'' if self.is_well else 'FAILED, '}{self.text}"


def examine(model: str, loading: LoadingConfig) -> Iterator[Finding]:
    """Look at everything that a fault may come from, one finding after the other.

    Args:
        model: As in `load_engine`.
        loading: How to put it on this machine.
    """
    yield Finding("ccsr", f"{_version('ccsr')}, Python {platform.python_version()}")
    yield Finding("system", f"{platform.platform()}, {os.cpu_count()} cores, {_memory()}")
    yield Finding("packages", ", ".join(f"{name} {_version(name)}" for name in PACKAGES))
    yield Finding("formats", ", ".join(FORMATS))
    yield _temporary_folder()
    yield Finding("threads", str(torch.get_num_threads()))
    try:
        started = time.perf_counter()
        engine = load_engine(model, loading)
        seconds = time.perf_counter() - started
    except (InputError, OSError) as error:
        yield Finding("model", str(error), is_well=False)
        return
    info = engine.info
    yield Finding("device", f"{info.device}, {info.dtype}, attention: {info.attention}")
    size = f"{info.parameters / 1e6:.1f} M parameters, loaded in {seconds:.1f} s"
    yield Finding("model", f"{info.name}, {size}")
    for variant in info.variants:
        yield _test(engine, TEST.replace(variant=variant))


def _test(engine: ModelEngine, config: SamplingConfig) -> Finding:
    """Upscale a small picture twice with one seed."""
    picture, name = noise_picture(SIDE), f"variant {config.variant}"
    try:
        started = time.perf_counter()
        results = [
            event.picture.rgb
            for _ in range(2)
            for event in engine.run(picture, config, (0,))
            if isinstance(event, Restored)
        ]
        seconds = time.perf_counter() - started
    except Exception as error:  # whatever it is belongs into the report
        logger.debug("%s failed", name, exc_info=True)
        return Finding(name, f"{type(error).__name__}: {error}", is_well=False)
    difference = 255 * float(np.abs(results[0] - results[1]).max())
    text = f"{SIDE}x{SIDE} pixels twice in {seconds:.1f} s, {difference:.1f} levels apart"
    return Finding(name, text, is_well=difference <= 1)


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _memory() -> str:
    try:
        pages, size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return "memory unknown"
    return f"{pages * size / 2**30:.1f} GiB of memory"


def _temporary_folder() -> Finding:
    try:
        with tempfile.TemporaryFile() as file:
            file.write(b"\0")
        free = shutil.disk_usage(tempfile.gettempdir()).free
    except OSError as error:
        return Finding("temporary folder", error.strerror or str(error), is_well=False)
    text = f"{free / 2**30:.1f} GiB free"
    return Finding("temporary folder", text, is_well=free >= LEAST_FREE)
