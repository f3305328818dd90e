"""Random draws of degradations, each a pure function of a generator, by the name of their model."""

from collections.abc import Callable, Mapping, Sequence

import torch

from ccsr.config import DegradationModel
from ccsr.degradation.bsrgan import draw_bsrgan
from ccsr.degradation.camera import draw_camera
from ccsr.degradation.draws import choose
from ccsr.degradation.operations import AnyOperation, Degradation, Resize
from ccsr.degradation.real_esrgan import draw_real_esrgan

Degrade = Callable[[torch.Tensor, torch.Generator], torch.Tensor]
"""HR [1,3,H,W] in [0,1] and the source of the random draws -> LR."""


def mixture(shares: Mapping[DegradationModel, float], scale: int) -> Degrade:
    """Degrade by one of several models, each drawn with its share of `shares`, which sum to 1."""
    models, weights = tuple(shares), tuple(shares.values())

    def degrade(hr: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        return draw(choose(generator, models, weights), scale, generator).apply(hr)

    return degrade


def draw(model: DegradationModel, scale: int, generator: torch.Generator) -> Degradation:
    """Draw the parameters of a degradation to 1/`scale` of the size."""
    operations = tuple(DRAWS[model](scale, generator))
    return Degradation(model=model, scale=scale, operations=operations)


def draw_bicubic(scale: int, generator: torch.Generator) -> Sequence[AnyOperation]:
    """The operation of bicubic reduction; nothing is drawn."""
    return [Resize(factor=1 / scale, mode="antialiased")]


DRAWS: dict[DegradationModel, Callable[[int, torch.Generator], Sequence[AnyOperation]]] = {
    "real-esrgan": draw_real_esrgan,
    "bsrgan": draw_bsrgan,
    "camera": draw_camera,
    "bicubic": draw_bicubic,
}
