"""Scores of results for tables: which metrics there are, and how a convention measures them.

Pictures are [H,W,3] float32 in [0,1] of 8 bits: results are measured as the PNG files that they
are published as.
"""

import importlib
import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ccsr.errors import InputError
from ccsr.evaluation.feature_tiles import TILE, feature_tiles, tiled_distance
from ccsr.evaluation.metrics import LPIPS, MIN_MEASURED_SIDE, psnr, sharpness, ssim, ssim_8_bit
from ccsr.evaluation.niqe import SMALLEST_SIDE, niqe
from ccsr.evaluation.perceptual import DISTS, load_lpips
from ccsr.images.picture import Size
from ccsr.images.tensors import seen_as_tensor, to_tensor
from ccsr.models.memory_format import lay_out_for_convolutions

PYIQA_HELP = "pip install -r requirements-eval.txt"


@dataclass(frozen=True)
class Convention:
    """How pictures are measured; scores of two conventions do not compare."""

    help: str
    border: int
    """Pixels left out on each side, of all metrics but FID."""
    ssim: Callable[[np.ndarray, np.ndarray], float]


CONVENTIONS = {
    "paper": Convention(
        "a border of 4 pixels is left out; PSNR and SSIM of the luma (BT.601)", 4, ssim
    ),
    "osediff": Convention(
        "no border is left out; PSNR of the luma (BT.601), SSIM of the luma rounded to 8 bits with "
        "a structure term of at least 0, as in IQA-PyTorch",
        0,
        ssim_8_bit,
    ),
}


@dataclass(frozen=True)
class Column:
    """A metric as a column of tables."""

    name: str
    label: str
    higher_is_better: bool | None
    """None: neither is."""
    digits: int = 4

    @property
    def arrow(self) -> str:
        """The better direction."""
        return {True: "↑", False: "↓", None: ""}[self.higher_is_better]


COLUMNS = {
    column.name: column
    for column in (
        Column("psnr", "PSNR", True, 2),
        Column("ssim", "SSIM", True),
        Column("lpips", "LPIPS", False),
        Column("lpips-vgg", "LPIPS-VGG", False),
        Column("dists", "DISTS", False),
        Column("niqe", "NIQE", False, 2),
        Column("clipiqa", "CLIPIQA", True),
        Column("musiq", "MUSIQ", True, 2),
        Column("maniqa", "MANIQA", True),
        Column("fid", "FID", False, 2),
        Column("sharpness", "Sharpness", None, 2),
    )
}
"""The metrics of the paper's tables, and those computed here."""
OWN = ("psnr", "ssim", "lpips", "lpips-vgg", "dists", "niqe", "sharpness")
"""Computed here; all others by pyiqa."""
WITH_REFERENCE = ("psnr", "ssim", "lpips", "lpips-vgg", "dists")

Score = Callable[[np.ndarray, np.ndarray], float]
"""Of a result and its reference, both without the border."""


@dataclass(frozen=True)
class Scorer:
    """The metrics that can be measured here, by one convention."""

    convention: str
    columns: tuple[Column, ...]
    functions: dict[str, Score]
    """By the names of `columns`, without FID, which is of whole folders."""
    notes: tuple[str, ...]
    """One line for each metric that was asked for and cannot be measured here."""
    alex: LPIPS
    """For distances between results, too."""
    device: torch.device
    tile: int = TILE
    """Side in pixels of the tiles that distances of features are measured in."""

    def __call__(
        self, sr: np.ndarray, hr: np.ndarray, only: Sequence[str] | None = None
    ) -> dict[str, float]:
        """Scores of sr against hr, both [H,W,3]; NIQE is left out where pictures are too small.

        Args:
            sr: Result.
            hr: True picture.
            only: Names of the metrics to measure; None: all.

        Raises:
            InputError: If the sizes differ, or are too small for the other metrics.
        """
        if sr.shape != hr.shape:
            raise InputError(
                f"the result is {Size(*sr.shape[:2])} pixels, and the true picture "
                f"{Size(*hr.shape[:2])}; they must be of one size"
            )
        if min(sr.shape[:2]) < MIN_MEASURED_SIDE:
            raise InputError(
                f"pictures from {MIN_MEASURED_SIDE} pixels a side can be measured, "
                f"got {Size(*sr.shape[:2])}; leave it out"
            )
        border = CONVENTIONS[self.convention].border
        sr, hr = inside(sr, border), inside(hr, border)
        too_small = {"niqe"} if min(sr.shape[:2]) < SMALLEST_SIDE else set()
        names = [n for n in self.functions if (only is None or n in only) and n not in too_small]
        return {name: self.functions[name](sr, hr) for name in names}


def inside(x: np.ndarray, border: int) -> np.ndarray:
    """X [H,W,...] without its border."""
    return x[border : x.shape[0] - border, border : x.shape[1] - border]


