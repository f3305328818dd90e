"""The error to expect where seeds disagree."""

import json
from pathlib import Path

import numpy as np
import pytest

from ccsr.config import COMPACT, SamplingConfig
from ccsr.evaluation.calibration import (
    BINS,
    CALIBRATION,
    Calibration,
    binned,
    observed,
    read_calibration,
    unbiased_levels,
    write_calibration,
)
from ccsr.inference.hub import COMPACT_FOLDER
from ccsr.inference.weights import weights_hash


def calibration(**changes: object) -> Calibration:
    table = binned(np.linspace(0, 10, 320), 2 * np.linspace(0, 10, 320) + 1)
    values = {
        "weights": "w", "config": SamplingConfig().model_dump(), "rests_on": "drawings",
        "num_pictures": 1, "num_squares": 320, "spearman": 1.0, **table,
    }  # fmt: skip
    return Calibration(**(values | changes))


def test_disagreement_does_not_depend_on_the_number_of_seeds() -> None:
    rng = np.random.default_rng(0)
    results = rng.normal(0.5, 4 / 255, (3000, 20))
    for count in (2, 5, 20):
        found = unbiased_levels(np.sqrt(results[:, :count].var(1)), count) ** 2
        assert found.mean() == pytest.approx(16, rel=0.1)
    with pytest.raises(ValueError, match="at least 2 seeds"):
        unbiased_levels(np.zeros((4, 4)), 1)


def test_what_was_observed_is_predicted() -> None:
    l_std = np.zeros((60, 60))
    l_std[:, 30:] = 4 / 255 * np.sqrt(1 / 2)
    table = calibration()
    expected = 255 * table.expected_error(l_std, 2)
    assert expected[30, 5] == pytest.approx(table.error[0])
    assert expected[30, 55] == pytest.approx(9, abs=0.1)


def test_squares_are_observed_in_grey_levels() -> None:
    hr = np.full((30, 30, 3), 0.5)
    mean = hr + np.float64(5 / 255)
    disagreement, error = observed(np.full((30, 30), 2 / 255 * np.sqrt(3) / 2), mean, hr, 4)
    np.testing.assert_allclose(disagreement, [2] * 4)
    np.testing.assert_allclose(error, [5] * 4)


def test_errors_never_fall_as_disagreement_rises() -> None:
    rng = np.random.default_rng(0)
    disagreement = rng.random(500)
    table = binned(disagreement, disagreement + rng.normal(0, 2, 500))
    assert len(table["error"]) == BINS
    assert list(table["error"]) == sorted(table["error"])
    assert list(table["disagreement"]) == sorted(table["disagreement"])
    with pytest.raises(ValueError, match="at least 16 squares"):
        binned(disagreement[:9], disagreement[:9])


def test_table_holds_for_its_own_settings_only(tmp_path: Path) -> None:
    table = calibration()
    assert table.holds_for(SamplingConfig())
    assert not table.holds_for(SamplingConfig(t_max=0.8))
    write_calibration(tmp_path, table)
    assert read_calibration(str(tmp_path)) == table
    assert read_calibration(str(tmp_path / "none")) is None


def test_table_that_ships_is_of_the_weights_that_ship() -> None:
    """After other weights: python assets/make_calibration.py."""
    table = read_calibration(COMPACT)
    assert table is not None
    assert table.weights == weights_hash(COMPACT_FOLDER)
    index = json.loads((COMPACT_FOLDER / "model_index.json").read_text())
    assert table.holds_for(SamplingConfig(num_steps=index["num_steps"]))
    # Otherwise disagreement predicts nothing, and the page should not say that it does.
    assert table.spearman > 0.5
    assert table.error[-1] > 2 * table.error[0]


@pytest.mark.parametrize("content", ["{", "[]", "{}", "[" * 100_000])
def test_damaged_file_is_refused_in_a_sentence(tmp_path: Path, content: str) -> None:
    assert read_calibration(str(tmp_path)) is None
    (tmp_path / CALIBRATION).write_text(content)
    with pytest.raises(
        ValueError, match=r"calibration\.json is damaged; get it again, or delete it$"
    ):
        read_calibration(str(tmp_path))
