from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data
from torch import nn

from ccsr.evaluation.metrics import psnr
from ccsr.models.residual_branches import switched_off
from tests.tiny import save_tiny_model, tiny_pipeline
from training.ablation import BlockWorth, block_worths, centre_pairs, main


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    folder = tmp_path / "photographs"
    folder.mkdir()
    Image.fromarray(data.coffee()[100:190, 200:290]).save(folder / "a.png")
    return folder


def test_pair_is_the_centre_crop_and_its_reduction(photographs: Path) -> None:
    (pair,) = centre_pairs([photographs / "a.png"], 64)
    np.testing.assert_allclose(pair.hr, data.coffee()[113:177, 213:277] / 255, atol=1e-6)
    assert pair.lr.size == (16, 16)
    assert abs(pair.lr.rgb.mean() - pair.hr.mean()) < 0.01


def test_worth_is_what_is_lost_without_a_block(photographs: Path) -> None:
    pipeline = tiny_pipeline()
    pairs = centre_pairs([photographs / "a.png"], 64)
    # A block that adds nothing, and one that adds much.
    first, second = pipeline.vae.decoder.levels[0][0], pipeline.vae.decoder.levels[1][0]
    nn.init.zeros_(first.conv2.weight)
    nn.init.zeros_(first.conv2.bias)
    nn.init.constant_(second.conv2.bias, 1.0)
    worths = {worth.name: worth for worth in block_worths(pipeline, pairs)}
    idle, busy = worths["vae.decoder.levels.0.0"], worths["vae.decoder.levels.1.0"]
    assert (idle.share, idle.psnr, idle.lpips) == (0, 0, 0)
    with switched_off(second):
        without = psnr(pipeline.upscale(pairs[0].lr)[0].rgb, pairs[0].hr)
    whole = psnr(pipeline.upscale(pairs[0].lr)[0].rgb, pairs[0].hr)
    assert busy.psnr == pytest.approx(whole - without)
    assert busy.share > 0.2
    assert {name.split(".")[0] for name in worths} == {"vae", "controlnet", "unet"}


@pytest.mark.parametrize(
    ("lost_psnr", "gained_lpips", "worth"),
    [(0.1, 0, True), (0, 0.002, True), (0.09, 0.0019, False), (-0.3, 0.003, True)],
)
def test_block_is_worth_its_time_by_either_measure(
    lost_psnr: float, gained_lpips: float, worth: bool
) -> None:
    assert BlockWorth("", 0.1, lost_psnr, gained_lpips).is_worth_its_time is worth


def test_command_prints_a_line_a_block(
    photographs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = save_tiny_model(tmp_path / "model")
    assert main(["--model", str(model), "--data", str(photographs), "--crop", "64"]) == 0
    title, *lines = capsys.readouterr().out.splitlines()
    assert title.split() == ["block", "share", "dB", "LPIPS"]
    assert len(lines) > 10
    assert all(float(line.split()[1].rstrip("%")) >= 0 for line in lines)


def test_picture_that_is_too_small_is_named(
    photographs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--data", str(photographs), "--crop", "128"]) == 2
    assert "a.png has a side below 128 pixels" in capsys.readouterr().err
