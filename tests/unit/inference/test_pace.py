"""How long a run takes, told from earlier ones."""

import pytest

from ccsr.images.picture import Size
from ccsr.inference.cost import Cost
from ccsr.inference.pace import NEAREST, SIDES, Pace, warm_up
from tests.fakes import FakeEngine


def cost(side: int, evaluations: int = 16) -> Cost:
    return Cost(evaluations, 1, Size(side, side))


def test_nothing_is_known_before_the_first_run() -> None:
    pace = Pace()
    assert pace.seconds(cost(512)) is None
    pace.record(cost(512), 2.0)
    assert pace.seconds(Cost(0, 0, Size(0, 0))) is None


def test_a_run_like_an_earlier_one_takes_as_long() -> None:
    pace = Pace()
    pace.record(cost(512), 2.0)
    found = pace.seconds(cost(512))
    assert found is not None
    assert (found.low, found.middle, found.high) == pytest.approx((2, 2, 2))


def test_times_grow_with_pixels_and_become_less_certain() -> None:
    pace = Pace()
    pace.record(cost(512), 2.0)
    found = pace.seconds(cost(1024))
    assert found is not None
    assert found.middle == pytest.approx(8)
    assert found.low < 7 < 9 < found.high


def test_a_run_of_the_same_kind_counts_more_than_small_ones() -> None:
    pace = Pace()
    for side, seconds in ((256, 1.0), (512, 2.5), (1024, 16.0)):
        pace.record(cost(side), seconds)
    found = pace.seconds(cost(1024))
    assert found is not None
    assert (found.low, found.high) == pytest.approx((16, 16))


def test_other_shares_of_evaluations_make_less_certain() -> None:
    pace = Pace()
    pace.record(cost(512), 2.0)
    found = pace.seconds(cost(512, evaluations=1))
    assert found is not None
    assert found.middle == pytest.approx(2 * 16 / 31)
    assert found.high > 1.15 * found.middle


def test_the_most_similar_runs_count() -> None:
    pace = Pace()
    for _ in range(5):
        pace.record(cost(256), 3.0)
        pace.record(cost(1024), 16.0)
    found = pace.seconds(cost(1024))
    assert found is not None
    assert found.middle == pytest.approx(16)
    pace.record(cost(1024), 32.0)
    found = pace.seconds(cost(1024))
    assert found is not None
    assert found.high == pytest.approx(32)


def test_of_equal_runs_the_latest_count() -> None:
    pace = Pace()
    for seconds in (8.0,) * NEAREST + (4.0,) * NEAREST:
        pace.record(cost(1024), seconds)
    found = pace.seconds(cost(1024))
    assert found is not None
    assert (found.low, found.high) == pytest.approx((4, 4))


class NotingPace(Pace):
    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[Size] = []

    def record(self, cost: Cost, seconds: float) -> None:
        super().record(cost, seconds)
        self.sizes.append(cost.size)


def test_times_are_known_after_warming_up() -> None:
    pace, engine = NotingPace(), FakeEngine()
    warm_up(engine, pace)
    assert engine.evaluations == 3 * 16
    # Not the first, which takes longer.
    assert pace.sizes == [Size(4 * side, 4 * side) for side in SIDES]
    assert pace.seconds(cost(512)) is not None
