import json
from pathlib import Path

import pytest

from ccsr.inference.hub import COMPACT_FOLDER
from training.__main__ import COMPACT
from training.config import (
    load_recipe,
)
from training.network import build_denoiser


def test_shipped_recipe_is_read_and_fits_the_size_limit_of_the_model() -> None:
    recipe = load_recipe(COMPACT)
    denoiser = build_denoiser(recipe.network, recipe.autoencoder.latent_channels)
    # Two variants in float16; the autoencoder takes the rest of 60 MB.
    assert 2 * 2 * sum(p.numel() for p in denoiser.parameters()) < 34.5e6
    assert sum(p.stat().st_size for p in COMPACT_FOLDER.rglob("*") if p.is_file()) < 60e6


def test_shipped_model_and_its_recipe_predict_x0() -> None:
    scheduler = json.loads((COMPACT_FOLDER / "scheduler" / "scheduler_config.json").read_text())
    assert scheduler["prediction_type"] == "sample"
    assert load_recipe(COMPACT).network.prediction_type == "sample"


@pytest.mark.parametrize("recipe", sorted(COMPACT.parent.glob("*.toml")), ids=lambda p: p.stem)
def test_every_shipped_recipe_is_read(recipe: Path) -> None:
    assert load_recipe(recipe).stage2.loop.max_steps > 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[uniform", "not a TOML file"),
        ("[typo]", r"unknown \['typo'\]"),
        ("[data]", "must be given"),
        (COMPACT.read_text().replace("[data]\nscale = 4", "[data]\nscale = 'four'"),
         "scale must be int, got 'four'"),
        (COMPACT.read_text().replace("perceptual = ", "preceptual = "), "unknown .'preceptual'"),
        (COMPACT.read_text().replace("loop = {", "loop = 3 #", 1), "loop must be a table, got 3"),
        (COMPACT.read_text().replace('"patch"', '"pitch"'),
         "discriminator must be one of patch, features, got 'pitch'"),
    ],
)  # fmt: skip
def test_bad_recipes_say_what_is_wrong(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        load_recipe(path)
