"""The layout in memory that convolutions compute in."""

import torch
from torch import nn


def lay_out_for_convolutions(network: nn.Module) -> None:
    """Lay the weights of convolutions out as channels_last, so that none are rearranged in use."""
    for weight in network.parameters():
        if weight.dim() == 4:
            weight.data = weight.data.contiguous(memory_format=torch.channels_last)
