"""What is refused before the work begins."""

import dataclasses
import importlib.util
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ccsr.config import EvaluationConfig, LoadingConfig
from ccsr.evaluation.comparison.manifest import Manifest, check_config
from ccsr.evaluation.comparison.methods import RestoredFolder, settings
from ccsr.evaluation.comparison.plan import Request, make_plan
from ccsr.evaluation.comparison.test_set import Dataset
from ccsr.images.picture import PictureError
from ccsr.inference.memory import OutOfMemoryError
from tests.unit.evaluation.comparison.pictures import write_hr


@pytest.fixture
def hr(tmp_path: Path) -> Path:
    return write_hr(tmp_path / "photos")


def request(
    hr: Path, *, lr: Path | None = None, restored: tuple[str, ...] = (), **config: object
) -> Request:
    values = {"metrics": "psnr", **config}
    output = hr.parent / "out"
    return Request((hr,), lr, output, restored, config=EvaluationConfig(**values))


def write_lr(folder: Path, hr: Path, divisor: int = 4) -> Path:
    folder.mkdir()
    for path in hr.iterdir():
        with Image.open(path) as image:
            image.reduce(divisor).save(folder / path.name)
    return folder


def test_plan_has_every_sample_and_method(hr: Path, tmp_path: Path) -> None:
    plan = make_plan(request(hr, degradation="bicubic,real-esrgan", seeds="3-5"))
    assert [t.name for t in plan.test_sets] == ["photos bicubic", "photos real-esrgan"]
    assert len(plan.samples) == 6
    assert [method.name for method in plan.methods] == ["Bicubic"]
    assert plan.seeds == (3, 4, 5)
    assert not (tmp_path / "out").exists()


