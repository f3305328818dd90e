"""What residual blocks add to their streams: a block that adds next to nothing is wasted time."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from diffusers.models.autoencoders.autoencoder_dc import ResBlock
from diffusers.models.resnet import ResnetBlock2D
from torch import nn

from ccsr.models.compact_autoencoder import ResidualBlock


@dataclass(frozen=True)
class BranchStatistics:
    """A residual block in the last evaluation of its network."""

    share: float
    """RMS of what its branch adds, over RMS of the stream that it is added to."""
    peak: float
    """Largest absolute value of the block's output."""


@contextmanager
def recorded_branches(network: nn.Module) -> Generator[dict[str, BranchStatistics]]:
    """Statistics of the residual blocks of `network`, by name, while the context is open.

    Args:
        network: Any that holds residual blocks of the compact autoencoder, or of diffusers'
            `AutoencoderDC`, UNets and down blocks.
    """
    found: dict[str, BranchStatistics] = {}
    hooks = [
        block.register_forward_hook(_recorder(found, name))
        for name, block in network.named_modules()
        if isinstance(block, ResidualBlock | ResBlock | ResnetBlock2D)
    ]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


def _recorder(found: dict[str, BranchStatistics], name: str) -> Callable[..., None]:
    @torch.no_grad()
    def record(block: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        stream = inputs[0]
        if isinstance(block, ResnetBlock2D) and block.conv_shortcut is not None:
            stream = block.conv_shortcut(stream)
        stream, out = stream.float(), output.float()
        share = (out - stream).square().mean().sqrt() / stream.square().mean().sqrt()
        found[name] = BranchStatistics(float(share), float(out.abs().max()))

    return record
