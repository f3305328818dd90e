import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from safetensors.torch import load_file, save_file

from ccsr.config import LoadingConfig, SamplingConfig, Variant
from ccsr.images.picture import Picture, picture_from_array
from ccsr.inference import hub
from ccsr.inference.engine import load_engine
from ccsr.inference.events import Restored
from ccsr.inference.hub import ModelError
from ccsr.inference.weights import CHECKSUMS
from tests.tiny import save_tiny_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("model"))


def picture() -> Picture:
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    return picture_from_array(pixels)


def copy_without(folder: Path, target: Path, pattern: str) -> Path:
    for file in folder.rglob("*"):
        if file.is_file() and not file.match(pattern):
            (target / file.relative_to(folder)).parent.mkdir(parents=True, exist_ok=True)
            (target / file.relative_to(folder)).symlink_to(file)
    return target


def test_engine_runs_every_variant_of_a_folder(folder: Path) -> None:
    engine = load_engine(str(folder), LoadingConfig(device="cpu"))
    assert engine.info.variants == ("ccsr", "v2", "v1")
    results = {}
    for variant in engine.info.variants:
        config = SamplingConfig(variant=variant, num_steps=6)
        (*_, last) = engine.run(picture(), config, (0,))
        assert isinstance(last, Restored)
        results[variant] = last.picture.rgb
    assert not np.allclose(results["ccsr"], results["v2"], atol=1 / 255)
    assert not np.allclose(results["v2"], results["v1"], atol=1 / 255)


def test_variants_share_what_is_equal(folder: Path) -> None:
    engine = load_engine(str(folder), LoadingConfig(device="cpu"))
    assert engine.pipeline("v2").unet is engine.pipeline("ccsr").unet
    assert engine.pipeline("v1").vae is engine.pipeline("v2").vae
    assert engine.pipeline("v1").unet is not engine.pipeline("ccsr").unet


@pytest.mark.parametrize(
    ("pattern", "variants"),
    [("v1/*/*.safetensors", ("ccsr", "v2")), ("v2/*/*.safetensors", ("ccsr",))],
)
def test_only_variants_that_are_there_are_offered(
    folder: Path, tmp_path: Path, pattern: str, variants: tuple[str, ...]
) -> None:
    engine = load_engine(str(copy_without(folder, tmp_path, pattern)), LoadingConfig(device="cpu"))
    assert engine.info.variants == variants
    with pytest.raises(ValueError, match="has no variant 'v1'"):
        list(engine.session(picture()).run(SamplingConfig(variant="v1"), 0))
    with pytest.raises(ValueError, match="has no variant 'v1'"):
        list(engine.run(picture(), SamplingConfig(variant="v1"), (0,)))


def test_missing_weights_are_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="weights are missing"):
        load_engine(str(copy_without(folder, tmp_path, "*.safetensors")))


def test_damaged_weights_are_named(folder: Path, tmp_path: Path) -> None:
    broken = copy_without(folder, tmp_path, "unet/diffusion_pytorch_model.safetensors")
    (broken / "unet" / "diffusion_pytorch_model.safetensors").write_bytes(b"not weights")
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_engine(str(broken), LoadingConfig(device="cpu"))


def test_pickled_weights_are_never_loaded(folder: Path, tmp_path: Path) -> None:
    broken = copy_without(folder, tmp_path, "vae/diffusion_pytorch_model.safetensors")
    (broken / "vae" / "diffusion_pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(ModelError, match="weights are missing"):
        load_engine(str(broken), LoadingConfig(device="cpu"))


def test_folder_without_a_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="holds no model_index"):
        load_engine(str(tmp_path))


@pytest.mark.parametrize(
    ("name", "revision"),
    [("owner/name", None), ("owner/name@v2", "v2")],
    ids=["newest", "revision"],
)
def test_hub_repository_is_fetched_as_safetensors_only(
    folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, revision: str | None
) -> None:
    asked: dict[str, object] = {}

    def fake_download(repository: str, **options: object) -> str:
        asked.update(repository=repository, **options)
        return str(folder)

    monkeypatch.setattr(hub, "snapshot_download", fake_download)
    assert load_engine(name, LoadingConfig(device="cpu")).info.name == name
    assert asked == {
        "repository": "owner/name",
        "revision": revision,
        "allow_patterns": ["*.json", "*.safetensors"],
    }


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (GatedRepoError, "accept its terms at https://huggingface.co/owner/name"),
        (RepositoryNotFoundError, "neither a folder here nor a repository of the hub"),
        (RevisionNotFoundError, "owner/name has no revision 'v2'"),
        (LocalEntryNotFoundError, "hub cannot be reached"),
        (OfflineModeIsEnabled, "hub cannot be reached"),
        (HfHubHTTPError, "could not be fetched from the hub"),
        (OSError, "could not be fetched from the hub"),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
