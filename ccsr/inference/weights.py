"""Weight files."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import safe_open


def check_loaded(network: torch.nn.Module, files: Sequence[Path]) -> None:
    """Refuse a network of which weights are missing in its files, or are not finite.

    Those that are missing it would have at random, or not at all.

    Raises:
        ValueError: Naming the file and a weight.
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
        raise ValueError(
            f"{where} lacks {len(missing)} weights, such as {missing[0]}: it is of another model"
        )
    for name, weight in state.items():
        if weight.is_floating_point() and not bool(weight.isfinite().all()):
            raise ValueError(f"{where} holds values that are not finite, in {name}")


def weights_hash(folder: Path) -> str:
    """SHA-256 over all safetensors files of a folder and its subfolders."""
    total = hashlib.sha256()
    for path in sorted(folder.rglob("*.safetensors")):
        with path.open("rb") as file:
            total.update(hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()
