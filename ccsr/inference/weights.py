"""Weight files."""

import hashlib
import json
from collections.abc import Collection, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file

from ccsr.errors import InputError, reason_of
from ccsr.inference.hub import json_object
from ccsr.whole_file import write_whole

CHECKSUMS = "checksums.json"
"""File of a model folder: SHA-256 of each file of weights, by its path in the folder."""


def check_loaded(network: torch.nn.Module, files: Sequence[Path]) -> None:
    """Refuse a network of which weights are missing in its files, or are not finite.

    Those that are missing it would have at random, or not at all.

    Raises:
        InputError: Naming the file and a weight.
    """
    stored: set[str] = set()
    for path in files:
        with safe_open(path, "pt") as file:
            stored.update(file.keys())
    where = ", ".join(str(path) for path in files)
    state = network.state_dict()
    missing = sorted(state.keys() - stored)
    # Attention layers had other names once, which diffusers translates.
    if missing and not any(".query." in name for name in stored):
        raise InputError(
            f"{where} lacks {len(missing)} weights, such as {missing[0]}: it is of another model"
        )
    for name, weight in state.items():
        if weight.is_floating_point() and not bool(weight.isfinite().all()):
            raise InputError(f"{where} holds values that are not finite, in {name}")


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """All weights of a safetensors file.

    Raises:
        InputError: If it is damaged.
    """
    try:
        return load_file(path)
    except SafetensorError as error:
        raise InputError(f"{path} is damaged ({reason_of(error)}); get the file again") from error


def weights_hash(folder: Path) -> str:
    """SHA-256 over all safetensors files of a folder and its subfolders."""
    total = hashlib.sha256()
    for path in sorted(folder.rglob("*.safetensors")):
        total.update(_sha256(path))
    return total.hexdigest()


def write_checksums(folder: Path) -> None:
    """Record which weights a model folder holds, so that others in their place are noticed."""
    sums = {
        path.relative_to(folder).as_posix(): _sha256(path).hex()
        for path in sorted(folder.rglob("*.safetensors"))
    }
    write_whole(folder / CHECKSUMS, json.dumps(sums, indent=2) + "\n", overwrite=True)


def check_files(folder: Path, components: Collection[Path]) -> None:
    """Refuse weights other than those that the model folder was saved with.

    Those of another component, or of another model of the same shapes, would be loaded without a
    word, and so would a further file, whose name can come before that of the weights: shards, or
    those of a variant. Only safetensors are ever loaded, so that other files do not count. A folder
    without CHECKSUMS, as other programs write it, is taken as it is.

    Args:
        folder: The model folder.
        components: Folders inside it that are to be loaded.

    Raises:
        InputError: Naming the file.
    """
    if not (folder / CHECKSUMS).is_file():
        return
    sums = json_object(folder / CHECKSUMS)
    for path in (file for part in components for file in sorted(part.glob("*.safetensors"))):
        if path.relative_to(folder).as_posix() not in sums:
            raise InputError(
                f"{path} is no file that this model was saved with, by {CHECKSUMS}; remove it, or "
                f"delete {CHECKSUMS} if it is meant"
            )
    for name, expected in sums.items():
        path = folder / name
        if path.parent in components and (not path.is_file() or _sha256(path).hex() != expected):
            raise InputError(
                f"{path} is not the file that this model was saved with, by {CHECKSUMS}; get it "
                f"again, or delete {CHECKSUMS} if the change is meant"
            )


def _sha256(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()
