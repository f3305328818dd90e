"""Quality of a result: PSNR, SSIM and LPIPS against a reference, and no-reference metrics.

Pictures are [H,W,3] in [0,1]: `sr` a result, `hr` its reference (the true picture), `lr` its input.
As in the paper's evaluation, PSNR and SSIM are of the luma (BT.601), LPIPS is of RGB, and metrics
against a reference leave out a border of `BORDER` pixels.
"""

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from scipy.ndimage import gaussian_filter, laplace
from skimage.color import rgb2ycbcr
from skimage.metrics import mean_squared_error, structural_similarity
from torch import nn

from ccsr.errors import InputError
from ccsr.evaluation.feature_tiles import TILE, Features, tiled_distance
from ccsr.evaluation.niqe import SMALLEST_SIDE, niqe
from ccsr.images.picture import Picture, PictureError, Size
from ccsr.images.tensors import resize, seen_as_tensor, to_array, to_tensor
from ccsr.models.tiling import spans

BORDER = 4
"""Pixels left out on each side."""
MIN_MEASURED_SIDE = 2 * BORDER + 32
"""Shortest side in pixels of what is compared with a reference: AlexNet needs 31 inside the border,
SSIM's window 11."""
SSIM_RADIUS = 5
BAND = 512
"""Rows of a picture that are worked on at once: large pictures take no more memory."""
SSIM_C1, SSIM_C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
"""Of grey levels of 255: https://doi.org/10.1109/TIP.2003.819861."""
ALEX_WEIGHTS = Path(__file__).resolve().parents[2] / "assets" / "lpips" / "alex.safetensors"

# Convolutions (out channels, kernel, stride, padding) or max-pooling (kernel, stride); features are
# taken after the convolutions of TAPS. Zhang et al. 2018, https://arxiv.org/abs/1801.03924
Layer = tuple[int, int, int, int] | tuple[int, int]
TRUNKS: dict[str, tuple[Layer, ...]] = {
    "alex": ((64, 11, 4, 2), (3, 2), (192, 5, 1, 2), (3, 2), (384, 3, 1, 1), (256, 3, 1, 1),
             (256, 3, 1, 1)),
    "vgg": ((64, 3, 1, 1), (64, 3, 1, 1), (2, 2), (128, 3, 1, 1), (128, 3, 1, 1), (2, 2),
            (256, 3, 1, 1), (256, 3, 1, 1), (256, 3, 1, 1), (2, 2), (512, 3, 1, 1),
            (512, 3, 1, 1), (512, 3, 1, 1), (2, 2), (512, 3, 1, 1), (512, 3, 1, 1), (512, 3, 1, 1)),
}  # fmt: skip
TAPS = {"alex": (0, 1, 2, 3, 4), "vgg": (1, 3, 6, 9, 12)}


