"""Recorded values of the authors' implementation, and networks that replay them."""

from collections.abc import Callable
from pathlib import Path

import torch

DATA = Path(__file__).parent / "data"


def replayed(calls: list[tuple[torch.Tensor, torch.Tensor]]) -> Callable[..., torch.Tensor]:
    """A network of recorded (input, output) pairs; it fails if an input is another one."""
    remaining = iter(calls)

    def predict(x_t: torch.Tensor, t: object) -> torch.Tensor:
        x, eps = next(remaining)
        torch.testing.assert_close(x_t, x, rtol=1e-4, atol=1e-4)
        return eps

    return predict
