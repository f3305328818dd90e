"""Work stops within one module of a network."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch

from ccsr import stopping
from ccsr.config import SamplingConfig
from ccsr.images.color import aligner
from ccsr.images.picture import Picture, noise_picture
from ccsr.images.writing import save_png
from ccsr.inference.pipeline import CCSRPipeline
from ccsr.stopping import StopFlag, Stopped, check_stop, stop_between_modules, stoppable
from tests.tiny import tiny_pipeline

PICTURE = Picture(np.full((16, 24, 3), 0.5, np.float32))
CONFIG = SamplingConfig(num_steps=5)


class CountingFlag(StopFlag):
    """Set once it has been asked so often."""

    def __init__(self, most: float) -> None:
        super().__init__()
        self.asked, self.most = 0, most

    def is_set(self) -> bool:
        self.asked += 1
        return self.asked > self.most


@pytest.fixture(scope="module")
def pipeline() -> CCSRPipeline:
    return tiny_pipeline()


def test_nothing_stops_outside() -> None:
    check_stop()
    flag = StopFlag()
    flag.set("Over.")
    flag.set("Again.")
    assert flag.reason == "Over."
    with pytest.raises(Stopped), stoppable(flag):
        check_stop()
    check_stop()


def stages(pipeline: CCSRPipeline) -> dict[str, Callable[[], object]]:
    condition = pipeline.condition(PICTURE, CONFIG)
    latent = torch.zeros_like(condition.lr_latent)
    return {
        "condition": lambda: pipeline.condition(PICTURE, CONFIG),
        "restore": lambda: pipeline.restore(latent, PICTURE, CONFIG),
        "run": lambda: pipeline.upscale(PICTURE, CONFIG),
    }


@pytest.mark.parametrize("stage", ["condition", "restore", "run"])
def test_every_stage_stops_wherever_it_is(pipeline: CCSRPipeline, stage: str) -> None:
    work = stages(pipeline)[stage]
    whole = CountingFlag(float("inf"))
    with stoppable(whole):
        work()
    assert whole.asked > 20
    for most in np.linspace(0, whole.asked - 1, 7).astype(int):
        flag = CountingFlag(most)
        with pytest.raises(Stopped), stoppable(flag):
            work()
        assert flag.asked == most + 1


@pytest.mark.parametrize("bits", [8, 16])
def test_writing_a_picture_stops_between_two_blocks(bits: Literal[8, 16], tmp_path: Path) -> None:
    picture = replace(noise_picture(300), bits=bits)
    flag = CountingFlag(3)
    with pytest.raises(Stopped), stoppable(flag):
        save_png(tmp_path / "a.png", picture)
    assert flag.asked == 4
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("most", [0, 1])
def test_alignment_of_colours_stops_between_its_two_parts(most: int) -> None:
    picture = torch.rand(1, 3, 20, 20)
    with pytest.raises(Stopped), stoppable(CountingFlag(most)):
        aligner(picture, "adain-wavelet")(picture)
    with stoppable(CountingFlag(2)):
        aligner(picture, "adain-wavelet")(picture)


def test_a_stopped_run_can_be_made_again(pipeline: CCSRPipeline) -> None:
    expected = pipeline.upscale(PICTURE, CONFIG)[0].rgb
    with pytest.raises(Stopped), stoppable(CountingFlag(30)):
        pipeline.upscale(PICTURE, CONFIG)
    assert np.array_equal(pipeline.upscale(PICTURE, CONFIG)[0].rgb, expected)


def test_a_network_that_two_pipelines_share_asks_once_a_module(pipeline: CCSRPipeline) -> None:
    stop_between_modules(pipeline.unet)
    for module in pipeline.unet.modules():
        asking = [h for h in module._forward_pre_hooks.values() if h is stopping._check_before]
        assert len(asking) == 1
