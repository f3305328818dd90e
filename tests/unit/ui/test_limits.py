import pytest

from ccsr.images.picture import Size
from ccsr.inference.cost import Cost
from ccsr.ui.limits import DEFAULT_LIMITS, PUBLIC, Limits


def test_large_results_and_long_runs_are_refused() -> None:
    limits = Limits(max_result_pixels=10_000, max_work=1.0)
    limits.check(Cost(90, 10, Size(100, 100)))
    with pytest.raises(ValueError, match="101x100 pixels, and the limit of this page is 10,000"):
        limits.check(Cost(1, 1, Size(100, 101)))
    with pytest.raises(ValueError, match="the limit is 1"):
        limits.check(Cost(100, 10, Size(100, 100)))


def test_a_page_for_everybody_allows_less() -> None:
    assert PUBLIC.max_result_pixels < DEFAULT_LIMITS.max_result_pixels
    assert PUBLIC.max_work < DEFAULT_LIMITS.max_work
    assert PUBLIC.max_waiting < DEFAULT_LIMITS.max_waiting
    assert PUBLIC.max_seconds is not None
