import json
from pathlib import Path

import numpy as np
import pytest

from ccsr.config import SamplingConfig
from ccsr.evaluation.metrics import BORDER
from ccsr.evaluation.report import REPORT_FILES, settings_text, write_report
from ccsr.evaluation.stability import (
    PixelStatistics,
    StabilityReport,
    blend_with_mean,
    score_statistics,
)
from ccsr.images.reading import load_picture
from ccsr.inference.events import ModelInfo


def pictures(count: int, height: int = 20, width: int = 24) -> np.ndarray:
    return np.random.default_rng(0).random((count, height, width, 3)).astype(np.float32)


def report_of(stack: np.ndarray, scores: bool = False) -> StabilityReport:
    report = StabilityReport(SamplingConfig())
    for seed, rgb in enumerate(stack):
        report.add(seed, rgb, {"psnr": 20.0 + seed} if scores else None)
    return report


def test_l_std_is_the_mean_of_population_deviations_inside_the_border() -> None:
    """CCSR Eq. (5), as numpy computes it over all pictures at once."""
    stack = pictures(7)
    inner = stack[:, BORDER:-BORDER, BORDER:-BORDER].astype(np.float64)
    report = report_of(stack)
    assert report.pixels.l_std == pytest.approx(inner.std(axis=0).mean(), rel=1e-9)
    np.testing.assert_allclose(
        report.pixels.l_std_map, stack.astype(np.float64).std(axis=0).mean(2), rtol=1e-6
    )
    np.testing.assert_allclose(report.pixels.mean, stack.mean(0), atol=1e-6)


def test_large_statistics_lie_in_files_and_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    stack = pictures(4)
    expected = report_of(stack).pixels
    monkeypatch.setattr("ccsr.inference.memory.SPILL_BYTES", 1)
    found = report_of(stack).pixels
    assert isinstance(found.mean, np.memmap)
    np.testing.assert_array_equal(found.mean, expected.mean)
    np.testing.assert_array_equal(found.l_std_map, expected.l_std_map)


def test_two_results_a_constant_apart_deviate_by_half_of_it() -> None:
    one = np.full((20, 20, 3), 0.5, np.float32)
    assert report_of(np.stack([one, one + 0.1])).pixels.l_std == pytest.approx(0.05, rel=1e-5)


def test_equal_results_do_not_deviate() -> None:
    one = pictures(1)[0]
    assert report_of(np.stack([one] * 5)).pixels.l_std == pytest.approx(0, abs=1e-12)


def test_border_does_not_count() -> None:
    stack = np.zeros((2, 20, 20, 3), np.float32)
    stack[1, :BORDER] = 1
    stack[1, :, -BORDER:] = 1
    assert report_of(stack).pixels.l_std == 0
    assert report_of(stack).pixels.l_std_map.max() == 0.5


def test_statistics_are_as_good_far_from_zero() -> None:
    stack = 1e6 + pictures(5).astype(np.float64)
    statistics = PixelStatistics()
    for rgb in stack:
        statistics.add(rgb)
    np.testing.assert_allclose(statistics.l_std_map, stack.std(0).mean(2), rtol=1e-6)


def test_results_of_another_size_are_refused() -> None:
    report = report_of(pictures(1))
    with pytest.raises(ValueError, match="shape"):
        report.add(1, pictures(1, 21)[0])


def test_statistics_of_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="no picture"):
        _ = PixelStatistics().mean
    with pytest.raises(ValueError, match="no picture"):
        _ = PixelStatistics().l_std_map


def test_g_std_is_the_population_deviation_of_the_scores() -> None:
    """CCSR Eq. (4) for one picture."""
    statistics = score_statistics([1.0, 2.0, 4.0])
    assert statistics.mean == pytest.approx(7 / 3)
    assert statistics.g_std == pytest.approx(np.std([1.0, 2.0, 4.0]))
    assert statistics.per_seed == (1.0, 2.0, 4.0)


def test_report_grows_seed_by_seed() -> None:
    stack = pictures(4)
    report = report_of(stack)
    expected = [report_of(stack[:n]).pixels.l_std for n in range(1, 5)]
    assert report.l_std_by_count == pytest.approx(expected)
    assert report.seeds == [0, 1, 2, 3]


