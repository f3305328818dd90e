import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from scipy.stats import gennorm
from skimage import data

from ccsr.evaluation.niqe import (
    BLOCK,
    GaussianModel,
    _asymmetric_gaussian,
    block_features,
    grey_levels,
    niqe,
    picture_features,
)


@pytest.fixture(scope="module")
def photograph() -> np.ndarray:
    return data.astronaut() / 255


def test_sharp_photograph_is_more_natural_than_its_blurred_and_noisy_copies(
    photograph: np.ndarray,
) -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, photograph.shape)
    assert niqe(photograph) < niqe(gaussian_filter(photograph, (2, 2, 0)))
    assert niqe(photograph) < niqe((photograph + noise).clip(0, 1))


def test_picture_is_at_no_distance_from_its_own_statistics(photograph: np.ndarray) -> None:
    features = block_features(grey_levels(photograph))
    own = GaussianModel(features.mean(0), np.cov(features, rowvar=False))
    assert niqe(photograph, own) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("shape", [0.7, 1.0, 2.0])
def test_fit_finds_the_shape_and_scale_that_the_numbers_were_drawn_with(shape: float) -> None:
    x = gennorm.rvs(shape, scale=0.5, size=200_000, random_state=0)
    found, left, right = _asymmetric_gaussian(x)
    assert found == pytest.approx(shape, rel=0.03)
    assert left == pytest.approx(0.5, rel=0.05)
    assert right == pytest.approx(0.5, rel=0.05)


def test_fit_separates_the_sides() -> None:
    x = np.random.default_rng(0).normal(size=200_000)
    x[x > 0] *= 3
    _, left, right = _asymmetric_gaussian(x)
    assert right / left == pytest.approx(3, rel=0.02)


def test_features_of_strips_are_those_of_the_whole(
    photograph: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = block_features(grey_levels(photograph))
    monkeypatch.setattr("ccsr.evaluation.niqe.STRIP", 2 * BLOCK)
    np.testing.assert_allclose(picture_features(photograph), whole, atol=1e-9)


def test_flat_picture_has_finite_features() -> None:
    assert np.isfinite(block_features(np.full((192, 192), 128.0))).all()


def test_grey_levels_are_whole_and_weighted() -> None:
    corners = np.array([[[0.0, 0, 0], [1, 1, 1], [1, 0, 0], [0, 1, 0], [0, 0, 1]]])
    np.testing.assert_array_equal(grey_levels(corners), [[0, 255, 76, 150, 29]])


def test_small_picture_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 192 pixels"):
        niqe(np.zeros((191, 400, 3)))
