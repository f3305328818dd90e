"""Write the strip of pictures of the README anew: `python assets/make_strip.py`.

Input, bicubic enlargement, CCSR, and where ten seeds differ.
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image

# Run as a script, Python finds only what lies beside this file.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from sheet import column_titles, enlargements

from ccsr.evaluation.heatmap import GREY_LEVELS, heatmap
from ccsr.evaluation.stability import StabilityReport
from ccsr.images.picture import Size
from ccsr.images.reading import load_picture
from ccsr.images.tensors import to_uint8
from ccsr.inference.engine import ModelEngine, load_engine
from ccsr.inference.events import Restored

FOLDER = Path(__file__).resolve().parent
CROPS = {"portrait.png": (56, 96), "drawing.png": (112, 96), "cat.jpg": (72, 240)}
"""Examples, and the top left corner of what is shown of their results."""
SIDE = 256
SEEDS = range(10)
SCALE_END = 10 / GREY_LEVELS
"""Standard deviation that is drawn brightest, for all pictures."""
TITLES = ("input", "bicubic", "CCSR, seed 0", "L-STD of ten seeds, 0 to 10 grey levels")


def main() -> None:
    """Write strip.jpg."""
    engine = load_engine()
    rows = [np.concatenate(panels(engine, name, *at), axis=1) for name, at in CROPS.items()]
    pictures = np.concatenate(rows, axis=0)
    strip = np.concatenate([column_titles(TITLES, pictures.shape[1]), pictures], axis=0)
    Image.fromarray(strip).save(FOLDER / "strip.jpg", quality=92)


def panels(engine: ModelEngine, name: str, top: int, left: int) -> list[np.ndarray]:
    """The four panels of a piece of an example, [SIDE,SIDE,3] uint8 each."""
    picture, config = load_picture(FOLDER / "examples" / name), engine.info.defaults
    report, first = StabilityReport(config), None
    for event in engine.run(picture, config, SEEDS):
        if isinstance(event, Restored):
            report.add(event.seed, event.picture.rgb)
            first = event.picture.rgb if first is None else first
    assert first is not None
    inputs = enlargements(picture.rgb, Size(*first.shape[:2]))
    l_std = to_uint8(heatmap(report.pixels.l_std_map, SCALE_END))
    whole = (*inputs, to_uint8(first), l_std)
    return [panel[top : top + SIDE, left : left + SIDE] for panel in whole]


if __name__ == "__main__":
    main()
