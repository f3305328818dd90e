"""Scores by convention, against values that IQA-PyTorch 0.1.16 gives for the same pictures."""

import importlib.util
import sys
import types

import numpy as np
import pytest
import torch
from skimage import data

from ccsr.evaluation.comparison.scores import Distance, Score, Scorer, make_scorer
from ccsr.evaluation.metrics import LPIPS, lpips, psnr, sharpness, ssim, ssim_8_bit
from ccsr.evaluation.niqe import niqe

CPU = torch.device("cpu")
NIQES = {"astronaut": 3.062388, "coffee": 4.061590, "chelsea": 2.572079}
"""By IQA-PyTorch with the same pristine parameters."""


@pytest.fixture(scope="module")
def pair() -> tuple[np.ndarray, np.ndarray]:
    """A picture of paler colours with faint stripes, and the true one."""
    hr = data.astronaut()[100:292, 150:342].astype(np.float32) / 255
    stripes = 0.03 * np.sin(np.arange(192)[None, :, None] / 3)
    sr = np.round((0.9 * hr + 0.05 + stripes) * 255).clip(0, 255).astype(np.float32) / 255
    return sr, hr


def test_psnr_and_ssim_are_those_of_iqa_pytorch(pair: tuple[np.ndarray, np.ndarray]) -> None:
    assert psnr(*pair) == pytest.approx(29.58135, abs=3e-3)
    assert ssim_8_bit(*pair) == pytest.approx(0.94132761, abs=1e-6)


