"""Fully sharded training (FSDP): every process holds a part of each tensor.

Weights, gradients, state of the optimiser and averages are split; a network's weights are gathered
while it computes. https://docs.pytorch.org/docs/stable/distributed.fsdp.fully_shard.html.
Checkpoints hold whole tensors, the same as without sharding.
"""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from diffusers import AutoencoderKL
from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, distribute_tensor

from ccsr.models.compact_autoencoder import CompactAutoencoder
from ccsr.models.denoiser import Denoiser
from training.discriminators import FeatureDiscriminator, PatchDiscriminator


def shard(module: nn.Module, mesh: DeviceMesh) -> None:
    """Split the networks in a loss module among the processes of a mesh.

    Optimisers and averages are made of its parameters afterwards.
    """
    # Of outputs that are views, which must not be changed in place; none are.
    warnings.filterwarnings("ignore", "FSDP2-wrapped module", UserWarning)
    for network in _called_networks(module):
        # Loss modules may share a network.
        if isinstance(network, FSDPModule):
            continue
        for block in _blocks_of(network):
            fully_shard(block, mesh=mesh)
        fully_shard(network, mesh=mesh)
        if hasattr(network, "condition_features"):
            register_fsdp_forward_method(network, "condition_features")
    assert all(isinstance(p, DTensor) for p in module.parameters() if p.requires_grad)


def _called_networks(module: nn.Module) -> list[nn.Module]:
    """The networks of a loss module that are called; of autoencoders the parts that are trained."""
    found: list[nn.Module] = []
    for part in module.modules():
        if isinstance(part, Denoiser):
            found += [part.unet, part.controlnet]
        elif isinstance(part, CompactAutoencoder | AutoencoderKL):
            found += [c for c in part.children() if any(p.requires_grad for p in c.parameters())]
        elif isinstance(part, PatchDiscriminator | FeatureDiscriminator):
            found.append(part)
    return found


def _blocks_of(network: nn.Module) -> list[nn.Module]:
    """The blocks of a denoising network, of which one at a time is gathered."""
    lists = (getattr(network, name, ()) for name in ("down_blocks", "up_blocks", "levels"))
    return [block for blocks in lists for block in blocks]


def split_again(module: nn.Module) -> None:
    """Let go of weights that were gathered outside of a training step."""
    for part in module.modules():
        if isinstance(part, FSDPModule):
            part.reshard()


def own_parts(parameters: Iterable[nn.Parameter]) -> list[nn.Parameter]:
    """The parts of parameters that this process holds, in the same memory; themselves if whole."""
    return [
        nn.Parameter(p.to_local().detach(), p.requires_grad) if isinstance(p, DTensor) else p
        for p in parameters
    ]


def parts_of(tensors: Sequence[torch.Tensor], like: Iterable[nn.Parameter]) -> list[torch.Tensor]:
    """The parts of whole tensors that this process holds of parameters of the same shapes."""
    split = (split_as(x, p) for x, p in zip(tensors, like, strict=True))
    return [x.to_local() if isinstance(x, DTensor) else x for x in split]


def split_as(x: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """A whole tensor, split as another one of its shape is; itself if that is whole."""
    if not isinstance(like, DTensor) or x.shape != like.shape:
        return x
    x = x.to(like.device)
    return distribute_tensor(x, like.device_mesh, like.placements, src_data_rank=None)


def joined(parts: Iterable[torch.Tensor], like: Iterable[nn.Parameter]) -> list[torch.Tensor]:
    """Parts of `parts_of` as tensors that `gathered` makes whole."""
    return [
        DTensor.from_local(
            x, p.device_mesh, p.placements, run_check=False, shape=p.shape, stride=p.stride()
        )
        if isinstance(p, DTensor)
        else x
        for x, p in zip(parts, like, strict=True)
    ]


def gathered(state: Any, *, keep: bool) -> Any:  # noqa: ANN401 - a tree of anything
    """A tree of dicts and lists with its tensors whole, on the CPU.

    All processes take part, of which one at least is to keep the result; others get no tensors.
    """
    if isinstance(state, DTensor):
        whole = state.full_tensor()
        return whole.cpu() if keep else None
    if isinstance(state, Mapping):
        return {key: gathered(value, keep=keep) for key, value in state.items()}
    if isinstance(state, list | tuple):
        return type(state)(gathered(value, keep=keep) for value in state)
    return state


def split_optimizer_state(state: Mapping[str, Any], like: Sequence[nn.Parameter]) -> dict[str, Any]:
    """The state of an optimiser of whole parameters as that of an optimiser of `like`."""
    own = {
        index: {k: split_as(v, like[index]) if torch.is_tensor(v) else v for k, v in entry.items()}
        for index, entry in state["state"].items()
    }
    return {**state, "state": own}
