"""Options of the programs that draw degradations."""

import argparse
from typing import get_args

from ccsr.config import DegradationModel


def add_draw(parser: argparse.ArgumentParser) -> None:
    """The options --degradation, --seed and --scale."""
    parser.add_argument("--degradation", choices=get_args(DegradationModel), default="real-esrgan",
                        help="default: %(default)s")  # fmt: skip
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    parser.add_argument("--scale", type=int, choices=range(1, 9), default=4, metavar="1-8",
                        help="default: %(default)s")  # fmt: skip
