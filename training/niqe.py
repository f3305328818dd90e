"""Fit NIQE's multivariate Gaussian model of sharp photographs.

This makes the file that ships:

    python -m training.niqe PICTURES assets/niqe/photographs.safetensors
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ccsr.evaluation.metrics import luma
from ccsr.evaluation.niqe import BLOCK, fit
from training.data import PictureFolder

MAX_SIDE = 960
"""Larger pictures are cropped to their centre, so that none has more weight than this in pixels."""


def main() -> None:
    """Fit the model to a folder of pictures and write it."""
    parser = argparse.ArgumentParser(prog="python -m training.niqe", description=__doc__)
    parser.add_argument("pictures", type=Path, help="folder of sharp photographs")
    parser.add_argument("output", type=Path, help="file to write")
    options = parser.parse_args()
    model = fit(_lumas(PictureFolder(options.pictures)))
    options.output.parent.mkdir(parents=True, exist_ok=True)
    model.save(options.output)


def _lumas(pictures: PictureFolder) -> Iterator[np.ndarray]:
    """Luma [H,W] of the centre of each picture that holds at least one block."""
    for index in tqdm(range(len(pictures)), unit="picture"):
        rgb = pictures[index]
        height, width = (min(side, MAX_SIDE) for side in rgb.shape[:2])
        top, left = (rgb.shape[0] - height) // 2, (rgb.shape[1] - width) // 2
        if min(height, width) >= BLOCK:
            yield luma(rgb[top : top + height, left : left + width] / 255)


if __name__ == "__main__":
    main()
