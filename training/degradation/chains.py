"""Random draws of degradations, each a pure function of a generator, by the name of their chain."""

from collections.abc import Sequence

import torch

from training.config import Chain, DataConfig
from training.data import Degrade
from training.degradation.bsrgan import draw_bsrgan
from training.degradation.operations import AnyOperation, Degradation, Resize
from training.degradation.real_esrgan import draw_real_esrgan
from training.draws import chance


def mixture(config: DataConfig) -> Degrade:
    """Degrade by bicubic reduction with probability `bicubic_share`, else by the chain."""

    def degrade(hr: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        chain = "bicubic" if chance(generator, config.bicubic_share) else config.chain
        return draw(chain, config.scale, generator).apply(hr)

    return degrade


def draw(chain: Chain, scale: int, generator: torch.Generator) -> Degradation:
    """Draw the parameters of a degradation to 1/`scale` of the size."""
    operations = {"bicubic": draw_bicubic, "real-esrgan": draw_real_esrgan, "bsrgan": draw_bsrgan}[
        chain
    ]
    return Degradation(chain=chain, scale=scale, operations=tuple(operations(scale, generator)))


def draw_bicubic(scale: int, generator: torch.Generator) -> Sequence[AnyOperation]:
    """The operation of bicubic reduction; nothing is drawn."""
    return [Resize(factor=1 / scale, mode="antialiased")]
