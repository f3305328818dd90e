"""What the benchmark prints; how long things take is for people to read."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from ccsr import benchmark
from ccsr.config import SamplingConfig
from ccsr.images.picture import noise_picture
from ccsr.models.sd21 import unet_config, vae_config
from tests.tiny import save_tiny_model, tiny_pipeline


def test_parts_of_a_run_add_up_and_none_is_empty() -> None:
    pipeline = tiny_pipeline("kl", attention=True)
    parts = benchmark.parts_of_a_run(pipeline, noise_picture(16), SamplingConfig())
    assert tuple(parts) == benchmark.PARTS
    assert min(parts.values()) > 0
    assert "forward" not in vars(pipeline.unet)


@pytest.mark.skipif(sys.platform == "win32", reason="it does not tell of peak memory")
def test_full_size_tells_of_parameters_memory_and_every_part(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    narrow = benchmark.random_pipeline(torch.float32, channels=32, vae_channels=32)
    narrow.register_to_config(working_size=0)
    monkeypatch.setattr(benchmark, "random_pipeline", lambda dtype: narrow)
    benchmark.print_full_size("float32", side=16)
    printed = capsys.readouterr().out
    assert re.search(r"cpu float32: \d+ M parameters loaded \([\d.]+ GB\), peak memory", printed)
    assert all(re.search(rf"^{part} +[\d.]+ s", printed, re.MULTILINE) for part in benchmark.PARTS)


@pytest.mark.skipif(sys.platform == "win32", reason="it does not tell of peak memory")
def test_large_tells_of_memory_and_time(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    benchmark.print_large(str(save_tiny_model(tmp_path)), side=20)
    printed = capsys.readouterr().out
    pattern = r"80x80, cpu \w+: peak memory [\d.]+ GB, [\d.]+ s, [\d.]+ s a megapixel"
    assert re.fullmatch(pattern, printed.strip())


def test_missing_model_gives_one_line_and_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert benchmark.main(["--model", "no model"]) == 2
    assert capsys.readouterr().err.startswith("error: 'no model' is neither a folder here nor")


def test_random_weights_give_finite_pictures() -> None:
    pipeline = benchmark.random_pipeline(torch.bfloat16, channels=32, vae_channels=32)
    assert pipeline.config["working_size"] == 512
    pipeline.register_to_config(working_size=0)
    (result,) = pipeline.upscale(noise_picture(16), SamplingConfig(num_steps=3))
    assert np.isfinite(result.rgb).all()
    assert result.size == (64, 64)


def test_full_size_has_the_parameters_of_stable_diffusion_2() -> None:
    assert unet_config()["block_out_channels"] == (320, 640, 1280, 1280)
    assert unet_config()["attention_head_dim"] == (5, 10, 20, 20)
    assert vae_config()["block_out_channels"] == (128, 256, 512, 512)
