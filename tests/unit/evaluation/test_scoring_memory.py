"""Tiles by which scoring stays within the memory that it may take."""

import json
import subprocess
import sys

import pytest

from ccsr.evaluation.feature_tiles import STRIDE, TILE
from ccsr.evaluation.perceptual import DISTS
from ccsr.evaluation.scoring_memory import (
    SMALLEST_TILE,
    scoring_bytes,
    tile_within,
)
from ccsr.images.picture import Size
from ccsr.inference.memory import OutOfMemoryError
from ccsr.inference.memory_budget import GIB

SIZE = Size(2048, 4096)


def test_tiles_are_the_largest_that_fit() -> None:
    for tile in (SMALLEST_TILE, 512, TILE - STRIDE):
        for slack, expected in ((0, tile), (-1, tile - STRIDE)):
            memory = (scoring_bytes(["dists"], SIZE, tile) + slack) / GIB
            if expected >= SMALLEST_TILE:
                assert tile_within(["psnr", "dists"], SIZE, memory) == expected
    assert tile_within(["dists"], SIZE, None) == TILE


def test_less_than_the_smallest_tiles_take_is_refused_with_what_they_take() -> None:
    least = scoring_bytes(["dists"], SIZE, SMALLEST_TILE) / GIB
    message = f"4096x2048 pixels by psnr, dists takes about {least:.2f} GiB.*score by fewer metrics"
    with pytest.raises(OutOfMemoryError, match=message):
        tile_within(["psnr", "dists"], SIZE, least - 1 / GIB)


GROWTH = """
import json, sys, numpy, torch
from ccsr.evaluation.comparison.scores import make_scorer
from ccsr.inference.memory import peak_memory
torch.set_num_threads(1)
names, tile, side = sys.argv[1].split(","), int(sys.argv[2]), int(sys.argv[3])
scorer = make_scorer(names, "paper", torch.device("cpu"), tile)
sr, hr = numpy.random.default_rng(0).random((2, side, side, 3), numpy.float32)
scorer(sr[:256, :256], hr[:256, :256])
before = peak_memory()
scorer(sr, hr)
print(json.dumps([peak_memory() - before, [column.name for column in scorer.columns]]))
"""
"""Prints by how many bytes the peak memory grows when a result is scored, and the metrics."""


@pytest.mark.parametrize(
    ("names", "tile", "side"),
    [
        ("psnr,ssim", 256, 2048),
        ("psnr,ssim,lpips,niqe,sharpness", 256, 1024),
        ("lpips", 1024, 1024),
        ("dists", 128, 320),
    ],
)
def test_scoring_takes_no_more_than_is_counted(names: str, tile: int, side: int) -> None:
    if names == "dists":
        try:
            DISTS.load()
        except FileNotFoundError as error:
            pytest.skip(str(error))
    command = [sys.executable, "-c", GROWTH, names, str(tile), str(side)]
    grown, measured = json.loads(subprocess.check_output(command))
    counted = scoring_bytes(measured, Size(side, side), tile)
    # Both pictures are there before.
    assert grown < counted - 24 * side**2
