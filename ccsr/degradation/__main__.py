"""Write a degraded test set of a folder of HR pictures, with a manifest.

    python -m ccsr.degradation HR_DIR OUT_DIR --degradation real-esrgan --seed 0 --scale 4

OUT_DIR receives one PNG a picture, under its relative path, and manifest.jsonl: one line a picture
with its index, the seed and every drawn parameter (`ccsr.degradation.manifest.ManifestEntry`).
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from ccsr.degradation.manifest import write_test_set
from ccsr.degradation.options import add_draw
from ccsr.program import exit_code, program


def main(arguments: Sequence[str] | None = None) -> int:
    """Write a test set; exit code 0, or 2 after bad input."""
    parser = program("python -m ccsr.degradation", __doc__)
    parser.add_argument("hr_dir", type=Path, metavar="HR_DIR", help="folder of HR pictures")
    parser.add_argument("out_dir", type=Path, metavar="OUT_DIR", help="new folder")
    add_draw(parser)
    options = parser.parse_args(arguments)
    return exit_code(parser.prog, lambda: write(options))


def write(options: argparse.Namespace) -> None:
    """Write the test set behind a progress bar."""
    entries = write_test_set(
        options.hr_dir, options.out_dir, options.degradation, options.seed, options.scale
    )
    for _ in tqdm(entries, unit="picture"):
        pass


if __name__ == "__main__":
    sys.exit(main())
