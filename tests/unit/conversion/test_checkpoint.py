import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from ccsr.conversion.checkpoint import Checkpoint, CheckpointError, Components

WEIGHTS = {"a.weight": torch.arange(6.0).view(2, 3), "b": torch.ones(1)}


def as_safetensors(path: Path) -> None:
    save_file(WEIGHTS, path)


def as_archive(path: Path) -> None:
    torch.save({"state_dict": WEIGHTS, "epoch": 3}, path)


def as_old_pickle(path: Path) -> None:
    torch.save(WEIGHTS, path, _use_new_zipfile_serialization=False)


def as_distributed(path: Path) -> None:
    torch.save({f"module.{name}": weight for name, weight in WEIGHTS.items()}, path)


@pytest.mark.parametrize("write", [as_safetensors, as_archive, as_old_pickle, as_distributed])
def test_weights_of_every_kind_of_file_have_their_names_and_shapes(
    write: Callable[[Path], None], tmp_path: Path
) -> None:
    """Whatever the file is called."""
    path = tmp_path / "weights"
    write(path)
    checkpoint = Checkpoint(path)
    assert checkpoint.shapes == {"a.weight": (2, 3), "b": (1,)}
    assert len(checkpoint) == 2
    assert all(torch.equal(checkpoint[name], WEIGHTS[name]) for name in checkpoint)


class Harmful:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


def test_pickles_of_other_objects_are_refused_unopened(tmp_path: Path) -> None:
    path, touched = tmp_path / "model.ckpt", tmp_path / "touched"
    torch.save({"state_dict": Harmful(touched)}, path)
    with pytest.raises(CheckpointError, match="holds other objects than weights"):
        Checkpoint(path)
    path.write_bytes(pickle.dumps(Harmful(touched), protocol=2))
    with pytest.raises(CheckpointError):
        Checkpoint(path)
    assert not touched.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"<!doctype html><title>Sign in", "perhaps a web page was saved in its place"),
        (b"", "is neither a .ckpt nor a .safetensors file"),
        (b"\xff\x00\x00\x00\x00\x00\x00\x00{}", "it may be incomplete"),
        (b"PK\x03\x04", "it may be incomplete"),
    ],
)
def test_what_is_no_checkpoint_is_named(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "model.ckpt"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        Checkpoint(path)
    with pytest.raises(CheckpointError, match="is not there"):
        Checkpoint(tmp_path / "none.ckpt")


def test_component_is_read_in_full_precision_if_it_is_there(tmp_path: Path) -> None:
    half = {name: weight.half() for name, weight in WEIGHTS.items()}
    save_file(half, tmp_path / "diffusion_pytorch_model.fp16.safetensors")
    assert Components({"vae": tmp_path})["vae/b"].dtype == torch.float16
    save_file(WEIGHTS, tmp_path / "diffusion_pytorch_model.safetensors")
    components = Components({"vae": tmp_path})
    assert components["vae/b"].dtype == torch.float32
    assert components.shapes == {"vae/a.weight": (2, 3), "vae/b": (1,)}


def test_component_without_safetensors_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"has no model\.safetensors"):
        Components({"text_encoder": tmp_path})
    (tmp_path / "pytorch_model.bin").touch()
    with pytest.raises(CheckpointError, match="save_pretrained writes"):
        Components({"text_encoder": tmp_path})
