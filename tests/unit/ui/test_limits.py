from pathlib import Path

import pytest

from ccsr.images.picture import Size
from ccsr.inference.cost import Cost
from ccsr.ui.limits import DEFAULT_LIMITS, PUBLIC, Limits

README = (Path(__file__).parents[3] / "README.md").read_text()

ROWS = {
    "pixels of a result": lambda limits: limits.max_result_pixels,
    "megapixels of a run": lambda limits: limits.max_work,
    "pictures at once": lambda limits: limits.max_files,
    "megapixels of all of them together": lambda limits: limits.max_batch_work,
    "seconds of a run at the model": lambda limits: limits.max_seconds,
    "runs that wait for the model": lambda limits: limits.max_waiting,
    "pages whose results are kept": lambda limits: limits.max_sessions,
    "connections held open": lambda limits: limits.max_connections,
    "MiB of an upload": lambda limits: limits.max_upload_bytes / 2**20,
    "MiB of uploads and results on disk": lambda limits: limits.max_stored_bytes / 2**20,
    "hours that they are kept": lambda limits: limits.keep_seconds / 3600,
}


@pytest.mark.parametrize("name", ROWS)
def test_the_readme_tells_the_limits(name: str) -> None:
    row = next(line for line in README.splitlines() if line.startswith(f"| {name}"))
    values = [ROWS[name](limits) for limits in (PUBLIC, DEFAULT_LIMITS)]
    told = ["-" if value is None else f"{value:,.0f}" for value in values]
    assert [cell.strip() for cell in row.split("|")[2:4]] == told


def test_the_readme_tells_the_limits_of_an_address() -> None:
    for limits, place in ((PUBLIC, 2), (DEFAULT_LIMITS, 3)):
        rows = [r for r in README.splitlines() if r.startswith("| of them from one address")]
        told = [row.split("|")[place].strip() for row in rows]
        assert told == [f"{limits.max_waiting_each:,}", f"{limits.max_connections_each:,}"]


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
    assert PUBLIC.max_files < DEFAULT_LIMITS.max_files


def test_several_pictures_are_bounded_together() -> None:
    Limits(max_batch_work=3.0).check_batch(3.0)
    with pytest.raises(ValueError, match="the limit for several pictures is 3; run it after"):
        Limits(max_batch_work=3.0).check_batch(4.0)
