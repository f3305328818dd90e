"""Distances of features in tiles are those of whole pictures."""

import numpy as np
import pytest
import torch
from skimage import data

from ccsr.evaluation.feature_tiles import tiled_distance
from ccsr.evaluation.metrics import LPIPS
from ccsr.evaluation.perceptual import DISTS, load_lpips

NETWORKS = {
    "lpips": LPIPS.alex,
    "lpips-vgg": lambda: load_lpips("vgg"),
    "dists": DISTS.load,
}


def pair(height: int, width: int) -> list[torch.Tensor]:
    """A photograph with noise that grows to the right, and the photograph."""
    hr = data.astronaut()[:height, :width].astype(np.float32) / 255
    noise = np.random.default_rng(0).normal(0, 0.3, hr.shape) * np.linspace(0, 1, width)[:, None]
    sr = (hr + noise).clip(0, 1).astype(np.float32)
    return [torch.tensor(x).permute(2, 0, 1)[None] for x in (sr, hr)]


@pytest.mark.parametrize("size", [(257, 387), (384, 130), (129, 40)], ids=str)
@pytest.mark.parametrize("name", NETWORKS)
def test_distance_in_tiles_is_that_of_the_whole(name: str, size: tuple[int, int]) -> None:
    try:
        network = NETWORKS[name]()
    except FileNotFoundError as error:
        pytest.skip(str(error))
    sr, hr = pair(*size)
    with torch.no_grad():
        whole, in_tiles = network(sr, hr), tiled_distance(network, sr, hr, 128)
    assert float(whole) > 0.02
    assert float(in_tiles) == pytest.approx(float(whole), abs=1e-6)
