"""Write a degraded test set of a folder of HR pictures, with a manifest.

    python -m ccsr.degradation HR_DIR OUT_DIR --chain real-esrgan --seed 0 --scale 4

OUT_DIR receives one PNG a picture, under its relative path, and manifest.jsonl: one line a picture
with its index, the seed and every drawn parameter (`ccsr.degradation.manifest.ManifestEntry`).
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from ccsr.degradation.chains import chain_arguments
from ccsr.degradation.manifest import write_test_set


def main(arguments: Sequence[str] | None = None) -> int:
    """Write a test set; exit code 0, or 2 after bad input."""
    parser = argparse.ArgumentParser(
        prog="python -m ccsr.degradation", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("hr_dir", type=Path, metavar="HR_DIR", help="folder of HR pictures")
    parser.add_argument("out_dir", type=Path, metavar="OUT_DIR", help="new folder")
    chain_arguments(parser)
    options = parser.parse_args(arguments)
    entries = write_test_set(
        options.hr_dir, options.out_dir, options.chain, options.seed, options.scale
    )
    try:
        for _ in tqdm(entries, unit="picture"):
            pass
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
