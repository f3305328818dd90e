"""The recipes of the full size, with tiny networks."""

import json
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from skimage import data as pictures

from ccsr.images.picture import picture_from_array
from ccsr.images.writing import save_png
from ccsr.inference.engine import load_engine
from ccsr.inference.pipeline import CCSRPipeline
from tests.tiny import save_tiny_sd21
from training.__main__ import main
from training.config import load_recipe
from training.origin import find_origin
from training.publish import model_card
from training.run import Run
from training.sources import Source
from training.steps import run_step

pytestmark = pytest.mark.e2e

RECIPES = Path(__file__).parents[2] / "training" / "recipes"
SMALL = {
    "max_steps": "2",
    "batch_size": "2",
    "crop_px": "64",
    "count": "2",
    "checkpoint_every": "1",
    "learning_rate": "1e-3",
    "perceptual": '"alex"',
    "discriminator_channels": "4",
}
WEIGHTS = "diffusion_pytorch_model.safetensors"


def small(name: str, folder: Path) -> Path:
    """A shipped recipe of the full size with small numbers."""
    text = (RECIPES / f"{name}.toml").read_text()
    for key, value in SMALL.items():
        text = re.sub(rf"\b{key} = [^,\s]+", f"{key} = {value}", text)
    text = re.sub(r"gradient_accumulation_steps = \d+", "gradient_accumulation_steps = 2", text)
    text = text.replace("[stage2]", "[stage2]\nnum_steps = 6\ndiscriminator_channels = 4")
    text = text.replace("schedule =", 'mixed_precision = "no"\nschedule =')
    path = folder / f"{name}.toml"
    path.write_text(text)
    return path


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sd21")
    save_tiny_sd21(folder / "stable-diffusion")
    (folder / "pictures").mkdir()
    for name in ("astronaut", "coffee"):
        picture = picture_from_array(getattr(pictures, name)()[:200, :200])
        save_png(folder / "pictures" / f"{name}.png", picture)
    return folder


def train(inputs: Path, recipe: Path, run: Path, *steps: str, init: str | None = None) -> int:
    start = init or str(inputs / "stable-diffusion")
    return main([*steps, "--data", str(inputs / "pictures"), "--recipe", str(recipe),
                 "--run-folder", str(run), "--init", start])  # fmt: skip


