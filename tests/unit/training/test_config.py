import json
import re
from pathlib import Path

import pytest

from ccsr.inference.hub import COMPACT_FOLDER
from training.config import RECIPES, load_recipe, recipe_path
from training.network import build_denoiser
from training.steps import steps_of

COMPACT = recipe_path("compact")


def test_recipe_is_found_by_its_name_or_its_path(tmp_path: Path) -> None:
    assert recipe_path("sd21") == RECIPES / "sd21.toml"
    assert recipe_path(str(tmp_path / "own.toml")) == tmp_path / "own.toml"


def test_shipped_recipe_is_read_and_fits_the_size_limit_of_the_model() -> None:
    recipe = load_recipe(COMPACT)
    assert recipe.network is not None
    assert recipe.autoencoder is not None
    denoiser = build_denoiser(recipe.network, recipe.autoencoder.latent_channels)
    # Two variants in float16; the autoencoder takes the rest of 60 MB.
    assert 2 * 2 * sum(p.numel() for p in denoiser.parameters()) < 34.5e6
    assert sum(p.stat().st_size for p in COMPACT_FOLDER.rglob("*") if p.is_file()) < 60e6


def test_shipped_model_and_its_recipe_predict_x0() -> None:
    scheduler = json.loads((COMPACT_FOLDER / "scheduler" / "scheduler_config.json").read_text())
    assert scheduler["prediction_type"] == "sample"
    network = load_recipe(COMPACT).network
    assert network is not None
    assert network.prediction_type == "sample"


@pytest.mark.parametrize("recipe", sorted(RECIPES.glob("*.toml")), ids=lambda p: p.stem)
def test_every_shipped_recipe_is_read(recipe: Path) -> None:
    assert steps_of(load_recipe(recipe))[-1] == "export"


