"""The statistics over the seeds of one method and one picture, updated seed by seed."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch

from ccsr.evaluation.comparison.scores import CONVENTIONS, Scorer, inside
from ccsr.evaluation.comparison.uncertainty import shares_above, uncertainty
from ccsr.evaluation.metrics import LPIPS
from ccsr.evaluation.stability import PixelStatistics
from ccsr.images.tensors import to_tensor
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
        self._distances = PairDistances(scorer.alex)

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
    """LPIPS of each pair of results; their features lie on disk, and two are read at a time."""

    def __init__(self, network: LPIPS) -> None:
        self.network = network
        self._features: list[list[np.ndarray]] = []
        self.distances: list[float] = []

    @torch.no_grad()
    def add(self, rgb: np.ndarray) -> None:
        """Add a result [H,W,3] in [0,1]; its distance to each earlier one is measured."""
        device = next(self.network.parameters()).device
        features = self.network.features(to_tensor(rgb).to(device))
        for earlier in self._features:
            others = [torch.from_numpy(stage).to(device) for stage in earlier]
            self.distances.append(float(self.network.distance(features, others)))
        self._features.append([memory_mapped(stage.cpu().numpy()) for stage in features])

    def statistics(self) -> dict[str, float]:
        """Mean, standard deviation, least and greatest distance of a pair."""
        values = np.array(self.distances)
        return {
            "mean": float(values.mean()),
            "std": float(values.std()),
            "min": float(values.min()),
            "max": float(values.max()),
        }