@pytest.fixture(scope="module", params=["sd21", "sd21_official"])
def trained(
    inputs: Path, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> tuple[Path, Path]:
    """The run folder, and its recipe."""
    folder = tmp_path_factory.mktemp(request.param)
    recipe = small(request.param, folder)
    assert train(inputs, recipe, folder / "run", "all") == 0
    return folder / "run", recipe


def changed(before: Path, after: Path) -> set[str]:
    """Names of the weights that differ."""
    old, new = load_file(before / WEIGHTS), load_file(after / WEIGHTS)
    assert old.keys() == new.keys()
    return {name for name in old if not torch.equal(old[name], new[name])}


def test_stage_1_trains_the_controlnet_and_stage_2_what_decodes(
    trained: tuple[Path, Path],
) -> None:
    run, _ = trained
    start, stage1, stage2 = run / "start", run / "stage1" / "export", run / "stage2" / "export"
    assert changed(start / "unet", stage1 / "unet") == set()
    controlnet = changed(start / "controlnet", stage1 / "controlnet")
    assert {"condition_conv_in.weight", "controlnet_mid_block.weight"} <= controlnet
    decoder = changed(start / "vae", stage2)
    assert {name.partition(".")[0] for name in decoder} == {"decoder", "post_quant_conv"}


def test_export_upscales_and_holds_ccsr_and_v2(trained: tuple[Path, Path]) -> None:
    run, _ = trained
    picture = picture_from_array(pictures.coffee()[:20, :24])
    engine = load_engine(str(run / "model"))
    assert set(engine.info.variants) == {"ccsr", "v2"}
    for folder, variant in (
        (run / "model", "ccsr"),
        (run / "stage1" / "model", "v2"),
        (run / "stage2" / "model", "ccsr"),
    ):
        pipeline = CCSRPipeline.from_pretrained(folder)
        assert pipeline.config["variant"] == variant
        assert pipeline.config["working_size"] == 512
        pipeline.register_to_config(working_size=64)
        assert pipeline(picture, num_inference_steps=6).images[0].size == (96, 80)


def test_card_of_the_export_has_its_recipe_and_no_path(
    inputs: Path, trained: tuple[Path, Path]
) -> None:
    run, recipe = trained
    card = model_card(run / "model", "me/mine")
    implementation = load_recipe(recipe).implementation
    assert f'"implementation": "{implementation}"' in card
    assert "variants ccsr, v2" in card
    assert all(f"| {step} | `" in card for step in ("stage1", "stage2", "start"))
    for file in (run / "model").rglob("*.json"):
        assert str(inputs) not in file.read_text()


@pytest.mark.parametrize("step", ["stage1", "stage2"])
def test_interrupted_stage_ends_where_an_uninterrupted_one_does(
    step: str, inputs: Path, trained: tuple[Path, Path], tmp_path: Path
) -> None:
    whole, recipe = trained
    for folder in whole.iterdir():
        if folder.name not in (step, "model"):
            (tmp_path / folder.name).symlink_to(folder)
    origin = find_origin(str(inputs / "stable-diffusion"), tmp_path)
    run = Run(load_recipe(recipe), (Source(inputs / "pictures"),), tmp_path, origin)
    events = run_step(run, step, tmp_path / "model")
    next(events)
    events.close()
    assert not run.has(step)

    assert train(inputs, recipe, tmp_path, step) == 0

    for file in (whole / step / "export").rglob("*.safetensors"):
        expected, found = load_file(file), load_file(tmp_path / file.relative_to(whole))
        assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize("trained", ["sd21"], indirect=True)
@pytest.mark.parametrize("step", ["stage1", "stage2"])
def test_accumulation_and_gradient_checkpointing_change_no_losses(
    step: str, inputs: Path, trained: tuple[Path, Path], tmp_path: Path
) -> None:
    """Also in a run that goes on with other values of them than it began with.

    Stage 2 weighs the adversarial loss by the gradients of each micro-step, so that it is not the
    same with another number of them.
    """
    whole, recipe = trained
    run = tmp_path / "run"
    run.mkdir()
    for folder in whole.iterdir():
        if folder.name not in (step, "model"):
            (run / folder.name).symlink_to(folder)
    text, accumulation = recipe.read_text(), "gradient_accumulation_steps = 2"
    assert accumulation in text
    first, second = (tmp_path / name for name in ("first.toml", "second.toml"))
    second.write_text(text.replace(accumulation, f"{accumulation}\ngradient_checkpointing = true"))
    first.write_text(second.read_text().replace(accumulation, "") if step == "stage1" else text)
    origin = find_origin(str(inputs / "stable-diffusion"), run)
    sources = (Source(inputs / "pictures"),)
    events = run_step(Run(load_recipe(first), sources, run, origin), step, run / "model")
    next(events)
    events.close()
    assert train(inputs, second, run, step) == 0

    losses = [
        [json.loads(line)["losses"] for line in (r / step / "log.jsonl").read_text().splitlines()]
        for r in (run, whole)
    ]
    assert len(losses[1]) == 2
    for found, expected in zip(*losses, strict=True):
        assert found == pytest.approx(expected, rel=1e-4)


def test_v1_recipe_makes_a_model_of_v1_alone(inputs: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert train(inputs, small("sd21_v1", tmp_path), run, "all") == 0
    assert load_engine(str(run / "model")).info.variants == ("v1",)
    trained = run / "uniform" / "export"
    assert changed(run / "start" / "unet", trained / "unet") == set()
    assert changed(run / "start" / "controlnet", trained / "controlnet")


def test_recipe_without_networks_asks_for_a_model(
    inputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["all", "--data", str(inputs / "pictures"), "--run-folder", str(tmp_path / "run")]
    assert main([*arguments, "--recipe", str(small("sd21_v2", tmp_path))]) == 2
    assert "give one by --init" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_start_of_another_model_is_not_mixed_in(
    inputs: Path,
    trained: tuple[Path, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run, recipe = trained
    other = save_tiny_sd21(tmp_path / "other")
    assert train(inputs, recipe, run, "stage1", init=str(other)) == 2
    assert "start was made with other values of start" in capsys.readouterr().err


def test_step_that_the_recipe_lacks_is_refused(
    inputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(inputs, small("sd21_v2", tmp_path), tmp_path / "run", "stage2") == 2
    assert "has no step 'stage2'; its steps are pairs, stage1, export" in capsys.readouterr().err


def test_folder_of_something_else_is_refused_as_a_start(
    inputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = small("sd21", tmp_path)
    start = str(inputs / "pictures")
    assert train(inputs, recipe, tmp_path / "run", "stage1", init=start) == 2
    assert "is no folder of Stable Diffusion 2.1; missing: unet" in capsys.readouterr().err