def changed(old: str, new: str) -> str:
    """The shipped recipe with some text replaced where it occurs first."""
    text = COMPACT.read_text()
    assert old in text
    return text.replace(old, new, 1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[uniform", "is not a TOML file"),
        ("[data]", "recipe.toml: the recipe trains nothing: give it at least one of the tables"),
        (changed("[network]", "[unet]"), "unet is unknown; known are implementation, autoencoder"),
        (changed("[data]", "[typo]\n[data]"), "typo is unknown; known are implementation"),
        (changed("perceptual = ", "preceptual = "),
         "stage1.preceptual is unknown; known are t_max, t_min, loop"),
        (changed("max_steps = 3600", "max_step = 3200"), "autoencoder.loop.max_step is unknown"),
        (changed("scale = 4", "scale = 'four'"),
         "data.scale must be a whole number above 0, got 'four'"),
        (changed("scale = 4", "scale = 4.0"),
         "data.scale must be a whole number above 0, got 4.0"),
        (changed("scale = 4", "scale = true"),
         "data.scale must be a whole number above 0, got True"),
        (changed("scale = 4", "scale = 3"), "scale must be 1, 2, 4 or 8, got 3"),
        (changed("loop = {", "loop = 3 #"), "autoencoder.loop must be a table, got 3"),
        (changed('"patch"', '"pitch"'),
         "stage2.discriminator must be one of patch, features, got 'pitch'"),
        (changed("learning_rate = 1e-3", "learning_rate = nan"),
         "autoencoder.loop.learning_rate must be a number above 0, got nan"),
        (changed("= [64, 96, 128]", "= [64, 96.0, 128]"),
         "network.block_out_channels must be a list of whole numbers above 0, got [64, 96.0, 128]"),
        (changed("latent_channels", "decoder_block_out_channels = [8, 8]\nlatent_channels"),
         "autoencoder.decoder_block_out_channels must be a list of 3 whole numbers above 0, got "
         "[8, 8]"),
        (changed("crop_px = 192", "crop_px = 130"),
         "autoencoder.loop.crop_px must be a whole number above 32 and divisible by 8, got 130"),
        (changed("count = 12544, crop_px = 512", "count = 12544, crop_px = 0"),
         "uniform.pairs.crop_px must be a whole number above 32 and divisible by 8, got 0"),
        (changed("max_steps = 3600", "max_steps = 0"),
         "autoencoder.loop.max_steps must be a whole number above 0, got 0"),
        (changed("max_steps = 3600", "max_steps = 49"),
         "autoencoder.loop.warmup_steps must not be above max_steps, got warmup_steps=50 and "
         "max_steps=49"),
        (changed("bicubic = 0.3", "bicubic = 1.4"),
         "data.degradations.bicubic must be a number from 0 to 1, got 1.4"),
        (changed("bicubic = 0.3", "bicubic = 0.2"),
         "data.degradations.bicubic, camera, real_esrgan and bsrgan must sum to 1, got 0.9"),
        (changed("bicubic = 0.3", "bicubc = 0.3"), "data.degradations.bicubc is unknown; known"),
        (changed("adversarial_from = 0.7", "adversarial_from = -0.1"),
         "stage2.adversarial_from must be a number from 0 to 1, got -0.1"),
        (changed("[stage2]", "[stage2]\nt_max = 0.3"),
         "stage2.t_min must not be above t_max, got t_min=0.3333 and t_max=0.3"),
        (changed("[stage1]", "[stage1]\nt_min = 0.9"),
         "stage1.t_min must not be above t_max, got t_min=0.9 and t_max=0.6667"),
        (changed("[stage1]", "[stage1]\nt_min = -0.1"),
         "stage1.t_min must be a number from 0 to 1, got -0.1"),
        (changed("[64, 96, 128]", "[64, 90, 128]"),
         "network.block_out_channels must be divisible by norm_num_groups=32, got (64, 90, 128)"),
        (changed("[128, 160, 192]", "[128, 161, 192]"),
         "network.lr_adapter_channels must be divisible by norm_num_groups=32"),
        (changed("[6, 2, 2]", "[6, 2]"),
         "network.lr_adapter_layers must have a number for each of the 3 resolutions"),
        (changed("batch_size = 6, crop_px = 512", "batch_size = 6, crop_px = 640"),
         "uniform.loop.crop_px must not be above pairs.crop_px, got 640 and 512"),
        (changed("least_crop_px = 192", "least_crop_px = 520"),
         "least_crop_px must not be above crop_px, got least_crop_px=520 and crop_px=512"),
        (changed("batch_size = 4, crop_px = 160", "batch_size = 4, crop_px = 264"),
         "stage2.loop.crop_px must not be above rollouts.crop_px, got 264 and 256"),
    ],
)  # fmt: skip
def test_bad_recipes_are_refused_when_they_are_read(
    text: str, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(text)
    with pytest.raises(ValueError, match=re.escape(message)) as refused:
        load_recipe(path)
    assert "\n" not in str(refused.value)


def test_controlnet_has_no_channels_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    text = changed('condition_network = "lr-adapter"', 'condition_network = "controlnet"')
    path.write_text(text.replace("[6, 2, 2]", "[6, 2]").replace("[128, 160, 192]", "[7]"))
    network = load_recipe(path).network
    assert network is not None
    assert network.condition_network == "controlnet"


def test_v1_and_v2_of_the_full_size_differ_from_ccsr_in_what_the_ablation_names() -> None:
    full, v1, v2, bicubic = (
        load_recipe(RECIPES / f"{name}.toml")
        for name in ("sd21", "sd21_v1", "sd21_v2", "sd21_bicubic")
    )
    assert v2 == full.replace(stage2=None)
    assert full.stage1 is not None
    assert full.stage2 is not None
    assert v1.uniform is not None
    assert (v1.uniform.loop, v1.uniform.pairs) == (full.stage1.loop, full.stage1.pairs)
    assert bicubic.data.degradations.bicubic == 1
    for recipe, side in ((full, 512), (bicubic, 256)):
        for stage, steps, rate in ((recipe.stage1, 25000, 1e-4), (recipe.stage2, 100, 5e-6)):
            assert stage is not None
            loop = stage.loop
            assert (loop.max_steps, loop.learning_rate, loop.crop_px) == (steps, rate, side)
            assert loop.batch_size == 192


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('trained = "controlnet"', 'trained = "both"', "stage1.trained must be controlnet"),
        ('schedule = "constant"', 'schedule = "cosine"', "stage1.loop.schedule must be constant"),
        ("batch_size = 192", "batch_size = 192\ngradient_accumulation_steps = 2",
         "stage1.loop.gradient_accumulation_steps must be 1"),
        ("[stage2]", '[stage2]\ndiscriminator = "features"', "stage2.discriminator must be patch"),
    ],
)  # fmt: skip
def test_official_recipes_ask_for_nothing_that_the_authors_code_has_not(
    old: str, new: str, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "recipe.toml"
    text = (RECIPES / "sd21_official.toml").read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(ValueError, match=re.escape(message)):
        load_recipe(path)
    path.write_text(text.replace(old, new, 1).replace('"official"', '"paper"'))
    assert load_recipe(path).implementation == "paper"
