"""What residual blocks add to their streams; a block that adds next to nothing can be removed."""

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


def residual_blocks(network: nn.Module) -> dict[str, nn.Module]:
    """The residual blocks of a network by name, in the order of its definition."""
    kinds = (ResidualBlock, ResBlock, ResnetBlock2D)
    return {name: block for name, block in network.named_modules() if isinstance(block, kinds)}


@contextmanager
def switched_off(block: nn.Module) -> Generator[None]:
    """Let a residual block return its stream unchanged while the context is open."""
    hook = block.register_forward_hook(lambda block, inputs, output: _stream(block, inputs))
    try:
        yield
    finally:
        hook.remove()


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
        for name, block in residual_blocks(network).items()
    ]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


def _recorder(found: dict[str, BranchStatistics], name: str) -> Callable[..., None]:
    @torch.no_grad()
    def record(block: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        stream, out = _stream(block, inputs).float(), output.float()
        share = (out - stream).square().mean().sqrt() / stream.square().mean().sqrt()
        found[name] = BranchStatistics(float(share), float(out.abs().max()))

    return record


def _stream(block: nn.Module, inputs: tuple[torch.Tensor, ...]) -> torch.Tensor:
    """What the branch of a block is added to."""
    if isinstance(block, ResnetBlock2D) and block.conv_shortcut is not None:
        return block.conv_shortcut(inputs[0])
    return inputs[0]
