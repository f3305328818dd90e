"""What a run needs, before it is made: pictures, weights of loss networks, disk, memory, time."""

import hashlib
import shutil
import tempfile
from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path

from ccsr.errors import InputError
from ccsr.evaluation.metrics import ALEX_WEIGHTS
from ccsr.evaluation.perceptual import (
    DISTS_FILE,
    DISTS_PACKAGE,
    LPIPS_FILES,
    LPIPS_PACKAGE,
    file_of_package,
)
from ccsr.whole_file import nearest_folder
from training.config import LoopConfig, PairsConfig, Recipe
from training.data import usable_pictures
from training.perceptual import distance_names
from training.run import Run
from training.sources import Source
from training.table import bytes_text, duration_text, table
from training.trial import Trial, try_out

HASHES = {
    "alex": "09b77104f17ffc0412ee359859ec569e979e4e30a80b5f1d24599b98c7bb1aba",
    "vgg": "2ecbe4ce01168921c28dfd502e2b74490ef8c4d66b0a0286bc7a6127facccc9d",
    "dists": "f5e65c96230b7f6ca995691647d482237e4cab8a50c5c4a5784f219ef0748218",
}
"""SHA-256 of the weights of each loss network as published, or as shipped."""


def dry_run(run: Run, steps: Collection[str]) -> Iterator[str]:
    """Tables on what the steps of a run need; nothing is written to its folder.

    Time, memory and disk are measured by a trial of a few optimiser steps of each.

    Raises:
        InputError: If weights of a loss network are damaged, or the recipe cannot work.
    """
    yield pictures_table(run)
    yield loss_networks_table(run.recipe, steps)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for made in run.folder.glob("*"):
            if made.name.partition("-")[0] not in steps:
                (folder / made.name).symlink_to(made.absolute())
        yield trials_table(run, list(try_out(replace(run, folder=folder), steps)))


def pictures_table(run: Run) -> str:
    """What there is to train on, and what is left out."""
    recipe = run.recipe
    crops: list[PairsConfig | LoopConfig] = [
        stage.pairs for stage in (recipe.uniform, recipe.stage1) if stage is not None
    ]
    crops += [recipe.stage2.rollouts] if recipe.stage2 else []
    crops += [recipe.autoencoder.loop] if recipe.autoencoder else []
    side, scale = max(crop.crop_px for crop in crops), recipe.data.scale
    rows = [_row_of(source, side, scale, "training") for source in run.sources]
    side = recipe.validation.crop_px
    rows += [_row_of(source, side, scale, "scores") for source in run.held_out]
    return table(("pictures", "use", "found", "usable", "left out, for example"), rows)


def _row_of(source: Source, side: int, scale: int, use: str) -> tuple[str, ...]:
    pictures, left_out = usable_pictures([source], side, scale)
    reasons = [f"{file.name}: {reason}" for file, reason in left_out.items()]
    found = len(pictures) + len(reasons)
    return (str(source.path), use, str(found), str(len(pictures)), (reasons or ["-"])[0])


def loss_networks_table(recipe: Recipe, steps: Collection[str]) -> str:
    """The pre-trained networks of the losses, and whether their weights are those published."""
    names: set[str] = {"alex"} if "autoencoder" in steps else set()
    for step, stage in (("stage1", recipe.stage1), ("stage2", recipe.stage2)):
        if step in steps and stage is not None and stage.perceptual_weight > 0:
            names |= set(distance_names(stage.perceptual))
    if "stage2" in steps and recipe.stage2 and recipe.stage2.discriminator == "features":
        names.add("vgg")
    rows = [(name, str(path), _checked(path, HASHES[name])) for name, path in _files(names)]
    return table(("loss network", "weights", "SHA-256"), rows)


def _files(names: Collection[str]) -> Iterator[tuple[str, Path]]:
    for name in sorted(names):
        if name == "alex":
            yield name, ALEX_WEIGHTS
        elif name == "vgg":
            yield name, file_of_package(LPIPS_PACKAGE, LPIPS_FILES["vgg"])
        else:
            yield name, file_of_package(DISTS_PACKAGE, DISTS_FILE)


def _checked(path: Path, expected: str) -> str:
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != expected:
        raise InputError(
            f"{path} is damaged or of another version: its SHA-256 is {found}, expected was "
            f"{expected}; install its package again"
        )
    return f"{found[:12]}..., as published"


def trials_table(run: Run, trials: list[Trial]) -> str:
    """Time, disk and memory of each step and of all, beside what the disk has."""
    rows = [
        (
            trial.step,
            f"{trial.units:,}",
            f"{trial.seconds:.2f} s",
            duration_text(trial.seconds * trial.units),
            bytes_text(trial.bytes_on_disk),
            bytes_text(trial.peak_bytes),
        )
        for trial in trials
    ]
    needed = sum(trial.bytes_on_disk for trial in trials)
    time = sum(trial.seconds * trial.units for trial in trials)
    peak = max((trial.peak_bytes for trial in trials), default=0)
    rows.append(("all", "", "", duration_text(time), bytes_text(needed), bytes_text(peak)))
    place = nearest_folder(run.folder)
    free = shutil.disk_usage(place).free
    enough = "enough" if free > needed else f"too little: free {bytes_text(needed - free)}"
    head = ("step", "steps or examples", "each", "time", "disk", "peak memory")
    return f"{table(head, rows)}\n\n{bytes_text(free)} are free at {place}: {enough}"
