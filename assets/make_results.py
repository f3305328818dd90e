"""Write anew all that rests on the weights that ship, after these have changed.

    python assets/make_results.py --hr PICTURES --source "25 photographs of BSD100"

These are the results of the examples, which the page shows before anything is computed, the strip
of the README, and with --hr the calibration; `make_calibration.py` says what its pictures must be.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

from PIL import Image

# Run as a script, Python finds only what lies beside this file.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ccsr.config import DEFAULT_SEED
from ccsr.images.picture import Picture
from ccsr.images.reading import load_picture
from ccsr.images.tensors import resize, to_array, to_tensor, to_uint8
from ccsr.inference.engine import ModelEngine, load_engine
from ccsr.inference.events import Restored
from ccsr.inference.hub import COMPACT_FOLDER
from ccsr.inference.sizes import target_size
from ccsr.inference.weights import weights_hash
from ccsr.whole_file import whole_file, write_whole

FOLDER = Path(__file__).resolve().parent
EXAMPLES = FOLDER / "examples"
RESULTS = EXAMPLES / "results"
QUALITY, PLAIN_QUALITY = 88, 80
"""Of the WEBP of a result, and of an enlargement, which has no detail to lose."""


def main() -> None:
    """Write all files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hr", type=Path, help="HR pictures for the calibration")
    parser.add_argument("--source", help="what they are, in words")
    parser.add_argument("--limit", type=int, default=25,
                        help="only so many of them; default: %(default)s")  # fmt: skip
    options = parser.parse_args()
    if options.hr and not options.source:
        parser.error("--hr needs --source: what the pictures are, in words")
    write_results(load_engine())
    subprocess.run([sys.executable, FOLDER / "make_strip.py"], check=True)
    if options.hr:
        command = [sys.executable, FOLDER / "make_calibration.py"]
        arguments = ["--hr", options.hr, "--source", options.source, "--limit", str(options.limit)]
        subprocess.run([*command, *arguments], check=True)


def write_results(engine: ModelEngine) -> None:
    """Write the result and the enlargement of each example, and what made them."""
    RESULTS.mkdir(exist_ok=True)
    config = engine.info.defaults
    # The pictures that people bring, as the page lists them; not the references.
    inputs = [p for p in EXAMPLES.iterdir() if p.is_file() and "-reference" not in p.stem]
    pictures = sorted(path for path in inputs if path.suffix in (".png", ".jpg"))
    for path in pictures:
        picture = load_picture(path)
        write_webp(RESULTS / f"{path.stem}.webp", restored(engine, picture), QUALITY)
        plain = resize(to_tensor(picture.visible_rgb), target_size(picture, config))
        write_webp(RESULTS / f"{path.stem}-bicubic.webp", Picture(to_array(plain)), PLAIN_QUALITY)
    made = {"weights": weights_hash(COMPACT_FOLDER), "seed": DEFAULT_SEED} | {
        "config": config.model_dump()
    }
    write_whole(RESULTS / "made.json", json.dumps(made, indent=2) + "\n", overwrite=True)


def restored(engine: ModelEngine, picture: Picture) -> Picture:
    """The result of a picture with the default settings."""
    events = engine.run(picture, engine.info.defaults, [DEFAULT_SEED])
    return next(event.picture for event in events if isinstance(event, Restored))


def write_webp(path: Path, picture: Picture, quality: int) -> None:
    """Write a small file of a picture."""
    with whole_file(path, overwrite=True) as file:
        Image.fromarray(to_uint8(picture.rgb)).save(file, "WEBP", quality=quality, method=6)


if __name__ == "__main__":
    main()
