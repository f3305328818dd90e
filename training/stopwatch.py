"""What the seconds of a training step are spent on."""

import time
from collections import defaultdict
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from training.discriminators import FeatureDiscriminator, PatchDiscriminator
from training.perceptual import PerceptualLoss

LOSS_NETWORKS = (PerceptualLoss, PatchDiscriminator, FeatureDiscriminator)
"""Networks that only losses evaluate, on pictures [B,3,H,W]."""


class Stopwatch:
    """Seconds by part. A part within another is not counted in the outer one."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._parts: list[str] = []
        self._since = 0.0

    def begin(self, part: str) -> None:
        """Count for `part` from now on."""
        self._count()
        self._parts.append(part)

    def end(self) -> None:
        """Go on with the part that the latest one began in."""
        self._count()
        self._parts.pop()

    @contextmanager
    def timed(self, part: str) -> Generator[None]:
        """Count this context for a part."""
        self.begin(part)
        try:
            yield
        finally:
            self.end()

    def time_loss_networks(self, module: nn.Module) -> None:
        """Count for "loss networks" what LOSS_NETWORKS in a module take.

        That is their forward passes, and their backward passes to the pictures.
        """
        for network in (part for part in module.modules() if isinstance(part, LOSS_NETWORKS)):
            network.register_forward_pre_hook(self._enter)
            network.register_forward_hook(self._leave)

    def _enter(self, _: nn.Module, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        """Begin a forward pass of a loss network, and mark where its backward pass ends."""
        self.begin("loss networks")
        return (_Mark.apply(inputs[0], self.end), *inputs[1:])

    def _leave(
        self, _: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor
    ) -> torch.Tensor:
        """End a forward pass of a loss network, and mark where its backward pass begins."""
        self.end()
        if not inputs[0].requires_grad:
            # Only its own weights are trained: there is no backward pass to a picture.
            return output
        return _Mark.apply(output, lambda: self.begin("loss networks"))

    def _count(self) -> None:
        present = now()
        if self._parts:
            self.seconds[self._parts[-1]] += present - self._since
        self._since = present


class _Mark(torch.autograd.Function):
    """Does nothing to a tensor, and calls `passed` when its gradient is known."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401 - torch's signature
        x: torch.Tensor,
        passed: Callable[[], None],
    ) -> torch.Tensor:
        ctx.passed = passed
        return x.view_as(x)

    @staticmethod
    def backward(
        ctx: Any,  # noqa: ANN401 - torch's signature
        *gradients: torch.Tensor,
    ) -> tuple[torch.Tensor, None]:
        ctx.passed()
        return gradients[0], None


def now() -> float:
    """The time in seconds, once the GPU has done what it was given."""
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
    return time.perf_counter()
