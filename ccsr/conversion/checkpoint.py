"""Files of weights, read safely: one checkpoint, or the folders of components.

Opening reads names and shapes only; a weight is read at each access.
"""

import functools
import pickle
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from ccsr.errors import InputError, reason_of
from ccsr.inference.hub import json_object

COMPONENTS = {
    "unet": "diffusion_pytorch_model",
    "controlnet": "diffusion_pytorch_model",
    "vae": "diffusion_pytorch_model",
    "text_encoder": "model",
}
"""Component folders of v2 -> the stem of their files of weights."""
VARIANTS = ("", ".fp16")
"""Suffixes of the stem, the preferred one first."""
ARCHIVE, OLD_PICKLE = b"PK", b"\x80"
"""What checkpoints of torch begin with, from version 1.6 on and before."""
PICKLES = (ARCHIVE, OLD_PICKLE)
MAX_NAMED = 20
"""Most names that a message lists."""


Shapes = Mapping[str, tuple[int, ...]]


class CheckpointError(InputError):
    """A file or folder does not hold the expected weights."""


@dataclass(frozen=True)
class Stored:
    """A weight in a file."""

    shape: tuple[int, ...]
    read: Callable[[], torch.Tensor]


class Weights(Mapping[str, torch.Tensor]):
    """Weights in files by name, each read at access."""

    def __init__(self, stored: Mapping[str, Stored]) -> None:
        self._stored = stored
        self.shapes: Shapes = {name: weight.shape for name, weight in stored.items()}

    def __getitem__(self, name: str) -> torch.Tensor:
        return self._stored[name].read()

    def __iter__(self) -> Iterator[str]:
        return iter(self._stored)

    def __len__(self) -> int:
        return len(self._stored)


class Checkpoint(Weights):
    """The weights of one file.

    Args:
        path: A .safetensors file, or a .ckpt or .pt file, which is read as weights only.

    Raises:
        CheckpointError: If it is no such file, or cannot be read.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise CheckpointError(
                f"{path} is not there; give the authors' .ckpt or .safetensors of v1, or the "
                "folder of v2"
            )
        # Distributed training puts a prefix before all names.
        super().__init__(
            {name.removeprefix("module."): weight for name, weight in _opened(path).items()}
        )


class Components(Weights):
    """The weights of component folders, named "<component>/<name in its file>".

    Args:
        folders: By component; each with a single file of weights or several with an index.

    Raises:
        CheckpointError: If a folder has no .safetensors that can be read.
    """

    def __init__(self, folders: Mapping[str, Path]) -> None:
        super().__init__(
            {
                f"{part}/{name}": weight
                for part, folder in folders.items()
                for path in _weight_files(folder, COMPONENTS[part])
                for name, weight in _opened(path).items()
            }
        )


def _opened(path: Path) -> dict[str, Stored]:
    """All weights of a file, by name."""
    try:
        with path.open("rb") as file:
            beginning = file.read(9)
        # The length of a header of JSON comes first in .safetensors, whatever the file is called.
        if beginning[8:] == b"{":
            return _opened_safetensors(path)
        if not beginning.startswith(PICKLES):
            raise CheckpointError(
                f"{path} is neither a .ckpt nor a .safetensors file: it begins with "
                f"{beginning!r}; download it again, perhaps a web page was saved in its place"
            )
        return _opened_pickle(path, is_archive=beginning.startswith(ARCHIVE))
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path} holds other objects than weights, and is not opened: they could run code; "
            "save its state_dict alone, or give a .safetensors file"
        ) from error
    except CheckpointError:
        raise
    except (SafetensorError, RuntimeError, EOFError, ValueError, LookupError, TypeError) as error:
        raise CheckpointError(
            f"{path} cannot be read as a checkpoint ({reason_of(error)}); it may be incomplete"
        ) from error


def _opened_safetensors(path: Path) -> dict[str, Stored]:
    file = safe_open(path, "pt")
    names = file.keys()
    return {
        name: Stored(
            tuple(file.get_slice(name).get_shape()), functools.partial(file.get_tensor, name)
        )
        for name in names
    }


def _opened_pickle(path: Path, *, is_archive: bool) -> dict[str, Stored]:
    # Archives are mapped into memory: only weights that are accessed are read.
    tree = torch.load(path, map_location="cpu", mmap=is_archive, weights_only=True)
    weights = tree.get("state_dict", tree) if isinstance(tree, dict) else {}
    tensors = {name: w for name, w in weights.items() if isinstance(w, torch.Tensor)}
    if not tensors:
        raise InputError("it holds no weights")
    return {
        name: Stored(tuple(weight.shape), functools.partial(tensors.__getitem__, name))
        for name, weight in tensors.items()
    }


def _weight_files(folder: Path, stem: str) -> list[Path]:
    """The .safetensors of a component, preferably in full precision."""
    for variant in VARIANTS:
        single = folder / f"{stem}{variant}.safetensors"
        index = folder / f"{stem}.safetensors.index{variant}.json"
        if single.is_file():
            return [single]
        if index.is_file():
            return _shards(index)
    if any(folder.glob("*.bin")):
        raise CheckpointError(
            f"{folder} has its weights as .bin only, which are not opened: they could run code; "
            "load the component with diffusers where you trust it, and save_pretrained writes "
            ".safetensors"
        )
    raise CheckpointError(f"{folder} has no {stem}.safetensors; the download may be incomplete")


def _shards(index: Path) -> list[Path]:
    """The files that an index names."""
    weight_map = json_object(index).get("weight_map")
    if not isinstance(weight_map, dict):
        raise CheckpointError(f"{index} has no weight_map; the download may be incomplete")
    paths = [index.parent / name for name in sorted(set(map(str, weight_map.values())))]
    absent = [path.name for path in paths if not path.is_file()]
    if absent:
        raise CheckpointError(
            f"{index} names {', '.join(absent[:MAX_NAMED])}, not there; "
            "the download may be incomplete"
        )
    return paths
