"""What the loupes show is transparent where the results are."""

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ccsr.config import SamplingConfig
from ccsr.ui import fitting
from ccsr.ui.loupe import View, map_view
from ccsr.ui.sessions import open_picture
from ccsr.ui.tab_run import Job
from ccsr.ui.tabs import alternatives, errors, seeds, upscale, variants
from tests.fakes import FakeEngine

SIDE = 64
CONFIG = SamplingConfig(scale=1.0)


@pytest.fixture
def picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A picture whose left half is transparent, with noise everywhere."""
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "served"))
    levels = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 4), np.uint8)
    levels[..., 3] = 255
    levels[:, : SIDE // 2, 3] = 0
    Image.fromarray(levels).save(tmp_path / "half.png")
    return str(tmp_path / "half.png")


def expect_half_transparent(views: tuple[View, ...]) -> None:
    for view in views:
        with Image.open(view.file) as image:
            alpha = np.asarray(image.convert("RGBA"))[..., 3]
        assert alpha[:, : SIDE // 2 - 4].max() == 0, view.name
        assert alpha[:, SIDE // 2 + 4 :].min() == 255, view.name


def test_maps_and_components_of_seeds(picture: str) -> None:
    engine = FakeEngine()
    job = Job(engine, open_picture(engine, picture), (CONFIG, [0, 1, 2]))
    *_, run = (event for event in seeds.run_seeds(job) if isinstance(event, seeds.SeedRun))
    run = seeds.packed(run)
    expect_half_transparent(run.maps)
    expect_half_transparent(
        errors._views(run, errors._read(run.mean), "Error", np.ones((64, 64))).views
    )
    moved = alternatives._moved(run, 1.0, 0.0, 0.0)
    assert moved is not None
    expect_half_transparent(moved.views)


def test_maps_of_variants(picture: str) -> None:
    engine = FakeEngine()
    configs = [CONFIG.replace(variant=variant) for variant in ("v1", "ccsr")]
    job = Job(engine, open_picture(engine, picture), (configs, [0, 1]))
    *_, made = (e for e in variants.compare_variants(job) if isinstance(e, variants.Ablation))
    assert made.bicubic is not None
    expect_half_transparent((*made.maps, View("Bicubic", made.bicubic)))


def test_a_result_of_another_program(picture: str, tmp_path: Path) -> None:
    engine = FakeEngine()
    job = Job(engine, open_picture(engine, picture), (CONFIG, 0))
    *_, made = (e for e in upscale.upscale(job) if isinstance(e, upscale.Upscaled))
    brought = Path(shutil.copy(picture, tmp_path / "other.png"))
    compared, _ = upscale._bring(made, str(brought))
    assert [view.name for view in compared.others] == ["other (yours)"]
    expect_half_transparent(compared.others)


@dataclasses.dataclass
class Marked:
    """What the browser sends of a part that is cut out."""

    left: int = 8
    top: int = 0
    width: int = SIDE - 16
    height: int = SIDE // 2


def test_a_part_that_is_cut_out(picture: str) -> None:
    with Image.open(picture) as whole:
        expected = np.asarray(whole)[: SIDE // 2, 8 : SIDE - 8, 3]
    path, _ = fitting._cut(picture, Marked())
    with Image.open(path) as part:
        np.testing.assert_array_equal(np.asarray(part.convert("RGBA"))[..., 3], expected)


def test_values_of_a_map_are_read_wherever_anything_is_seen(tmp_path: Path) -> None:
    """A browser changes the colours of what is half transparent."""
    values, alpha = np.full((1, 3), 0.5), np.array([[0.0, 0.3, 1.0]])
    view = map_view("L-STD", tmp_path / "map.png", values, 1.0, alpha)
    with Image.open(view.file) as image:
        assert image.mode == "RGBA"
        assert np.asarray(image)[0, :, 3].tolist() == [0, 255, 255]
