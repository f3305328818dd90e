"""What the weights that ship must keep, whichever they are."""

from collections.abc import Iterator, Mapping

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from skimage import data as pictures
from skimage.transform import resize

from ccsr.config import SamplingConfig, Variant
from ccsr.images.picture import Picture, picture_from_array
from ccsr.inference.hub import COMPACT_FOLDER
from ccsr.inference.pipeline import CCSRPipeline
from ccsr.models.residual_branches import BranchStatistics, recorded_branches

pytestmark = pytest.mark.e2e

SIDE = 48


@pytest.fixture(scope="module")
def photograph() -> Picture:
    crop = resize(pictures.coffee()[100:340, 200:440], (SIDE, SIDE), anti_aliasing=True)
    return picture_from_array((255 * crop).round().astype(np.uint8))


def pipeline_of(variant: Variant, dtype: torch.dtype = torch.float32) -> CCSRPipeline:
    return CCSRPipeline.from_pretrained(COMPACT_FOLDER, sr_variant=variant, dtype=dtype)


@pytest.fixture(scope="module", params=["v1", "v2", "ccsr"])
def branches(request: pytest.FixtureRequest, photograph: Picture) -> Mapping[str, BranchStatistics]:
    pipeline = pipeline_of(request.param)
    found: dict[str, BranchStatistics] = {}
    for name in ("vae", "controlnet", "unet"):
        with recorded_branches(getattr(pipeline, name)) as statistics:
            pipeline.upscale(photograph)
        found |= {f"{name}.{block}": value for block, value in statistics.items()}
    return found


def test_every_residual_block_adds_to_its_stream(branches: Mapping[str, BranchStatistics]) -> None:
    assert len(branches) > 20
    idle = {name: value.share for name, value in branches.items() if value.share < 0.05}
    assert not idle


def test_activations_are_far_below_the_range_of_float16(
    branches: Mapping[str, BranchStatistics],
) -> None:
    assert max(value.peak for value in branches.values()) < 1000


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_agrees_with_float32(photograph: Picture, dtype: torch.dtype) -> None:
    half, single = (
        pipeline_of("ccsr", kind).upscale(photograph)[0].rgb for kind in (dtype, torch.float32)
    )
    assert 10 * np.log10(1 / np.square(half - single).mean()) > 40


def levels_apart(first: Picture, second: Picture) -> float:
    """The largest difference of two results, in grey levels of 8 bits."""
    return float(255 * np.abs(first.rgb - second.rgb).max())


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("threads")
def test_a_seed_gives_one_picture_with_any_threads_and_company(photograph: Picture) -> None:
    config = SamplingConfig(num_steps=4)
    torch.set_num_threads(1)
    pipeline = pipeline_of("ccsr")
    alone = pipeline.upscale(photograph, config, seeds=(1,))[0]
    other, among_others = pipeline.upscale(photograph, config, seeds=(0, 1))
    torch.set_num_threads(2)
    loaded_again = pipeline_of("ccsr").upscale(photograph, config, seeds=(1,))[0]
    assert levels_apart(alone, among_others) <= 1
    assert levels_apart(alone, loaded_again) <= 1
    assert levels_apart(alone, other) > 1


def contrast(sr: np.ndarray, reference: np.ndarray) -> float:
    """Slope of the low frequencies of sr [H,W,3] over those of a reference of the same size."""
    low_sr, low = (
        gaussian_filter(x.astype(np.float64), (8, 8, 0))[16:-16, 16:-16] for x in (sr, reference)
    )
    centred = low - low.mean((0, 1))
    return float((centred * low_sr).sum() / np.square(centred).sum())


@pytest.mark.parametrize("variant", ["v2", "ccsr"])
def test_contrast_is_that_of_the_input_at_any_size(variant: Variant) -> None:
    """Zero padding and GroupNorm let a network see how large a picture is."""
    pipeline, found = pipeline_of(variant, torch.bfloat16), []
    config = SamplingConfig(color="none", t_max=0.6667, t_min=0.6667)
    for side in (64, 96, 160):
        crop = resize(pictures.astronaut()[:480, :480], (side, side), anti_aliasing=True)
        lr = crop.astype(np.float32)
        sr = pipeline.upscale(Picture(lr), config)[0].rgb
        found.append(contrast(sr, resize(lr, sr.shape[:2], order=3)))
    assert found == pytest.approx([1, 1, 1], abs=0.06)


FLAT = {
    "red": (200, 30, 30),
    "sky": (120, 170, 230),
    "skin": (220, 175, 150),
    "night": (16, 18, 30),
    "white": (255, 255, 255),
    "black": (0, 0, 0),
}


def periodic_part(x: np.ndarray, period: int) -> float:
    """Standard deviation of what repeats every `period` pixels along both sides of x [H,W,3]."""
    height, width = (side // period * period for side in x.shape[:2])
    blocks = x[:height, :width].reshape(height // period, period, width // period, period, 3)
    return float(blocks.mean((0, 2)).std((0, 1)).max())


@pytest.mark.parametrize("color", FLAT.values(), ids=FLAT)
def test_a_flat_field_stays_flat_and_keeps_its_colour(color: tuple[int, int, int]) -> None:
    """In grey levels of 8 bits, up to the sides: there zero padding left traces of 18 levels."""
    flat = picture_from_array(np.full((SIDE, SIDE, 3), color, np.uint8))
    sr = 255 * pipeline_of("ccsr", torch.bfloat16).upscale(flat)[0].rgb.astype(np.float64)
    assert np.abs(sr.mean((0, 1)) - color).max() < 0.5
    assert np.abs(sr - color).max() < 5
    if min(color) == max(color):
        # White and black.
        assert np.abs(sr - color).max() < 2
    inner = sr[24:-24, 24:-24]
    assert (sr - gaussian_filter(sr, (6, 6, 0)))[24:-24, 24:-24].std() < 0.4
    for period in (2, 4, 8):
        assert periodic_part(inner, period) < 0.3
