"""Model folders: those of this version, and those that earlier versions have saved."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline, UNet2DConditionModel
from safetensors.torch import load_file

from ccsr.config import VARIANTS, LoadingConfig, SamplingConfig, Variant
from ccsr.images.picture import Picture, picture_from_array
from ccsr.inference.engine import load_engine
from ccsr.inference.hub import COMPACT_FOLDER, CUSTOM_PIPELINE, component_of, variants_in
from ccsr.inference.pipeline import CCSRPipeline
from tests.tiny import save_tiny_model, tiny_pipeline

FAST = SamplingConfig(num_steps=6)
FORMER_INDEX = {
    "controlnet": {
        "LRAdapter": ["ccsr.controlnet", "PictureControlNetModel"],
        "LatentControlNetModel": ["ccsr.controlnet", "LatentControlNetModel"],
    },
    "scheduler": {"NonUniformScheduler": ["ccsr.schedule", "NonUniformScheduler"]},
    "empty_prompt": {"EmptyPrompt": ["ccsr.prompt", "EmptyPrompt"]},
}


def picture() -> Picture:
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    return picture_from_array(pixels)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("model"))


def write_former_names(folder: Path) -> None:
    """Name modules and classes as the first versions did."""
    index = json.loads((folder / "model_index.json").read_text())
    index.pop("variant")
    for name, former in FORMER_INDEX.items():
        if index[name][1] is not None:
            index[name] = former[index[name][1]]
    (folder / "model_index.json").write_text(json.dumps(index))
    for file in folder.rglob("config.json"):
        file.write_text(file.read_text().replace('"LRAdapter"', '"PictureControlNetModel"'))
    (folder / "pipeline.py").unlink()
    (folder / "checksums.json").unlink()


@pytest.fixture(scope="module")
def former(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as earlier versions wrote it, with the variants as diffusers' file variants."""
    folder = tmp_path_factory.mktemp("former")
    tiny_pipeline().save_pretrained(folder)
    v1, v2 = tiny_pipeline(seed=1), tiny_pipeline(seed=2)
    v1.unet.save_pretrained(folder / "unet", variant="v1")
    v1.controlnet.save_pretrained(folder / "controlnet", variant="v1")
    v2.vae.save_pretrained(folder / "vae", variant="v2")
    write_former_names(folder)
    return folder


@pytest.mark.parametrize("variant", VARIANTS)
def test_folder_of_an_earlier_version_gives_the_same_results(
    folder: Path, former: Path, variant: Variant
) -> None:
    assert variants_in(former) == variants_in(folder) == VARIANTS
    config = SamplingConfig(num_steps=6, variant=variant)
    expected, found = (
        CCSRPipeline.from_pretrained(each, sr_variant=variant).upscale(picture(), config)[0].rgb
        for each in (folder, former)
    )
    np.testing.assert_array_equal(found, expected)
    engine = load_engine(str(former), LoadingConfig(device="cpu", dtype="float32"))
    *_, last = engine.run(picture(), config, (0,))
    np.testing.assert_allclose(last.picture.rgb, expected, atol=1 / 255)


def test_full_size_folder_of_an_earlier_version_loads(tmp_path: Path) -> None:
    made = tiny_pipeline("kl", attention=True)
    made.save_pretrained(tmp_path)
    write_former_names(tmp_path)
    again = CCSRPipeline.from_pretrained(tmp_path)
    expected, found = (p.upscale(picture(), FAST)[0].rgb for p in (made, again))
    # The two networks lie elsewhere in memory, so that sums are rounded in another order.
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_variant_of_diffusers_is_not_taken_for_ours(folder: Path) -> None:
    with pytest.raises(ValueError, match="give sr_variant='v1'"):
        CCSRPipeline.from_pretrained(folder, variant="v1")


