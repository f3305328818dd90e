"""The statistics over the seeds of one method and one picture, updated seed by seed."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch

from ccsr.evaluation.comparison.scores import CONVENTIONS, Scorer, inside
from ccsr.evaluation.comparison.uncertainty import shares_above, uncertainty
from ccsr.evaluation.feature_tiles import TILE, feature_tiles
from ccsr.evaluation.metrics import LPIPS
from ccsr.evaluation.stability import PixelStatistics
from ccsr.images.tensors import seen_as_tensor
from ccsr.inference.memory import memory_mapped


class SeedStatistics:
    """Scores, deviation and distances of the results of one method for one picture.

    Args:
        hr: The true picture, [H,W,3] in [0,1].
        scorer: Its convention says what border is left out.
        num_seeds: How many results there will be.
    """

    def __init__(self, hr: np.ndarray, scorer: Scorer, num_seeds: int) -> None:
        self.hr, self.num_seeds = hr, num_seeds
        self.border = CONVENTIONS[scorer.convention].border
        self.seeds: list[int] = []
        self.scores: list[dict[str, float]] = []
        self.pixels = PixelStatistics()
        self._distances = PairDistances(scorer.alex, scorer.tile)

    @property
    def is_complete(self) -> bool:
        """Whether all results have been added."""
        return len(self.seeds) == self.num_seeds

    def add(self, seed: int, rgb: np.ndarray, scores: dict[str, float]) -> None:
        """Add the result of a seed, [H,W,3] in [0,1], and its scores."""
        self.seeds.append(seed)
        self.scores.append(scores)
        if self.num_seeds > 1:
            self.pixels.add(rgb)
            self._distances.add(inside(rgb, self.border))

    def extreme(self) -> dict[str, int]:
        """Positions of the best and the worst seed by PSNR; empty where that is not measured."""
        if "psnr" not in self.scores[0]:
            return {}
        order = np.argsort([scores["psnr"] for scores in self.scores], kind="stable")
        return {"best": int(order[-1]), "worst": int(order[0])}

    def row(self) -> dict[str, Any]:
        """Means of the scores, and with several seeds G-STD (Eq. 4), L-STD (Eq. 5) and more."""
        names = self.scores[0]
        row: dict[str, Any] = {
            "seeds": self.seeds,
            "scores": {n: float(np.mean([s[n] for s in self.scores])) for n in names},
        }
        for which, place in self.extreme().items():
            row[which] = {"seed": self.seeds[place], "psnr": self.scores[place]["psnr"]}
        if self.num_seeds == 1:
            return row
        disagreement = inside(self.pixels.l_std_map, self.border)
        mean, hr = (inside(x, self.border) for x in (self.pixels.mean, self.hr))
        return row | {
            "g_std": {name: g_std([scores[name] for scores in self.scores]) for name in names},
            "l_std": float(disagreement.mean()),
            "above": shares_above(disagreement),
            "uncertainty": asdict(uncertainty(disagreement, mean, hr)),
            "diversity": self._distances.statistics(),
        }


def g_std(scores: Sequence[float]) -> float | None:
    """G-STD of the scores of one picture (Eq. 4); None where one is infinite."""
    return float(np.std(scores)) if np.isfinite(scores).all() else None


class PairDistances:
    """LPIPS of each pair of results; their features lie on disk, a tile of two is read at a time.

    Args:
        network: On the device where it computes.
        tile: Side of a tile in pixels, see `feature_tiles`.
    """

    def __init__(self, network: LPIPS, tile: int = TILE) -> None:
        self.network, self.tile = network, tile
        self._features: list[list[np.ndarray]] = []
        self.distances: list[float] = []

    @torch.no_grad()
    def add(self, rgb: np.ndarray) -> None:
        """Add a result [H,W,3] in [0,1]; its distance to each earlier one is measured."""
        x = seen_as_tensor(rgb).to(next(self.network.parameters()).device)
        stages = (s for tile in feature_tiles(self.network, x, self.tile) for s in tile)
        features = memory_mapped(stage.contiguous().cpu().numpy() for stage in stages)
        for earlier in self._features:
            pairs = zip(self._tiles(features), self._tiles(earlier), strict=True)
            parts = [self.network.part(*pair) for pair in pairs]
            self.distances.append(float(self.network.distance_of_parts(parts)))
        self._features.append(features)

    def _tiles(self, features: list[np.ndarray]) -> Iterator[list[torch.Tensor]]:
        """The features of a result, tile by tile."""
        device, count = next(self.network.parameters()).device, len(self.network.strides)
        for first in range(0, len(features), count):
            yield [torch.from_numpy(stage).to(device) for stage in features[first : first + count]]

    def statistics(self) -> dict[str, float]:
        """Mean, standard deviation, least and greatest distance of a pair."""
        values = np.array(self.distances)
        return {
            "mean": float(values.mean()),
            "std": float(values.std()),
            "min": float(values.min()),
            "max": float(values.max()),
        }
