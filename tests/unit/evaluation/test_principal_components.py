"""The directions in which results differ most."""

import numpy as np
import pytest

from ccsr.evaluation.principal_components import principal_components


def results(number: int = 6) -> list[np.ndarray]:
    """Pictures taller than a band, that differ along two directions, the first much more."""
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(2, 70, 20, 3))
    weights = np.stack([20 * np.linspace(-1, 1, number), 4 * (-1.0) ** np.arange(number)])
    pictures = 128 + np.tensordot(weights.T, np.stack([first, second]), 1)
    return list(np.clip(np.round(pictures), 0, 255).astype(np.uint8))


def test_components_are_those_of_the_covariance_of_the_pixels() -> None:
    pictures = results()
    found = principal_components(pictures, 2)
    flat = np.stack(pictures).reshape(6, -1) / 255
    _, deviations, directions = np.linalg.svd(flat - flat.mean(0), full_matrices=False)
    for number in range(2):
        expected = deviations[number] / np.sqrt(6) * directions[number]
        component = found.pictures[number].ravel()
        sign = np.sign(expected @ component)
        np.testing.assert_allclose(component, sign * expected, atol=1e-4)
    shares = deviations**2 / (deviations**2).sum()
    np.testing.assert_allclose(found.shares, shares[:2], atol=1e-4)


def test_each_result_is_its_deviations_along_all_components() -> None:
    pictures = results()
    found = principal_components(pictures, 10)
    assert len(found.shares) == 5
    last = pictures[-1] / 255 - found.mean
    norms = (found.pictures**2).sum((1, 2, 3))
    deviations = [
        (last * c).sum() / max(n, 1e-9) for c, n in zip(found.pictures, norms, strict=True)
    ]
    np.testing.assert_allclose(found.at(deviations), pictures[-1] / 255, atol=0.01)
    np.testing.assert_allclose(found.at([0.0]), found.mean)


def test_one_result_has_no_components() -> None:
    with pytest.raises(ValueError, match="at least 2 results"):
        principal_components(results()[:1], 3)
