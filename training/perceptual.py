"""Perceptual losses: LPIPS with AlexNet or VGG16, and DISTS (`ccsr.evaluation.perceptual`)."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import nn

from ccsr.evaluation.metrics import LPIPS
from ccsr.evaluation.perceptual import (
    DISTS,
    DISTS_FILE,
    DISTS_PACKAGE,
    LPIPS_FILES,
    LPIPS_PACKAGE,
    file_of_package,
    load_lpips,
)
from ccsr.models.memory_format import lay_out_for_convolutions
from training.config import COMPRESSION, Perceptual, PerceptualDtype


class PerceptualLoss(nn.Module):
    """Mean distance of pictures [B,3,H,W] in [0,1], each call by one distance drawn at random.

    The gradient of several distances in turn costs that of one, and artefacts to which one distance
    is blind are penalised by another.

    Args:
        kind: The distances.
        number_format: Which their networks compute in; "auto": that of `torch.autocast` around
            them.
    """

    def __init__(self, kind: Perceptual, number_format: PerceptualDtype = "auto") -> None:
        super().__init__()
        self.number_format: PerceptualDtype = number_format
        self.distances = nn.ModuleDict({name: _distance(name) for name in distance_names(kind)})
        for distance in self.distances.values():
            lay_out_for_convolutions(distance)

    def forward(
        self, sr: torch.Tensor, hr: torch.Tensor, generator: torch.Generator
    ) -> torch.Tensor:
        """A scalar: the distance, drawn by `generator`, of sr to hr.

        Both are shifted by up to 7 pixels, also drawn: the strides of a distance's network and the
        period of a decoder's artefacts, 2, 4 or 8 pixels, are else always in the same phase.
        """
        names = list(self.distances)
        name = names[int(torch.randint(len(names), (1,), generator=generator))]
        top, left = torch.randint(COMPRESSION, (2,), generator=generator).tolist()
        a, b = (x[..., top:, left:].contiguous(memory_format=torch.channels_last) for x in (sr, hr))
        with _computing(self.number_format, name, sr.device.type):
            return self.distances[name](a, b).mean()


def set_number_format(module: nn.Module, number_format: PerceptualDtype) -> None:
    """Let all perceptual losses in a module compute in a number format."""
    for part in module.modules():
        if isinstance(part, PerceptualLoss):
            part.number_format = number_format


def distance_names(kind: Perceptual) -> tuple[str, ...]:
    """The distances of a recipe's value: of "vgg", "alex" and "dists", one or several."""
    several = {"both": ("vgg", "alex"), "all": ("vgg", "alex", "dists")}
    return several.get(kind, (kind,))


def require_weights(kind: Perceptual) -> None:
    """Check that the weights of all distances of a recipe's value are installed.

    Raises:
        FileNotFoundError: If a package is not installed.
    """
    for name in distance_names(kind):
        if name != "alex":
            file_of_package(LPIPS_PACKAGE, LPIPS_FILES["vgg"])
        if name == "dists":
            file_of_package(DISTS_PACKAGE, DISTS_FILE)


def _distance(name: str) -> LPIPS | DISTS:
    if name == "dists":
        return DISTS.load()
    return LPIPS.alex() if name == "alex" else load_lpips(name)


def _computing(
    number_format: PerceptualDtype, name: str, device_type: str
) -> AbstractContextManager[Any]:
    """What a distance is computed in."""
    if number_format == "bfloat16":
        return torch.autocast(device_type, torch.bfloat16)
    # The gradient of DISTS is not finite in float16.
    halved = torch.get_autocast_dtype(device_type) == torch.float16
    if number_format == "float32" or (name == "dists" and halved):
        return torch.autocast(device_type, enabled=False)
    return nullcontext()
