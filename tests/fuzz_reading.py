"""Fuzz the reading of pictures: any bytes give a sound picture or a PictureError of a decoder.

    pip install atheris
    python -m tests.fuzz_reading FOLDER -max_total_time=600 -timeout=5 -rss_limit_mb=1024

The options are those of libFuzzer. FOLDER collects inputs that reach new code; the first are those
of `hostile_files`. The input of a crash is written to the present folder, as crash-*.
"""

import io
import logging
import sys
import warnings
from pathlib import Path

import atheris  # type: ignore[import-not-found] - not among the requirements
import numpy as np

with atheris.instrument_imports(include=["ccsr", "PIL", "tifffile"]):
    from ccsr.images.picture import PictureError
    from ccsr.images.reading import load_picture

MAX_PIXELS = 256 * 256
"""So that most of the time goes into decoders, not into pixels."""
MAX_SEED_BYTES = 20_000


def read(content: bytes) -> None:
    """Read bytes as a file; raises what must not happen."""
    try:
        picture = load_picture(io.BytesIO(content), max_pixels=MAX_PIXELS)
    except PictureError:
        return
    arrays = [picture.rgb] if picture.alpha is None else [picture.rgb, picture.alpha]
    for levels in arrays:
        assert np.isfinite(levels).all()
        assert levels.min() >= 0
        assert levels.max() <= 1


def main() -> None:
    """Run libFuzzer with the arguments of the command line."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    if not any(folder.iterdir()):
        from tests.hostile_files import hostile_files

        for file in hostile_files():
            if len(file.content) <= MAX_SEED_BYTES:
                (folder / file.name).write_bytes(file.content)
    warnings.simplefilter("ignore")
    logging.disable()
    atheris.Setup(sys.argv, read)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
