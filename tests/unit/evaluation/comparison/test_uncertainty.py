import numpy as np
import pytest

from ccsr.evaluation.comparison.uncertainty import (
    FRACTIONS,
    shares_above,
    sparsification,
    squares,
    uncertainty,
)


def test_squares_are_means_over_whole_squares() -> None:
    values = np.zeros((31, 46))
    values[:15, 15:30] = 2.0
    values[30:] = 100.0
    np.testing.assert_allclose(squares(values), [[0, 2, 0], [0, 0, 0]])


def maps(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A disagreement [H,W] that is another in each square, and HR."""
    rng = np.random.default_rng(seed)
    blocks = rng.permutation(64).reshape(8, 8) / 640
    return np.kron(blocks, np.ones((15, 15))), rng.random((120, 120, 3))


def test_disagreement_in_the_order_of_the_errors_predicts_them() -> None:
    disagreement, hr = maps()
    found = uncertainty(disagreement, hr + 2 * disagreement[..., None], hr)
    assert found.spearman == pytest.approx(1)
    assert found.ause == pytest.approx(0, abs=1e-9)


def test_disagreement_in_the_opposite_order_is_the_worst() -> None:
    disagreement, hr = maps()
    mean = hr + disagreement[..., None]
    opposite = uncertainty(0.2 - disagreement, mean, hr)
    assert opposite.spearman == pytest.approx(-1)
    assert opposite.ause > uncertainty(maps(1)[0], mean, hr).ause > 0


def test_no_curve_lies_below_the_oracle() -> None:
    disagreement, hr = maps()
    found = uncertainty(maps(1)[0], hr + disagreement[..., None], hr)
    assert found.curve[0] == pytest.approx(1)
    assert all(c >= o - 1e-12 for c, o in zip(found.curve, found.oracle, strict=True))


def test_curve_by_hand() -> None:
    error, order = np.arange(1.0, 21.0), np.arange(20.0)
    expected = [np.mean(np.arange(1, 21 - i)) / 10.5 for i in range(20)]
    np.testing.assert_allclose(sparsification(error, order), expected)
    assert len(FRACTIONS) == 20


def test_constant_disagreement_has_no_correlation() -> None:
    _, hr = maps()
    assert uncertainty(np.full((120, 120), 0.1), hr * 0.5, hr).spearman is None


def test_perfect_result_has_no_area() -> None:
    disagreement, hr = maps()
    assert uncertainty(disagreement, hr, hr).ause == 0


def test_shares_count_pixels_above_each_level() -> None:
    values = np.array([[0.0, 1.9, 2.1, 6.0, 11.0]]) / 255
    assert shares_above(values) == {"2": 0.6, "5": 0.4, "10": 0.2}
