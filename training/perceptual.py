"""Perceptual losses: LPIPS with AlexNet or VGG16, and DISTS (`ccsr.evaluation.perceptual`).

python -m training.perceptual assets/lpips     # writes the alex.safetensors that ships
"""

import argparse
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
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
from ccsr.whole_file import write_whole
from training.config import COMPRESSION, Perceptual


class PerceptualLoss(nn.Module):
    """Mean distance of pictures [B,3,H,W] in [0,1], each call by one distance drawn at random.

    The gradient of several distances in turn costs that of one, and artefacts to which one distance
    is blind are penalised by another.
    """

    def __init__(self, kind: Perceptual) -> None:
        super().__init__()
        self.distances = nn.ModuleDict({name: _distance(name) for name in distance_names(kind)})

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
        with _finite_gradient(name, sr.device.type):
            return self.distances[name](sr[..., top:, left:], hr[..., top:, left:]).mean()


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


def _finite_gradient(name: str, device_type: str) -> AbstractContextManager[Any]:
    """Float32 for DISTS where autocast is to float16, in which its gradient is not finite."""
    if name == "dists" and torch.get_autocast_dtype(device_type) == torch.float16:
        return torch.autocast(device_type, enabled=False)
    return nullcontext()


def main() -> None:
    """Write the weights of LPIPS with AlexNet as float16 safetensors."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("output", type=Path, help="folder to write alex.safetensors into")
    output: Path = parser.parse_args().output
    output.mkdir(parents=True, exist_ok=True)
    state = {k: v.half().contiguous() for k, v in load_lpips("alex").state_dict().items()}
    write_whole(output / "alex.safetensors", save(state), overwrite=True)


if __name__ == "__main__":
    main()
