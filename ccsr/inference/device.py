"""Where networks compute, and in which number format: the same rules for inference and training."""

import os
from collections.abc import Callable
from typing import Any

import torch
from diffusers.utils import is_xformers_available

from ccsr.errors import InputError, reason_of


class NotFiniteError(InputError):
    """The networks gave a value that is not finite."""


def on_zerogpu() -> bool:
    """Whether this is a Hugging Face Space on ZeroGPU, whose GPU is there during calls only."""
    return os.environ.get("SPACES_ZERO_GPU", "").lower() in ("1", "t", "true")


def choose_device(name: str) -> torch.device:
    """The device of that name; "auto" is CUDA, MPS or the CPU, the first that is there.

    Raises:
        InputError: If it is unknown or not available.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
        if name == "cpu" and torch.backends.mps.is_available():
            name = "mps"
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise InputError(
            f"device {name!r} cannot be used ({reason_of(error)}); try auto or cpu"
        ) from error
    return device


def choose_dtype(
    name: str,
    device: torch.device,
    is_finite_in: Callable[[torch.dtype], bool] | None = None,
) -> torch.dtype:
    """The number format of that name.

    "auto" is bfloat16 where the device computes in it, which has the range of float32. On other
    devices but the CPU it is float16 if the networks are known to stay within its range, up to
    65,504; else float32.

    Args:
        name: "auto", "float32", "bfloat16" or "float16".
        device: Where the networks compute.
        is_finite_in: Tests the networks in a number format; None: they cannot be tested.
    """
    if name != "auto":
        return getattr(torch, name)
    if computes_in_bfloat16(device):
        return torch.bfloat16
    if device.type != "cpu" and is_finite_in is not None and is_finite_in(torch.float16):
        return torch.float16
    return torch.float32


def computes_in_bfloat16(device: torch.device) -> bool:
    """Whether the device has instructions for bfloat16; elsewhere it is emulated slowly."""
    if device.type == "cuda":
        if on_zerogpu():
            return True
        with torch.cuda.device(device):
            return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":
        # torch has public names for these from 2.10 on only.
        cpu: Any = torch.cpu
        return cpu._is_avx512_bf16_supported() or cpu._is_amx_tile_supported()
    return False


def can_use_xformers(device: torch.device) -> bool:
    """Whether xformers' attention can be switched on: installed, and with a GPU at hand."""
    return device.type == "cuda" and not on_zerogpu() and is_xformers_available()


def check_finite(x: torch.Tensor, source: str, dtype: torch.dtype) -> None:
    """Refuse values that are not finite.

    Args:
        x: float32; a sum stays within its range.
        source: The network that gave them.
        dtype: Its number format.

    Raises:
        NotFiniteError: With the remedy.
    """
    if not bool(x.sum().isfinite()):
        name = str(dtype).removeprefix("torch.")
        remedy = (
            "its weights may be damaged; get them again"
            if dtype == torch.float32
            else "load the model in another number format: --dtype bfloat16 or float32"
        )
        raise NotFiniteError(f"{source} gave values that are not finite in {name}; {remedy}")