@pytest.mark.parametrize("score", [psnr, ssim, ssim_8_bit, lambda sr, _: sharpness(sr)])
def test_score_of_bands_is_that_of_the_whole(
    score: Score, pair: tuple[np.ndarray, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = score(*pair)
    monkeypatch.setattr("ccsr.evaluation.metrics.BAND", 50)
    assert score(*pair) == pytest.approx(whole, abs=1e-6)


def test_distances_in_tiles_are_those_of_the_whole(pair: tuple[np.ndarray, np.ndarray]) -> None:
    (name,) = names = ("lpips",)
    whole, in_tiles = (make_scorer(names, "paper", CPU, tile)(*pair) for tile in (1024, 128))
    assert in_tiles[name] == pytest.approx(whole[name], abs=1e-6)


def test_structure_term_is_not_below_zero() -> None:
    """For a negative the structure is -1 nearly everywhere; the mean then rests on no window."""
    hr = data.astronaut()[:64, 160:224].astype(np.float32) / 255
    assert ssim(1 - hr, hr) < 0
    assert ssim_8_bit(1 - hr, hr) >= 0


@pytest.mark.parametrize("name", NIQES)
def test_niqe_is_that_of_iqa_pytorch(name: str) -> None:
    picture = getattr(data, name)().astype(np.float32) / 255
    assert niqe(picture) == pytest.approx(NIQES[name], rel=2e-3)


def test_perceptual_distances_do_not_move(pair: tuple[np.ndarray, np.ndarray]) -> None:
    """Recorded while five official pairs and 25 published scores were met within 1e-4."""
    scores = make_scorer(("lpips", "dists"), "osediff", CPU)(*pair)
    assert scores["lpips"] == pytest.approx(0.034924, abs=1e-4)
    if "dists" in scores:
        assert scores["dists"] == pytest.approx(0.139351, abs=1e-4)


def test_features_of_the_true_picture_are_made_once(pair: tuple[np.ndarray, np.ndarray]) -> None:
    sr, hr = pair
    distance = Distance(LPIPS.alex(), CPU)
    made: list[int] = []
    features = distance.network.features
    distance.network.features = lambda x: made.append(1) or features(x)  # type: ignore[method-assign]
    others = [np.roll(sr, shift, 0) for shift in (0, 1, 2)]
    found = [distance(other, hr[4:-4, 4:-4]) for other in (x[4:-4, 4:-4] for x in others)]
    assert len(made) == 1 + 3
    assert found == pytest.approx([lpips(x[4:-4, 4:-4], hr[4:-4, 4:-4]) for x in others])
    # Another picture, of the same size.
    assert distance(sr, hr) == pytest.approx(lpips(sr, hr))
    assert distance(hr, sr) == pytest.approx(lpips(hr, sr))
    assert distance(sr, sr) == 0


def framed(picture: np.ndarray) -> np.ndarray:
    changed = picture.copy()
    changed[:4] = changed[-4:] = changed[:, :4] = changed[:, -4:] = 0
    return changed


def test_only_the_paper_leaves_out_a_border(pair: tuple[np.ndarray, np.ndarray]) -> None:
    _, hr = pair
    names = ("psnr", "ssim", "lpips")
    assert make_scorer(names, "paper", CPU)(framed(hr), hr)["psnr"] == np.inf
    assert make_scorer(names, "osediff", CPU)(framed(hr), hr)["psnr"] < 30


def test_niqe_is_left_out_where_there_are_too_few_blocks(
    pair: tuple[np.ndarray, np.ndarray],
) -> None:
    assert set(make_scorer(("psnr", "niqe"), "osediff", CPU)(*pair)) == {"psnr", "niqe"}
    assert set(make_scorer(("psnr", "niqe"), "paper", CPU)(*pair)) == {"psnr"}


def test_pictures_of_two_sizes_are_refused(pair: tuple[np.ndarray, np.ndarray]) -> None:
    sr, hr = pair
    with pytest.raises(ValueError, match="the result is 192x100 pixels, and the true picture"):
        make_scorer(("psnr",), "paper", CPU)(sr[:100], hr)


def without(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: None if name == package else real(name)
    )


def test_metric_that_needs_pyiqa_is_said_to_and_others_are_measured(
    pair: tuple[np.ndarray, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    without(monkeypatch, "pyiqa")
    scorer = make_scorer(("psnr", "musiq"), "paper", CPU)
    assert set(scorer(*pair)) == {"psnr"}
    assert scorer.notes == (
        "musiq is not measured: it needs pyiqa; pip install -r requirements-eval.txt",
    )


def test_unknown_metric_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, "pyiqa")
    with pytest.raises(ValueError, match="'psrn' is no metric of this program"):
        make_scorer(("psrn",), "paper", CPU)


def test_unknown_convention_is_refused() -> None:
    with pytest.raises(ValueError, match="one of paper, osediff, got 'mine'"):
        make_scorer(("psnr",), "mine", CPU)


class FakeMetric:
    lower_better, metric_mode = True, "FR"

    def __call__(self, sr: torch.Tensor, hr: torch.Tensor) -> torch.Tensor:
        return (sr - hr).abs().mean()


def scorer_with_pyiqa(monkeypatch: pytest.MonkeyPatch, *names: str) -> Scorer:
    fake = types.ModuleType("pyiqa")
    fake.__spec__ = importlib.util.spec_from_loader("pyiqa", None)
    fake.list_models = lambda: ["l1", "fid"]  # type: ignore[attr-defined]
    fake.create_metric = lambda _, **__: FakeMetric()  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pyiqa", fake)
    return make_scorer(names, "osediff", CPU)


def test_metrics_of_pyiqa_are_measured_with_their_direction(
    pair: tuple[np.ndarray, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    scorer = scorer_with_pyiqa(monkeypatch, "psnr", "l1", "fid")
    sr, hr = pair
    assert scorer(sr, hr)["l1"] == pytest.approx(float(np.abs(sr - hr).mean()), rel=1e-5)
    assert [(c.label, c.higher_is_better) for c in scorer.columns[1:]] == [
        ("L1", False), ("FID", False),
    ]  # fmt: skip
    assert "fid" not in scorer.functions


def test_metric_that_pyiqa_has_not_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"neither of this program .* nor of pyiqa \(l1, fid\)"):
        scorer_with_pyiqa(monkeypatch, "l2")
