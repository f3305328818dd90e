"""Options of the programs that run a recipe, or try it out."""

import argparse
from pathlib import Path

from ccsr.cli import add_fields
from ccsr.program import program
from training.config import RECIPES, MachineConfig, recipe_path
from training.steps import STEPS


def parser() -> argparse.ArgumentParser:
    """All options of `python -m training`."""
    top = program("python -m training", "Train a model on pictures.")
    top.add_argument("steps", nargs="+", choices=(*STEPS, "all"), metavar="STEP",
                        help=f"all, or some of: {', '.join(STEPS)}")  # fmt: skip
    add_pictures(top)
    top.add_argument("--run-folder", type=Path, required=True, metavar="RUN",
                        help="folder that training writes to")  # fmt: skip
    add_recipe(top)
    top.add_argument("--checkpoint", default="best", metavar="CHECKPOINT",
                        help="whose networks the given steps export: best (on held-out pictures, "
                        "the last where there were none), last, or the number of its optimiser "
                        "steps; default: %(default)s")  # fmt: skip
    top.add_argument("--output", type=Path, help="for export; default: RUN/model")
    top.add_argument("--dry-run", action="store_true",
                        help="say in tables what the run needs: pictures, weights of loss "
                        "networks, disk, memory, time; a few optimiser steps are tried out in a "
                        "folder of their own")  # fmt: skip
    return top


def add_pictures(parser: argparse.ArgumentParser) -> None:
    """The options of pictures to train on, and to score networks on."""
    add_data(parser, required=False)
    parser.add_argument("--paired", nargs=2, action="append", default=[], type=Path,
                        metavar=("HR", "LR"), help="folders or shards of HR pictures and of their "
                        "LR versions, under the same names, which are not degraded")  # fmt: skip
    parser.add_argument("--held-out", nargs="+", default=[], metavar="SOURCE",
                        help="like --data: pictures that are not trained on, with which networks "
                        "are scored every so often")  # fmt: skip


def add_data(parser: argparse.ArgumentParser, *, required: bool) -> None:
    """The option --data."""
    parser.add_argument("--data", nargs="+", default=[], required=required, metavar="SOURCE",
                        help="folders of pictures, searched with their subfolders and linked "
                        "folders; shards: tar files of pictures; or text files with the path of a "
                        "picture or shard on each line; SOURCE=2 draws its pictures twice as often "
                        "as others")  # fmt: skip


def add_recipe(parser: argparse.ArgumentParser) -> None:
    """The options --recipe and --init, and those of `MachineConfig`."""
    shipped = ", ".join(sorted(path.stem for path in RECIPES.glob("*.toml")))
    parser.add_argument("--recipe", type=recipe_path, default="compact",
                        help=f"TOML file, or one that ships: {shipped}; "
                        "default: %(default)s")  # fmt: skip
    parser.add_argument("--init", metavar="MODEL", help="folder, or repository of the hub, whose "
                        "networks training starts from, as far as shapes agree: of a model, which "
                        "also stands for steps that are not run, or of Stable Diffusion "
                        "2.1")  # fmt: skip
    add_fields(parser, MachineConfig)
