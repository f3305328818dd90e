"""Checkpoints of a training step: folders that are there whole or not at all."""

import re
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ccsr.errors import InputError
from ccsr.whole_file import WriteError, whole_file, whole_folder
from training.config import LoopConfig
from training.sharding import split_as

STATE_FILE = "state.pt"
_NAME = re.compile(r"checkpoint-(\d{7})")


def checkpoints(folder: Path) -> dict[int, Path]:
    """The finished checkpoints of a training step by their number of steps, oldest first."""
    found = {int(m[1]): p for p in folder.glob("*") if (m := _NAME.fullmatch(p.name))}
    return dict(sorted(found.items()))


def write_checkpoint(folder: Path, step: int, state: Mapping[str, Any]) -> None:
    """Write a checkpoint.

    Args:
        folder: Of the training step.
        step: Steps that are done.
        state: Tensors, numbers and texts, in dicts and lists.

    Raises:
        WriteError: If it cannot be written, for example because the disk is full. Earlier ones are
            untouched.
    """
    path = folder / f"checkpoint-{step:07d}"
    if path.exists():
        return
    try:
        with whole_folder(path) as part, whole_file(part / STATE_FILE) as file:
            torch.save(dict(state), file)
    except WriteError as error:
        last = list(checkpoints(folder).values())[-1:]
        kept = f"{last[0].name} is whole" if last else "there is none before it"
        raise WriteError(f"checkpoint of step {step} in {folder}: {error} ({kept})") from error


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read what `write_checkpoint` has written.

    Raises:
        InputError: If it was written by an earlier version.
    """
    file = path / STATE_FILE
    if not file.exists():
        raise InputError(f"{path} holds no {STATE_FILE}: it is of an earlier version; delete it")
    return torch.load(file, map_location="cpu", weights_only=True)


def remove_old(folder: Path, count: int, kept: Collection[int] = ()) -> None:
    """Delete all but the newest `count` checkpoints and those of the steps `kept`."""
    found = checkpoints(folder)
    for step, path in list(found.items())[:-count]:
        if step not in kept:
            shutil.rmtree(path)


def chosen_checkpoint(choice: str, found: Collection[int], best: int | None) -> tuple[int, str]:
    """The step whose networks are exported, and what to say of it.

    Args:
        choice: "best" (on held-out pictures; the last without validation), "last", or a step.
        found: Steps of the checkpoints that there are.
        best: The best of them, if there is one marked.

    Raises:
        InputError: If there is no such checkpoint.
    """
    if choice == "best" and best is not None and best in found:
        return best, "the best on held-out pictures"
    if choice in ("best", "last") and found:
        return max(found), "the last"
    if choice.isdecimal() and int(choice) in found:
        return int(choice), "as asked for"
    there = ", ".join(map(str, sorted(found))) or "none"
    raise InputError(
        f"there is no checkpoint {choice!r}; give best, last or the step of one that there is: "
        f"{there}"
    )


def kept_at_the_end(
    found: Collection[int], loop: LoopConfig, validated_every: int | None
) -> set[int]:
    """Steps of the checkpoints that there can be once a training step has come to its end.

    Args:
        found: Steps of those that there are.
        loop: How it is trained.
        validated_every: Steps from one validation to the next; None without held-out pictures. Each
            writes a checkpoint, and any of these may become the best, which is kept.
    """
    last = loop.max_steps
    validated = (
        {*range(validated_every, last, validated_every), last} if validated_every else set[int]()
    )
    planned = validated | {*range(loop.checkpoint_every, last, loop.checkpoint_every), last}
    done = max(found, default=0)
    coming = {step for step in planned if step > done}
    if not coming:
        return set(found)
    return {*sorted({*found, *coming})[-loop.keep_checkpoints :], *(validated & {*found, *coming})}


def trained_state(module: nn.Module) -> dict[str, torch.Tensor]:
    """The parameters of a module that are trained, and all its buffers.

    Frozen ones, above all those of perceptual networks, are read from where they came from.
    """
    frozen = {name for name, p in module.named_parameters() if not p.requires_grad}
    return {name: x for name, x in module.state_dict().items() if name not in frozen}


def load_trained_state(module: nn.Module, state: Mapping[str, torch.Tensor]) -> None:
    """Set what `trained_state` has given.

    Raises:
        InputError: If the state is of another module.
    """
    if state.keys() != trained_state(module).keys():
        raise InputError("the checkpoint is of other networks; delete it to start anew")
    own = module.state_dict()
    split = {name: split_as(x, own[name]) for name, x in state.items()}
    module.load_state_dict(split, strict=False)
