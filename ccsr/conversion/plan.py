"""Which stored weight becomes which weight of which network.

A plan is made of names and shapes alone and accounts for every name: it is converted, left out for
a reason, or reported as an error.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from ccsr.conversion.checkpoint import MAX_NAMED, CheckpointError, Shapes
from ccsr.diffusion.scheduler import NonUniformScheduler

TEXT_ENCODER = "text_encoder"


@dataclass(frozen=True)
class Source:
    """Where a weight comes from."""

    name: str
    """Name of the stored weight."""
    rows: slice | None = None
    """Its output channels that are taken; None for all."""
    channels: slice | None = None
    """Its input channels that are taken; None for all."""

    def select(self, weight: torch.Tensor) -> torch.Tensor:
        """The part of the stored weight that is taken."""
        weight = weight if self.rows is None else weight[self.rows]
        return weight if self.channels is None else weight[:, self.channels]


@dataclass(frozen=True)
class Network:
    """A network of the model folder, and the sources of its weights."""

    model: torch.nn.Module
    """Without weights, on the meta device."""
    sources: Mapping[str, Source]
    """By name of the weight in `model`."""
    zeros: frozenset[str] = frozenset()
    """Weights that have no source and are zero."""

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of every weight of `model`, by name."""
        return {name: tuple(weight.shape) for name, weight in self.model.state_dict().items()}

    def load(self, weights: Mapping[str, torch.Tensor], dtype: torch.dtype) -> torch.nn.Module:
        """`model` with its weights, in the given number format."""
        state = {name: torch.zeros(shape, dtype=dtype) for name, shape in self.shapes.items()}
        for name, source in self.sources.items():
            weight = source.select(weights[source.name])
            state[name] = weight.reshape(state[name].shape).to(dtype)
        self.model.load_state_dict(state, assign=True)
        return self.model.eval()

    def problems(self, folder: str, shapes: Shapes) -> list[str]:
        """Missing weights and wrong shapes, as messages.

        Args:
            folder: Folder of the network, for the messages.
            shapes: The shape of every stored weight.
        """
        found = (
            self._problem(folder, name, shape, shapes)
            for name, shape in self.shapes.items()
            if name not in self.zeros
        )
        return [problem for problem in found if problem is not None]

    def _problem(
        self, folder: str, name: str, shape: tuple[int, ...], shapes: Shapes
    ) -> str | None:
        source = self.sources.get(name)
        if source is None:
            return f"missing: what becomes {name} of {folder}"
        if source.name not in shapes:
            return f"missing: {source.name}"
        stored = shapes[source.name]
        selected = source.select(torch.empty(stored, device="meta")).shape
        if _without_1x1(selected) == _without_1x1(shape):
            return None
        return f"wrong shape: {source.name} {list(stored)}, expected {list(shape)}"


@dataclass(frozen=True)
class ConversionPlan:
    """The networks of a model folder and the stored weights that are left out."""

    networks: Mapping[str, Network]
    """By their folder."""
    text_encoder: Network
    left_out: Mapping[str, str]
    """Names of stored weights that are not converted, with the reason."""
    scheduler: NonUniformScheduler
    """The steps and the starting point that the networks were trained for."""


def checked_plan(
    model: str,
    networks: Mapping[str, Network],
    left_out: Mapping[str, str],
    shapes: Shapes,
    scheduler: NonUniformScheduler,
) -> ConversionPlan:
    """The plan, if it accounts for every stored weight.

    Args:
        model: Whose weights they should be, for the message.
        networks: All networks, TEXT_ENCODER among them.
        left_out: See `ConversionPlan`.
        shapes: The shape of every stored weight.
        scheduler: See `ConversionPlan`.

    Raises:
        CheckpointError: If a weight is missing, unknown or of a wrong shape; the message names it.
    """
    problems = [p for folder, n in networks.items() for p in n.problems(folder, shapes)]
    known = converted_names(networks) | left_out.keys()
    problems += [f"unknown: {name}" for name in shapes if name not in known]
    if problems:
        more = len(problems) - MAX_NAMED
        listed = problems[:MAX_NAMED] + ([f"{more} more"] if more > 0 else [])
        raise CheckpointError(f"the weights are not those of {model}: " + "; ".join(listed))
    saved = {folder: network for folder, network in networks.items() if folder != TEXT_ENCODER}
    return ConversionPlan(saved, networks[TEXT_ENCODER], left_out, scheduler)


def converted_names(networks: Mapping[str, Network]) -> set[str]:
    """Names of the stored weights that networks take."""
    return {source.name for network in networks.values() for source in network.sources.values()}


def names_below(shapes: Shapes, prefix: str) -> list[str]:
    """Names of the stored weights that begin with a prefix."""
    return [name for name in shapes if name.startswith(prefix)]


def _without_1x1(shape: Sequence[int]) -> tuple[int, ...]:
    """Linear layers of the autoencoder's attention are stored as 1x1 convolutions in v1."""
    return tuple(shape[:2]) if tuple(shape[2:]) == (1, 1) else tuple(shape)