@pytest.mark.parametrize("custom_pipeline", ["folder", "file"])
def test_diffusers_loads_a_folder_by_its_own_conventions(
    folder: Path, custom_pipeline: str
) -> None:
    custom = folder if custom_pipeline == "folder" else folder / "pipeline.py"
    loaded = DiffusionPipeline.from_pretrained(
        str(folder), custom_pipeline=str(custom), trust_remote_code=True
    )
    assert isinstance(loaded, CCSRPipeline)
    # It knows nothing of variants, and loaded the main one without a word.
    with pytest.raises(ValueError, match=r"'v1' was asked for; load it by CCSRPipeline"):
        DiffusionPipeline.from_pretrained(
            str(folder), custom_pipeline=str(custom), trust_remote_code=True, sr_variant="v1"
        )
    expected = CCSRPipeline.from_pretrained(folder)
    first, second = (p.upscale(picture(), FAST)[0].rgb for p in (expected, loaded))
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("variant", VARIANTS)
def test_what_the_engine_runs_can_be_saved(folder: Path, tmp_path: Path, variant: Variant) -> None:
    """Fused and in another memory format."""
    loading = LoadingConfig(device="cpu", dtype="float32")
    pipeline = load_engine(str(folder), loading).pipeline(variant)
    config = SamplingConfig(num_steps=6, variant=variant)
    expected = pipeline.upscale(picture(), config)[0].rgb
    pipeline.save_pretrained(tmp_path)
    np.testing.assert_array_equal(pipeline.upscale(picture(), config)[0].rgb, expected)

    assert variants_in(tmp_path) == (variant,)
    for name in ("unet", "controlnet", "vae"):
        (source,) = component_of(folder, variant, name).weights()
        (saved,) = component_of(tmp_path, variant, name).weights()
        before, after = load_file(source), load_file(saved)
        assert before.keys() == after.keys()
        assert all(torch.equal(before[key], after[key]) for key in before)
    again = load_engine(str(tmp_path), loading)
    assert again.info.variants == (variant,)
    found = again.pipeline(variant).upscale(picture(), config)[0].rgb
    np.testing.assert_array_equal(found, expected)


def test_saved_variant_is_the_one_that_is_loaded_again(folder: Path, tmp_path: Path) -> None:
    made = CCSRPipeline.from_pretrained(folder, sr_variant="v1")
    made.save_pretrained(tmp_path)
    again = CCSRPipeline.from_pretrained(tmp_path)
    assert again.config["variant"] == "v1"
    settings = {"num_inference_steps": 9, "seeds": (1,), "output_type": "np"}
    first, second = (pipeline(picture(), **settings).images for pipeline in (made, again))
    np.testing.assert_array_equal(first, second)
    with pytest.raises(ValueError, match="holds variant 'v1' alone"):
        CCSRPipeline.from_pretrained(tmp_path, sr_variant="ccsr")


def test_one_unet_is_loaded_for_v1(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[str] = []
    original = UNet2DConditionModel.from_pretrained.__func__
    monkeypatch.setattr(
        UNet2DConditionModel,
        "from_pretrained",
        classmethod(
            lambda cls, path, **kwargs: (
                loaded.append(str(Path(path).relative_to(folder))),
                original(cls, path, **kwargs),
            )[1]
        ),
    )
    CCSRPipeline.from_pretrained(folder, sr_variant="v1")
    assert loaded == ["v1/unet"]
    loaded.clear()
    engine = load_engine(str(folder), LoadingConfig(device="cpu"), "v1")
    list(engine.session(picture()).run(SamplingConfig(num_steps=6, variant="v1"), 0))
    assert loaded == ["v1/unet"]
    engine.pipeline("ccsr")
    assert loaded == ["v1/unet", "unet"]
    assert engine.pipeline("v2").unet is engine.pipeline("ccsr").unet
    assert engine.pipeline("v2").vae is engine.pipeline("v1").vae


def test_shipped_folder_has_every_variant_in_its_place() -> None:
    assert variants_in(COMPACT_FOLDER) == VARIANTS
    assert component_of(COMPACT_FOLDER, "v1", "unet").folder == COMPACT_FOLDER / "v1" / "unet"
    assert component_of(COMPACT_FOLDER, "v1", "vae").folder == COMPACT_FOLDER / "v2" / "vae"
    assert component_of(COMPACT_FOLDER, "ccsr", "vae").folder == COMPACT_FOLDER / "vae"
    assert (COMPACT_FOLDER / "pipeline.py").read_text() == CUSTOM_PIPELINE
