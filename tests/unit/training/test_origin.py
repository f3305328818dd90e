from fnmatch import fnmatch
from pathlib import Path

import pytest
import torch

from ccsr.inference.hub import COMPACT_FOLDER
from ccsr.inference.pipeline import CCSRPipeline
from tests.tiny import save_tiny_sd21, tiny_pipeline
from training.origin import FILES, Origin, find_origin

REPOSITORY = {
    "model_index.json": True,
    "unet/config.json": True,
    "unet/diffusion_pytorch_model.safetensors": True,
    "vae/diffusion_pytorch_model.fp16.safetensors": True,
    "text_encoder/model.safetensors": True,
    "v1/unet/diffusion_pytorch_model-00001-of-00002.safetensors": True,
    "text_encoder/pytorch_model.bin": False,
    "v2-1_512-ema-pruned.safetensors": False,
    "v2-1_512-ema-pruned.ckpt": False,
}


def test_networks_are_fetched_and_no_files_that_hold_all_of_them_again() -> None:
    for name, fetched in REPOSITORY.items():
        assert any(fnmatch(name, pattern) for pattern in FILES) is fetched, name


def test_stable_diffusion_of_the_hub_is_converted_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def from_hub(name: str, files: tuple[str, ...]) -> Path:
        asked.append(name)
        return folder

    folder = save_tiny_sd21(tmp_path / "fetched")
    monkeypatch.setattr("training.origin.from_hub", from_hub)
    origin = find_origin("owner/name@main", tmp_path / "run")
    assert origin == Origin(tmp_path / "run" / "start")
    made = {path: path.stat().st_mtime_ns for path in origin.folder.rglob("*.safetensors")}
    assert find_origin("owner/name@main", tmp_path / "run") == origin
    assert {path: path.stat().st_mtime_ns for path in made} == made
    assert asked == ["owner/name@main"] * 2
    assert not origin.is_model
    assert origin.networks_of("autoencoder") == origin.folder / "vae"
    assert origin.networks_of("stage1") is None
    prompt = origin.empty_prompt()
    assert prompt is not None
    assert prompt.states.dtype == torch.float32
    assert prompt.states.abs().max() > 0


def test_model_stands_for_all_steps_that_made_it() -> None:
    origin = Origin(COMPACT_FOLDER)
    assert origin.is_model
    assert {step: origin.networks_of(step) for step in ("uniform", "stage1", "stage2")} == {
        "uniform": COMPACT_FOLDER / "v1",
        "stage1": COMPACT_FOLDER,
        "stage2": COMPACT_FOLDER / "vae",
    }
    assert origin.networks_of("autoencoder") == COMPACT_FOLDER / "v2" / "vae"
    assert origin.empty_prompt() is None


def test_the_grid_is_that_of_the_model(tmp_path: Path) -> None:
    CCSRPipeline(**tiny_pipeline().components, num_steps=12).save_pretrained(tmp_path / "model")
    assert find_origin(str(tmp_path / "model"), tmp_path).num_steps == 12
    assert Origin(tmp_path).num_steps == 45
