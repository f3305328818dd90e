"""Measure what each residual block of a model is worth: its results with the block switched off.

    python -m training.ablation --model MODEL --data PICTURES

A block that costs neither 0.1 dB nor 0.002 LPIPS can be cut.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np
from torch import nn

from ccsr.config import COMPACT, Variant
from ccsr.degradation.draws import generator_for
from ccsr.degradation.folder import picture_paths
from ccsr.degradation.models import draw
from ccsr.errors import InputError
from ccsr.evaluation.metrics import lpips, psnr
from ccsr.images.picture import Picture, picture_from_array
from ccsr.images.reading import load_picture
from ccsr.images.tensors import to_array, to_tensor
from ccsr.inference.hub import NETWORKS, model_folder
from ccsr.inference.pipeline import CCSRPipeline
from ccsr.models.residual_branches import recorded_branches, residual_blocks, switched_off
from ccsr.program import exit_code, positive_int, program

SCALE = 4
WORTH_PSNR, WORTH_LPIPS = 0.1, 0.002
"""A block is worth its time if either is lost without it."""


@dataclass(frozen=True)
class TestPair:
    """A picture and what it was reduced from."""

    lr: Picture
    hr: np.ndarray


@dataclass(frozen=True)
class BlockWorth:
    """Means over the pictures of one residual block's part in the results."""

    name: str
    share: float
    """RMS of its branch over RMS of its stream, in the last evaluation."""
    psnr: float
    """dB lost when it is switched off."""
    lpips: float
    """LPIPS gained, the higher the worse."""

    @property
    def is_worth_its_time(self) -> bool:
        """Whether results are visibly worse without it."""
        return self.psnr >= WORTH_PSNR or self.lpips >= WORTH_LPIPS


def block_worths(pipeline: CCSRPipeline, pairs: Sequence[TestPair]) -> Iterator[BlockWorth]:
    """The worth of each residual block of the pipeline's networks, one after the other."""
    networks = nn.ModuleDict({name: getattr(pipeline, name) for name in reversed(NETWORKS)})
    with recorded_branches(networks) as statistics:
        whole = _scores(pipeline, pairs)
    for name, block in residual_blocks(networks).items():
        with switched_off(block):
            without = _scores(pipeline, pairs)
        lost = whole - without
        yield BlockWorth(name, statistics[name].share, float(lost[0]), float(-lost[1]))


def _scores(pipeline: CCSRPipeline, pairs: Sequence[TestPair]) -> np.ndarray:
    """Mean PSNR and LPIPS of the results of seed 0."""
    results = [pipeline.upscale(pair.lr)[0].rgb for pair in pairs]
    scores = [(psnr(r, p.hr), lpips(r, p.hr)) for r, p in zip(results, pairs, strict=True)]
    return np.mean(scores, axis=0)


def centre_pairs(paths: Sequence[Path], crop_px: int) -> list[TestPair]:
    """The centre crops of pictures, and their bicubic reductions.

    Raises:
        PictureError: If a picture cannot be read.
        InputError: If it is smaller than the crop.
    """
    pairs: list[TestPair] = []
    for path in paths:
        rgb = load_picture(path).rgb
        top, left = ((side - crop_px) // 2 for side in rgb.shape[:2])
        if min(top, left) < 0:
            raise InputError(f"{path} has a side below {crop_px} pixels; lower --crop")
        hr = rgb[top : top + crop_px, left : left + crop_px]
        lr = draw("bicubic", SCALE, generator_for(0)).apply(to_tensor(hr))
        pairs.append(TestPair(picture_from_array(to_array(lr)), hr))
    return pairs


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the worth of each block; exit code 0, 2 after bad input."""
    parser = program("python -m training.ablation", __doc__)
    parser.add_argument("--model", default=COMPACT,
                        help="model folder or hub id; default: %(default)s")  # fmt: skip
    parser.add_argument("--data", type=Path, required=True, help="folder of HR pictures")
    parser.add_argument("--variant", choices=get_args(Variant), default="ccsr",
                        help="default: %(default)s")  # fmt: skip
    parser.add_argument("--limit", type=positive_int, default=4,
                        help="only so many of its pictures, the first by name; default: "
                        "%(default)s")  # fmt: skip
    parser.add_argument("--crop", type=positive_int, default=256, metavar="PIXELS",
                        help="side of their centre crops; default: %(default)s")  # fmt: skip
    options = parser.parse_args(arguments)
    return exit_code(parser.prog, lambda: measure(options))


def measure(options: argparse.Namespace) -> None:
    """Print a line for each block; those that are not worth their time are marked as idle."""
    pairs = centre_pairs(picture_paths(options.data)[: options.limit], options.crop)
    pipeline = CCSRPipeline.from_pretrained(model_folder(options.model), sr_variant=options.variant)
    print(f"{'block':44}{'share':>8}{'dB':>8}{'LPIPS':>9}")
    for worth in block_worths(pipeline, pairs):
        idle = "" if worth.is_worth_its_time else "  idle"
        print(f"{worth.name:44}{worth.share:8.1%}{worth.psnr:8.3f}{worth.lpips:9.4f}{idle}",
              flush=True)  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