def test_what_the_hub_answers_is_told(
    error: type[Exception], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> str:
        raise error.__new__(error)

    monkeypatch.setattr(hub, "snapshot_download", fail)
    with pytest.raises(ModelError, match=message):
        load_engine("owner/name@v2")


def test_name_that_cannot_be_a_repository_is_told_of() -> None:
    with pytest.raises(ModelError, match="neither a folder here nor the name of a repository"):
        load_engine("no/such/folder/here")


def test_checkpoint_file_is_told_to_be_converted(tmp_path: Path) -> None:
    file = tmp_path / "ccsr.ckpt"
    file.touch()
    with pytest.raises(ModelError, match="python -m ccsr convert"):
        load_engine(str(file))


def test_model_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model_index.json").write_text('{"_class_name": "StableDiffusionPipeline"}')
    with pytest.raises(ModelError, match="holds a StableDiffusionPipeline, not a CCSR"):
        load_engine(str(tmp_path))


def test_unknown_device_and_dtype_are_refused(folder: Path) -> None:
    with pytest.raises(ValueError, match="device 'abacus' cannot be used"):
        load_engine(str(folder), LoadingConfig(device="abacus"))
    with pytest.raises(ValueError, match="dtype must be one of auto, float32"):
        LoadingConfig(dtype="float8")
    with pytest.raises(ValueError, match="without tiling there are none"):
        LoadingConfig(tiling=False, max_memory=1.0)


def test_memory_of_a_run_reaches_the_pipeline(folder: Path) -> None:
    loading = LoadingConfig(device="cpu", dtype="float32", max_memory=0.02)
    assert load_engine(str(folder), loading).pipeline("ccsr").max_memory == 0.02


def test_tiling_can_be_switched_off(folder: Path) -> None:
    pipeline = load_engine(str(folder), LoadingConfig(device="cpu", tiling=False)).pipeline("v2")
    assert pipeline.tiling is None
    assert pipeline.vae_tile is None


def test_compiled_networks_give_the_same_picture(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the compiler's quick backend: code for the CPU takes minutes to make."""
    compiled: list[object] = []
    monkeypatch.setattr(
        torch.nn.Module,
        "compile",
        lambda self: (
            compiled.append(self),
            setattr(self, "forward", torch.compile(self.forward, backend="eager")),
        ),
    )
    config = SamplingConfig(num_steps=6)
    results = [
        load_engine(str(folder), LoadingConfig(device="cpu", dtype="float32", compile=compile))
        .pipeline("ccsr")
        .upscale(picture(), config)[0]
        .rgb
        for compile in (False, True)
    ]
    assert len(compiled) == 1
    np.testing.assert_allclose(results[1], results[0], atol=1e-4)


@pytest.mark.parametrize(
    ("loading", "message"),
    [
        (LoadingConfig(device="cpu", offload=True), "offload is for GPUs"),
        (LoadingConfig(device="cpu", compile=True), "needs a C.. compiler"),
    ],
)
def test_what_this_machine_lacks_is_told_of(
    folder: Path, loading: LoadingConfig, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(ValueError, match=message):
        load_engine(str(folder), loading)


WEIGHTS = "diffusion_pytorch_model.safetensors"


def with_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    path = folder / "unet" / WEIGHTS
    state = load_file(path)
    change(state)
    save_file(state, path)


def make_nan(state: dict[str, torch.Tensor]) -> None:
    next(iter(state.values())).view(-1)[0] = torch.nan


def swap_files(folder: Path) -> None:
    """UNets of two variants, which have the same shapes."""
    first, second = (folder / name / WEIGHTS for name in ("unet", "v1/unet"))
    content = first.read_bytes()
    shutil.copy(second, first)
    second.write_bytes(content)


def swap_tensors(folder: Path) -> None:
    """Two weights of one shape in one file."""

    def swap(state: dict[str, torch.Tensor]) -> None:
        first, second = "mid_block.resnets.0.norm1.weight", "mid_block.resnets.0.norm1.bias"
        state[first], state[second] = state[second], state[first]

    with_weights(folder, swap)


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "NaN": (lambda f: with_weights(f, make_nan), r"unet/.*safetensors holds values .* not finite"),
    "a missing weight": (
        lambda f: with_weights(f, lambda state: state.pop("conv_in.bias")),
        r"unet/.*safetensors lacks 1 weights, such as conv_in\.bias",
    ),
    "weights of another network": (
        lambda f: shutil.copy(f / "controlnet" / WEIGHTS, f / "unet" / WEIGHTS),
        "cannot be loaded",
    ),
    "an empty file": (lambda f: (f / "unet" / WEIGHTS).write_bytes(b""), f"unet/{WEIGHTS}"),
    "a list": (lambda f: (f / "model_index.json").write_text("[1]"), "model_index.json holds no"),
    "half": (lambda f: (f / "model_index.json").write_text('{"_c'), "model_index.json is no JSON"),
    "depth": (
        lambda f: (f / "model_index.json").write_text("[" * 100_000),
        "model_index.json is no JSON",
    ),
    "a config that is a list": (
        lambda f: (f / "vae" / "config.json").write_text("[]"),
        "vae/config.json holds no",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_model_folder_is_one_sentence_that_names_the_file(
    folder: Path, tmp_path: Path, damage: str
) -> None:
    """A weight that was missing once was at random, and NaN was found by the first picture."""
    damaged = tmp_path / "model"
    shutil.copytree(folder, damaged)
    # Other programs write none, and what is damaged is to be found without.
    (damaged / CHECKSUMS).unlink()
    change, message = DAMAGES[damage]
    change(damaged)
    with pytest.raises(ModelError, match=message):
        load_engine(str(damaged), LoadingConfig(device="cpu", dtype="float32"))


def add_shards(folder: Path) -> Path:
    """Weights that diffusers takes in place of those in one file."""
    name = "diffusion_pytorch_model-00001-of-00001.safetensors"
    state = load_file(folder / "unet" / WEIGHTS)
    index = {"metadata": {}, "weight_map": dict.fromkeys(state, name)}
    (folder / "unet" / f"{WEIGHTS}.index.json").write_text(json.dumps(index))
    save_file({key: torch.zeros_like(x) for key, x in state.items()}, folder / "unet" / name)
    return folder / "unet" / name


def add_file_variant(folder: Path) -> Path:
    """Weights that come before those of v1/unet."""
    return Path(shutil.copy(folder / "v1/unet" / WEIGHTS, folder / "unet" / FILE_VARIANT))


FILE_VARIANT = "diffusion_pytorch_model.v1.safetensors"


@pytest.mark.parametrize(("add", "variant"), [(add_shards, "ccsr"), (add_file_variant, "v1")])
def test_further_weights_that_would_be_loaded_are_refused(
    folder: Path, tmp_path: Path, add: Callable[[Path], Path], variant: Variant
) -> None:
    changed = tmp_path / "model"
    shutil.copytree(folder, changed)
    added = add(changed)
    loading = LoadingConfig(device="cpu", dtype="float32")
    with pytest.raises(ModelError, match=f"{added} is no file that this model was saved with"):
        load_engine(str(changed), loading, variant)
    (changed / CHECKSUMS).unlink()
    load_engine(str(changed), loading, variant)


def test_further_files_that_are_never_loaded_do_not_count(folder: Path, tmp_path: Path) -> None:
    changed = tmp_path / "model"
    shutil.copytree(folder, changed)
    (changed / "unet" / "diffusion_pytorch_model.bin").write_bytes(b"pickle")
    (changed / "unet" / "diffusion_pytorch_model.safetensors.part").write_bytes(b"unfinished")
    load_engine(str(changed), LoadingConfig(device="cpu", dtype="float32"))


@pytest.mark.parametrize(
    ("swap", "variant"), [(swap_files, "ccsr"), (swap_files, "v1"), (swap_tensors, "ccsr")]
)
def test_other_weights_of_the_same_shapes_are_refused(
    folder: Path, tmp_path: Path, swap: Callable[[Path], None], variant: Variant
) -> None:
    swapped = tmp_path / "model"
    shutil.copytree(folder, swapped)
    swap(swapped)
    loading = LoadingConfig(device="cpu", dtype="float32")
    with pytest.raises(ModelError, match=f"unet/{WEIGHTS} is not the file that this model was"):
        load_engine(str(swapped), loading, variant)
    (swapped / CHECKSUMS).unlink()
    load_engine(str(swapped), loading, variant)