def test_folder_called_hr_is_named_after_the_one_it_is_in(tmp_path: Path) -> None:
    hr = write_hr(tmp_path / "RealSR" / "hr")
    lr = write_lr(tmp_path / "RealSR" / "lr", hr)
    assert [t.name for t in make_plan(request(hr, lr=lr)).test_sets] == ["RealSR"]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"metrics": "psnr,nothing"}, "'nothing' is (no metric of this|a metric neither)"),
        ({"metrics": " , "}, "metrics is empty"),
        (
            {"degradation": "blur"},
            "degradation must be of real-esrgan, bsrgan, camera, bicubic, got",
        ),
        ({"baselines": "best"}, "baselines must be of none, bicubic"),
        ({"baselines": "none"}, "there is no method"),
        ({"seeds": "9-0"}, "seeds must rise"),
    ],
)
def test_bad_option_is_refused(hr: Path, config: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_plan(request(hr, **config))


def test_empty_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no pictures"):
        make_plan(request(tmp_path / "empty"))


def test_lr_of_another_size_is_refused(hr: Path, tmp_path: Path) -> None:
    with pytest.raises(PictureError, match=r"is 32x32 pixels and .* is 64x64; LR must be 1/4"):
        make_plan(request(hr, lr=write_lr(tmp_path / "lr", hr, 2)))


def test_lr_that_is_missing_is_refused(hr: Path, tmp_path: Path) -> None:
    lr = write_lr(tmp_path / "lr", hr)
    (lr / "picture1.png").unlink()
    with pytest.raises(ValueError, match="has no picture called picture1"):
        make_plan(request(hr, lr=lr))


def test_two_pictures_of_one_name_are_refused(hr: Path) -> None:
    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(hr / "picture1.jpg")
    with pytest.raises(ValueError, match="the same name but for their suffix"):
        make_plan(request(hr))


def test_hr_is_cut_to_whole_multiples_of_the_scale(tmp_path: Path) -> None:
    hr = write_hr(tmp_path / "hr", 1, side=67)
    (sample,) = Dataset("set", hr, "bicubic", 4).check()
    pair = sample.load()
    assert pair.hr.shape == (64, 64, 3)
    assert pair.lr.size == (16, 16)


def test_degradation_of_a_picture_is_always_the_same(hr: Path) -> None:
    first, *_ = Dataset("set", hr, "real-esrgan", 4).check()
    np.testing.assert_array_equal(first.load().lr.rgb, first.load().lr.rgb)


class TestRestoredFolders:
    def test_single_results_are_one_seed(self, hr: Path) -> None:
        assert make_plan(request(hr, restored=(f"Same={hr}",))).methods[1].seeds((7, 8)) == (0,)

    def test_samples_are_seeds(self, hr: Path, tmp_path: Path) -> None:
        for number in (0, 1, 10):
            write_hr(tmp_path / "seeds" / f"sample{number}")
        method = make_plan(request(hr, restored=(f"Seeds={tmp_path / 'seeds'}",))).methods[1]
        assert method.seeds((7, 8)) == (0, 1, 10)

    def test_holes_are_refused(self, hr: Path, tmp_path: Path) -> None:
        folder = write_hr(tmp_path / "holes", 2)
        with pytest.raises(ValueError, match=r"Holes lacks 1 results in .*, such as picture2"):
            make_plan(request(hr, restored=(f"Holes={folder}",)))

    @pytest.mark.parametrize("text", ["NAME", "=DIR", "NAME="])
    def test_other_forms_are_refused(self, hr: Path, text: str) -> None:
        with pytest.raises(ValueError, match="--restored must look like NAME=DIR"):
            make_plan(request(hr, restored=(text,)))

    def test_missing_folder_is_refused(self, hr: Path) -> None:
        with pytest.raises(ValueError, match="there is no folder nowhere for X"):
            make_plan(request(hr, restored=("X=nowhere",)))

    def test_names_are_used_once(self, hr: Path) -> None:
        with pytest.raises(ValueError, match="two methods are called Bicubic and bicubic"):
            make_plan(request(hr, restored=(f"bicubic={hr}",)))

    def test_result_is_read_as_it_was_written(self, hr: Path) -> None:
        (sample, *_) = Dataset("set", hr, "bicubic", 4).check()
        pair = sample.load()
        np.testing.assert_array_equal(RestoredFolder("x", hr).restore(sample, pair.lr, 0), pair.hr)


def test_disk_without_room_is_refused(
    hr: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three pictures of 64x64 take 36,864 bytes; what is there already needs no room."""
    usage = type("Usage", (), {"free": 30_000})
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage)
    make_plan(request(hr))
    with pytest.raises(OSError, match=r"the results may take 0\.0 MB, and .* has 0\.0 MB free"):
        make_plan(request(hr, keep_pictures=True))
    write_hr(tmp_path / "out" / "pictures" / "photos-bicubic" / "Bicubic" / "sample0", 1)
    make_plan(request(hr, keep_pictures=True))


def test_memory_that_is_too_little_to_score_in_is_refused_before_the_model_loads(hr: Path) -> None:
    loading = LoadingConfig(max_memory=0.001)
    wanted = dataclasses.replace(request(hr, metrics="lpips"), model="absent", loading=loading)
    with pytest.raises(OutOfMemoryError, match=r"scoring 64x64 pixels by lpips .* max_memory is"):
        make_plan(wanted)


def test_results_of_another_config_are_refused(hr: Path, tmp_path: Path) -> None:
    first = make_plan(request(hr, seeds="0-1")).manifest_config()
    Manifest(tmp_path / "out", 0, first).close()
    check_config(tmp_path / "out", first)
    second = make_plan(request(hr, seeds="0-2", convention="osediff")).manifest_config()
    with pytest.raises(ValueError, match="results of other values of convention, seeds"):
        check_config(tmp_path / "out", second)


def test_fid_of_a_part_of_a_folder_is_refused(hr: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = types.ModuleType("pyiqa")
    fake.__spec__ = importlib.util.spec_from_loader("pyiqa", None)
    fake.list_models = lambda: ["fid"]  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pyiqa", fake)
    plan = make_plan(request(hr, metrics="psnr,fid"))
    assert plan.keeps_pictures
    with pytest.raises(ValueError, match="fid compares whole folders"):
        make_plan(request(hr, metrics="psnr,fid", limit=2))


def test_settings_are_variants_with_the_first_preset_and_presets_of_the_first_variant() -> None:
    from ccsr.config import SamplingConfig

    labels = [s.label for s in settings(("ccsr", "v2"), ("ccsr", "a1", "fast"), SamplingConfig())]
    assert labels == ["CCSR", "V2", "A1", "Fast"]


def test_a_preset_that_is_unknown_is_refused_before_the_model_loads(hr: Path) -> None:
    with pytest.raises(ValueError, match="preset must be of ccsr, a1"):
        make_plan(dataclasses.replace(request(hr, preset="a9"), model="no such model"))


def test_published_rows_are_chosen_by_name(hr: Path) -> None:
    base = request(hr, degradation="bicubic,bsrgan")
    plan = make_plan(Request(**vars(base) | {"published": ("photos bicubic=DIV2K",)}))
    assert plan.published == {"photos bicubic": "DIV2K"}
    with pytest.raises(ValueError, match="the paper publishes DIV2K-StableSR"):
        make_plan(Request(**vars(base) | {"published": ("Set5",)}))