class LPIPS(nn.Module):
    """Learned perceptual distance between pictures, version 0.1.

    Args:
        trunk: "alex" (AlexNet, for evaluation) or "vgg" (VGG16, for training).
    """

    shift: torch.Tensor
    """[3,1,1], mean of the inputs of the trunk, in [-1,1]."""
    spread: torch.Tensor
    """[3,1,1], their standard deviation; its name is that in the weight files."""

    def __init__(self, trunk: str) -> None:
        super().__init__()
        self.layers, self.taps = TRUNKS[trunk], TAPS[trunk]
        self.strides = _strides(self.layers, self.taps)
        sizes = [layer for layer in self.layers if len(layer) == 4]
        inputs = [3, *(layer[0] for layer in sizes[:-1])]
        self.convs = nn.ModuleList(
            nn.Conv2d(channels, *layer) for channels, layer in zip(inputs, sizes, strict=True)
        )
        self.heads = nn.ModuleList(nn.Conv2d(sizes[i][0], 1, 1, bias=False) for i in self.taps)
        self.register_buffer("shift", torch.tensor([-0.030, -0.088, -0.188]).view(3, 1, 1))
        self.register_buffer("spread", torch.tensor([0.458, 0.448, 0.450]).view(3, 1, 1))
        self.requires_grad_(False)

    @classmethod
    def alex(cls) -> "LPIPS":
        """The AlexNet distance with the weights that ship with the product."""
        lpips = cls("alex")
        lpips.load_state_dict({k: v.float() for k, v in load_file(ALEX_WEIGHTS).items()})
        return lpips.eval()

    def stages(self, x: torch.Tensor) -> Iterator[torch.Tensor]:
        """Features [B,C,h,w] of x [B,3,H,W] in [0,1] after each of TAPS, computed one by one."""
        x = (2 * x - 1 - self.shift) / self.spread
        convs = iter(enumerate(self.convs))
        for layer in self.layers:
            if len(layer) == 2:
                x = nn.functional.max_pool2d(x, *layer)
                continue
            index, conv = next(convs)
            x = conv(x).relu()
            if index in self.taps:
                yield x

    def features(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Features of x [B,3,H,W] in [0,1] after each of TAPS, normalised over the channels."""
        # The tiny term inside the root keeps the gradient finite where all features are 0.
        return [f / (f.square().sum(1, keepdim=True) + 1e-20).sqrt() for f in self.stages(x)]

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        """Distances [B] of a and b [B,3,H,W] in [0,1]; 0 for equal pictures."""
        return self.distance(self.features(a), self.features(b))

    def distance(self, a: Features, b: Features) -> torch.Tensor:
        """Distances [B] of two pictures by their `features`."""
        return sum(
            (distances.mean((1, 2, 3)) for distances in self._maps(a, b)),
            start=torch.zeros(len(a[0]), device=a[0].device),
        )

    def part(self, a: Features, b: Features) -> torch.Tensor:
        """Sums over the positions of a tile, and their number, [2,stages,B]."""
        maps = list(self._maps(a, b))
        sums = torch.stack([distances.sum((1, 2, 3)) for distances in maps])
        counts = torch.tensor([[distances[0].numel()] for distances in maps]).to(sums)
        return torch.stack([sums, counts.expand_as(sums)])

    def distance_of_parts(self, parts: Sequence[torch.Tensor]) -> torch.Tensor:
        """Distances [B] of two pictures by all their tiles."""
        sums, counts = torch.stack(list(parts)).sum(0)
        return (sums / counts).sum(0)

    def _maps(self, a: Features, b: Features) -> Iterator[torch.Tensor]:
        """Distances at each position, [B,1,h,w], after each of TAPS."""
        for head, fa, fb in zip(self.heads, a, b, strict=True):
            squares = (fa - fb).square()
            # A tile of some pixels at an edge has no position of the coarse features.
            yield head(squares) if squares.numel() else squares[:, :1]


def _strides(layers: Sequence[Layer], taps: Sequence[int]) -> tuple[int, ...]:
    """Pixels from one position to the next after each of the convolutions `taps`."""
    stride, strides = 1, list[int]()
    for layer in layers:
        stride *= layer[2] if len(layer) == 4 else layer[1]
        if len(layer) == 4:
            strides.append(stride)
    return tuple(strides[tap] for tap in taps)


@functools.cache
def _alex() -> LPIPS:
    return LPIPS.alex()


def luma(rgb: np.ndarray) -> np.ndarray:
    """BT.601 luma of rgb [H,W,3] in [0,1] -> [H,W] in [16/255, 235/255]."""
    return rgb2ycbcr(rgb)[..., 0] / 255.0


def psnr(sr: np.ndarray, hr: np.ndarray) -> float:
    """Peak signal-to-noise ratio of the luma in dB; infinite for equal pictures."""
    error = _mean_over_bands(_squared_error, sr, hr, radius=0)
    return math.inf if error == 0 else -10 * math.log10(error)


def _squared_error(sr: np.ndarray, hr: np.ndarray) -> float:
    return float(mean_squared_error(luma(hr), luma(sr)))


def ssim(sr: np.ndarray, hr: np.ndarray) -> float:
    """Structural similarity of the luma (Gaussian window, sigma 1.5), at most 1."""
    return _mean_over_bands(_ssim, sr, hr, SSIM_RADIUS)


def _mean_over_bands(
    score: Callable[[np.ndarray, np.ndarray], float], sr: np.ndarray, hr: np.ndarray, radius: int
) -> float:
    """A mean over all whole windows of sr and hr [H,W,3], from the means of bands of rows.

    Args:
        score: The mean of two pictures or bands.
        sr: Result.
        hr: True picture.
        radius: Of a window, in pixels; 0: the mean is over all pixels.
    """
    bands = list(spans(sr.shape[0] - 2 * radius, BAND, 0))
    rows = [slice(band.start, band.stop + 2 * radius) for band in bands]
    means = [score(sr[each], hr[each]) for each in rows]
    return float(np.average(means, weights=[band.stop - band.start for band in bands]))


def _ssim(sr: np.ndarray, hr: np.ndarray) -> float:
    similarity: Any = structural_similarity(
        luma(hr),
        luma(sr),
        data_range=1.0,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
    )
    return float(similarity)


def ssim_8_bit(sr: np.ndarray, hr: np.ndarray) -> float:
    """Structural similarity of the luma rounded to 8 bits, as IQA-PyTorch computes it.

    The product of contrast and structure is not below 0, and only whole windows count.
    """
    return _mean_over_bands(_ssim_8_bit, sr, hr, SSIM_RADIUS)


def _ssim_8_bit(sr: np.ndarray, hr: np.ndarray) -> float:
    a, b = (np.round(255 * luma(x).astype(np.float64)) for x in (sr, hr))
    mean_a, mean_b = _windowed(a), _windowed(b)
    var_a, var_b = _windowed(a * a) - mean_a**2, _windowed(b * b) - mean_b**2
    covariance = _windowed(a * b) - mean_a * mean_b
    brightness = (2 * mean_a * mean_b + SSIM_C1) / (mean_a**2 + mean_b**2 + SSIM_C1)
    structure = (2 * covariance + SSIM_C2) / (var_a + var_b + SSIM_C2)
    return float((brightness * structure.clip(min=0)).mean())


def _windowed(x: np.ndarray) -> np.ndarray:
    """Mean of x [H,W] in each whole window of 11x11, weighted by a Gaussian of sigma 1.5."""
    smooth = gaussian_filter(x, 1.5, radius=SSIM_RADIUS)
    return smooth[SSIM_RADIUS:-SSIM_RADIUS, SSIM_RADIUS:-SSIM_RADIUS]


@torch.no_grad()
def lpips(sr: np.ndarray, hr: np.ndarray, tile: int = TILE) -> float:
    """LPIPS (AlexNet), 0 for equal pictures; lower is more alike.

    Args:
        sr: Result.
        hr: True picture.
        tile: Side in pixels of the tiles whose features are compared at once.
    """
    return float(tiled_distance(_alex(), seen_as_tensor(sr), seen_as_tensor(hr), tile))


@dataclass(frozen=True)
class Metric:
    """A metric of a result against its reference."""

    label: str
    unit: str
    higher_is_better: bool
    score: Callable[[np.ndarray, np.ndarray], float]
    """Of sr and hr."""
    help: str


Scorer = Callable[[np.ndarray], dict[str, float]]
"""Scores of a result [H,W,3] in [0,1], by the name of the metric."""

METRICS: dict[str, Metric] = {
    "psnr": Metric(
        "PSNR", "dB", True, psnr, "Fidelity: squared error of the luma, in dB. Higher is closer."
    ),
    "ssim": Metric(
        "SSIM", "", True, ssim, "Fidelity: similarity of local structure of the luma. 1 is equal."
    ),
    "lpips": Metric(
        "LPIPS",
        "",
        False,
        lpips,
        "Perception: distance of AlexNet features. Lower looks more alike.",
    ),
}


NO_REFERENCE = ("consistency", "sharpness", "niqe")
"""Names of the scores of a result without a reference."""


def check_measurable(size: Size) -> None:
    """Check that results of `size` can be compared with a reference, before they are made.

    PSNR, SSIM and LPIPS need sides of `MIN_MEASURED_SIDE` pixels. Nothing else limits the size:
    L-STD and the no-reference metrics are defined for every result, and NIQE is left out of those
    below `SMALLEST_SIDE`.

    Raises:
        PictureError: If a side is shorter.
    """
    if min(size) < MIN_MEASURED_SIDE:
        raise PictureError(
            f"results of at least {MIN_MEASURED_SIDE} pixels a side can be compared with a "
            f"reference, got {size}; raise the scale, take a larger picture, or leave the "
            "reference out"
        )


def measure(sr: np.ndarray, hr: np.ndarray, tile: int = TILE) -> dict[str, float]:
    """All of METRICS of sr against hr, both [H,W,3] in [0,1], inside the border.

    Args:
        sr: Result.
        hr: True picture.
        tile: Side in pixels of the tiles that LPIPS is measured in, see `tile_within`.

    Raises:
        InputError: If the sizes differ.
        PictureError: If they are too small, see `check_measurable`.
    """
    if sr.shape != hr.shape:
        raise InputError(
            f"the reference must have the size of the result, {Size(*sr.shape[:2])}, "
            f"got {Size(*hr.shape[:2])}; give the true picture at exactly the result's size"
        )
    check_measurable(Size(*sr.shape[:2]))
    inner = (slice(BORDER, -BORDER), slice(BORDER, -BORDER))
    scores = {name: metric.score for name, metric in METRICS.items()}
    scores["lpips"] = functools.partial(lpips, tile=tile)
    return {name: score(sr[inner], hr[inner]) for name, score in scores.items()}


def consistency(sr: np.ndarray, lr: np.ndarray) -> float:
    """PSNR in dB of the luma of sr [H,W,3], reduced to the size of lr, against lr [h,w,3]."""
    size = Size(*lr.shape[:2])
    # Channel by channel: large results are held once.
    channels = [to_array(resize(to_tensor(sr[..., [c]]), size)) for c in range(sr.shape[2])]
    return psnr(np.concatenate(channels, 2), lr)


def sharpness(sr: np.ndarray) -> float:
    """Mean absolute Laplacian of the luma in grey levels of 255; noise raises it too."""
    total = 0.0
    for band in spans(len(sr), BAND, 1):
        rows = band.inner(Fraction(1), band.start)
        total += np.abs(laplace(luma(sr[band.start : band.stop]))[rows]).sum(dtype=np.float64)
    return float(255 * total / math.prod(sr.shape[:2]))


def no_reference_metrics(sr: np.ndarray, lr: np.ndarray) -> dict[str, float]:
    """Consistency and sharpness of sr, and NIQE if no side is below `SMALLEST_SIDE`.

    Args:
        sr: Result, [H,W,3] in [0,1].
        lr: Its input, [h,w,3] in [0,1].
    """
    scores = [consistency(sr, lr), sharpness(sr)]
    if min(sr.shape[:2]) >= SMALLEST_SIDE:
        scores.append(niqe(sr))
    return dict(zip(NO_REFERENCE, scores, strict=False))


def make_scorer(lr: Picture, hr: Picture | None, tile: int = TILE) -> Scorer:
    """The metrics against the reference hr if there is one, else the no-reference metrics.

    Args:
        lr: Input.
        hr: True picture.
        tile: See `measure`.
    """
    if hr is not None:
        return lambda sr: measure(sr, hr.visible_rgb, tile)
    return lambda sr: no_reference_metrics(sr, lr.visible_rgb)
