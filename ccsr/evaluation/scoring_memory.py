"""How much memory scoring takes beside the loaded model, and the tiles by which it is bounded."""

import math
from collections.abc import Sequence

from ccsr.evaluation.feature_tiles import MARGIN, STRIDE, TILE
from ccsr.evaluation.metrics import BAND, METRICS, NO_REFERENCE, Scorer, make_scorer
from ccsr.images.picture import Picture, Size
from ccsr.inference.memory import OutOfMemoryError
from ccsr.inference.memory_budget import GIB

PIXEL_BYTES = 32
"""Of a pixel of the result, of which result and true picture take 24."""
BAND_BYTES = 128
"""Of a pixel of a band of rows, while SSIM or NIQE of it is computed."""
FEATURE_BYTES = {"lpips": 280, "lpips-vgg": 1600, "dists": 2000}
"""Of a pixel of a tile with its margin, while the features of two pictures are compared."""
SMALLEST_TILE = 128
"""Side in pixels: below, most of the time would be spent on margins."""


def scoring_bytes(names: Sequence[str], size: Size, tile: int) -> int:
    """Memory of scoring a result, about; that of metrics by other packages is not counted.

    Args:
        names: The metrics.
        size: Of the result.
        tile: Side of a tile in pixels.
    """
    sides = (min(side, tile + 2 * MARGIN) for side in (size.height, size.width))
    features = max((FEATURE_BYTES.get(name, 0) for name in names), default=0)
    band = BAND_BYTES * min(size.height, BAND) * size.width
    return PIXEL_BYTES * math.prod(size) + max(band, features * math.prod(sides))


def tile_within(names: Sequence[str], size: Size, max_memory: float | None) -> int:
    """Side in pixels of the largest tiles by which a result is scored within `max_memory`.

    Args:
        names: The metrics.
        size: Of the result.
        max_memory: In GiB, beside the loaded model; None: all that there is.

    Raises:
        OutOfMemoryError: If not even the smallest tiles fit.
    """
    if max_memory is None:
        return TILE
    for tile in range(TILE, SMALLEST_TILE - 1, -STRIDE):
        if scoring_bytes(names, size, tile) <= max_memory * GIB:
            return tile
    least = scoring_bytes(names, size, SMALLEST_TILE) / GIB
    raise OutOfMemoryError(
        f"scoring {size} pixels by {', '.join(names)} takes about {least:.2f} GiB of memory beside "
        f"the model, and max_memory is {max_memory:g}; raise it, score by fewer metrics or without "
        "a reference, or leave out the largest pictures"
    )


def scorer_within(lr: Picture, hr: Picture | None, size: Size, max_memory: float | None) -> Scorer:
    """The scorer of `make_scorer` for results of `size`, by tiles as `tile_within` finds them.

    Raises:
        OutOfMemoryError: If not even the smallest tiles fit.
    """
    names = tuple(METRICS) if hr is not None else NO_REFERENCE
    return make_scorer(lr, hr, tile_within(names, size, max_memory))