def test_files_of_a_report_say_what_it_says(tmp_path: Path) -> None:
    report = report_of(pictures(3, 60, 50), scores=True)
    paths = write_report(tmp_path, report)
    assert [path.name for path in paths] == list(REPORT_FILES)
    figures = json.loads(paths[3].read_text())
    assert figures["l_std"] == report.pixels.l_std
    assert figures["seeds"] == [0, 1, 2]
    assert figures["config"]["t_max"] == SamplingConfig().t_max
    assert figures["metrics"]["psnr"]["per_seed"] == [20, 21, 22]
    assert figures["metrics"]["psnr"]["g_std"] == pytest.approx(np.std([20, 21, 22]))
    numbers = np.load(paths[2])
    np.testing.assert_allclose(numbers, report.pixels.l_std_map, rtol=1e-6)
    mean = load_picture(paths[0])
    np.testing.assert_allclose(mean.rgb, report.pixels.mean, atol=0.51 / 255)


def test_report_overwrites_nothing(tmp_path: Path) -> None:
    report = report_of(pictures(2, 60, 50))
    (tmp_path / "l_std.npy").write_bytes(b"mine")
    with pytest.raises(FileExistsError, match="would be overwritten"):
        write_report(tmp_path, report)
    assert [p.name for p in tmp_path.iterdir()] == ["l_std.npy"]
    assert (tmp_path / "l_std.npy").read_bytes() == b"mine"


def test_settings_in_a_picture_make_it_again(tmp_path: Path) -> None:
    info = ModelInfo("compact", ("ccsr",), "cpu", "float32", "none", 1)
    config = SamplingConfig(t_max=0.8, color="wavelet")
    settings = json.loads(settings_text(config, 7, info)["ccsr"])
    assert (settings.pop("model"), settings.pop("seed")) == ("compact", 7)
    assert SamplingConfig(**settings) == config


def test_agreement_keeps_what_is_stable_and_takes_the_mean_elsewhere() -> None:
    rng = np.random.default_rng(0)
    rgb, mean = rng.random((2, 20, 40, 3))
    l_std_map = np.full((20, 40), 0.001)
    l_std_map[:, 20:] = 0.1
    result = blend_with_mean(rgb, mean, l_std_map, threshold=0.01)
    np.testing.assert_allclose(result.rgb[:, :14], rgb[:, :14], atol=1e-4)
    np.testing.assert_allclose(result.rgb[:, 26:], mean[:, 26:], atol=1e-4)
    assert result.share == pytest.approx(0.5, abs=0.01)


def test_agreement_goes_from_the_mean_to_the_seed_as_the_threshold_rises() -> None:
    rng = np.random.default_rng(0)
    rgb, mean, l_std_map = rng.random((30, 30, 3)), rng.random((30, 30, 3)), rng.random((30, 30))
    results = [
        blend_with_mean(rgb, mean, l_std_map, threshold) for threshold in (0, 0.2, 0.5, 0.8, 1)
    ]
    shares = [result.share for result in results]
    assert shares == sorted(shares, reverse=True)
    assert (shares[0], shares[-1]) == (1, 0)
    np.testing.assert_allclose(results[0].rgb, mean, atol=1e-6)
    np.testing.assert_allclose(results[-1].rgb, rgb, atol=1e-6)


def test_agreement_below_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 0, got -1"):
        blend_with_mean(np.zeros((4, 4, 3)), np.zeros((4, 4, 3)), np.zeros((4, 4)), -1)


def test_the_mean_and_the_map_keep_the_transparency_of_the_results(tmp_path: Path) -> None:
    report = StabilityReport(SamplingConfig())
    alpha = np.ones((300, 300), np.float32)
    alpha[:100, :200] = 0
    for seed, pixels in enumerate(pictures(2, 300, 300)):
        report.add(seed, pixels, alpha=alpha)
    mean, l_std, *_ = (load_picture(p) for p in write_report(tmp_path, report)[:2])
    for found in (mean.alpha, l_std.alpha):
        assert found is not None
        np.testing.assert_array_equal(found[:300], alpha)
        assert found[300:].all()