def make_scorer(
    names: Sequence[str], convention: str, device: torch.device, tile: int = TILE
) -> Scorer:
    """The scorer of some metrics.

    Args:
        names: Of the metrics.
        convention: One of CONVENTIONS.
        device: Where networks compute.
        tile: Side in pixels of the tiles in which they do, a multiple of 16.

    Raises:
        InputError: If a metric or the convention is unknown.
    """
    if convention not in CONVENTIONS:
        raise InputError(f"convention must be one of {', '.join(CONVENTIONS)}, got {convention!r}")
    alex = LPIPS.alex().to(device)
    columns: list[Column] = []
    functions: dict[str, Score] = {}
    notes: list[str] = []
    for name in dict.fromkeys(names):
        try:
            column, score = _metric(name, convention, alex, device, tile)
        except (FileNotFoundError, ModuleNotFoundError) as error:
            notes.append(f"{name} is not measured: {error}")
            continue
        columns.append(column)
        if score is not None:
            functions[name] = score
    if not functions:
        raise InputError("no metric can be measured here; " + "; ".join(notes))
    return Scorer(convention, tuple(columns), functions, tuple(notes), alex, device, tile)


def _metric(
    name: str, convention: str, alex: LPIPS, device: torch.device, tile: int
) -> tuple[Column, Score | None]:
    """A metric as a column, and how it is measured.

    Raises:
        InputError: If there is no such metric.
        FileNotFoundError: If its weights are not installed.
        ModuleNotFoundError: If pyiqa is not installed.
    """
    simple: dict[str, Score] = {
        "psnr": psnr,
        "ssim": CONVENTIONS[convention].ssim,
        "niqe": lambda sr, _: niqe(sr),
        "sharpness": lambda sr, _: sharpness(sr),
    }
    networks: dict[str, Callable[[], LPIPS | DISTS]] = {
        "lpips": lambda: alex,
        "lpips-vgg": lambda: load_lpips("vgg"),
        "dists": DISTS.load,
    }
    if name in simple:
        return COLUMNS[name], simple[name]
    if name in networks:
        return COLUMNS[name], Distance(networks[name](), device, tile)
    return _of_pyiqa(name, device)


class Distance:
    """A distance of features; those of a true picture of one tile serve all results of it.

    Networks and pictures are laid out as convolutions compute: on CPUs VGG16 takes a fifth less.
    """

    def __init__(self, network: LPIPS | DISTS, device: torch.device, tile: int = TILE) -> None:
        self.network = network.to(device)
        lay_out_for_convolutions(self.network)
        self.device, self.tile = device, tile
        self._hr: np.ndarray | None = None
        self._hr_features: list[torch.Tensor] = []

    @torch.no_grad()
    def __call__(self, sr: np.ndarray, hr: np.ndarray) -> float:
        """The distance of sr and hr, both [H,W,3] in [0,1]; hr is not changed between calls."""
        if max(sr.shape[:2]) > self.tile:
            a, b = (seen_as_tensor(x).to(self.device) for x in (sr, hr))
            return float(tiled_distance(self.network, a, b, self.tile))
        if not _is_same(hr, self._hr):
            # Kept, so that no other picture gets its place in memory.
            self._hr, self._hr_features = hr, self._features(hr)
        return float(self.network.distance(self._features(sr), self._hr_features))

    def _features(self, rgb: np.ndarray) -> list[torch.Tensor]:
        (features,) = feature_tiles(self.network, seen_as_tensor(rgb).to(self.device), self.tile)
        return features


def _is_same(one: np.ndarray, other: np.ndarray | None) -> bool:
    """Whether two arrays are the same place in memory, seen in the same way."""
    return other is not None and one.__array_interface__ == other.__array_interface__


def _of_pyiqa(name: str, device: torch.device) -> tuple[Column, Score | None]:
    if importlib.util.find_spec("pyiqa") is None:
        if name not in COLUMNS:
            raise InputError(
                f"{name!r} is no metric of this program ({', '.join(OWN)}); those of pyiqa can be "
                f"measured once it is installed: {PYIQA_HELP}"
            )
        raise ModuleNotFoundError(f"it needs pyiqa; {PYIQA_HELP}")
    pyiqa: Any = importlib.import_module("pyiqa")
    if name not in pyiqa.list_models():
        raise InputError(
            f"{name!r} is a metric neither of this program ({', '.join(OWN)}) nor of pyiqa "
            f"({', '.join(pyiqa.list_models())})"
        )
    if name == "fid":
        return COLUMNS[name], None
    metric = pyiqa.create_metric(name, device=device)
    column = COLUMNS.get(name, Column(name, name.upper(), not metric.lower_better))
    with_reference = metric.metric_mode == "FR"

    def score(sr: np.ndarray, hr: np.ndarray) -> float:
        pictures = (sr, hr) if with_reference else (sr,)
        with torch.no_grad():
            return float(metric(*(to_tensor(x).to(device) for x in pictures)))

    return column, score


def fid(folder: str, reference: str, device: torch.device) -> float:
    """Fréchet inception distance of the pictures of two folders, by pyiqa."""
    pyiqa: Any = importlib.import_module("pyiqa")
    return float(pyiqa.create_metric("fid", device=device)(folder, reference))
