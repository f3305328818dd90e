"""How long a run takes, told from the stages of earlier ones."""

import time

import pytest

from ccsr.images.picture import Size
from ccsr.inference import pace as pace_module
from ccsr.inference.cost import Cost
from ccsr.inference.pace import (
    ADDED,
    BARE,
    ENCODED,
    EVALUATED,
    NEAREST,
    SIDES,
    Pace,
    Seconds,
    StageClock,
    warm_up,
)
from tests.fakes import FakeEngine

UPSCALED, SEEDS = "result of upscale", "result of seeds"


def cost(side: int, evaluations: int = 16, decodes: int = 1) -> Cost:
    return Cost(evaluations, decodes, Size(side, side))


def known_pace(side: int = 1000) -> Pace:
    """Of a model that takes 2 s a megapixel to encode, 1 s to evaluate and 4 s to decode."""
    pace = Pace()
    for stage, seconds in ((ENCODED, 2.0), (EVALUATED, 1.0), (UPSCALED, 4.0)):
        pace.record(stage, side**2 / 1e6, seconds * side**2 / 1e6)
    return pace


def told(pace: Pace, cost: Cost, result: str = UPSCALED) -> Seconds:
    seconds = pace.seconds(cost, result)
    assert seconds is not None
    return seconds


def test_nothing_is_known_before_a_result() -> None:
    pace = Pace()
    pace.record(ENCODED, 1.0, 2.0)
    assert pace.seconds(cost(512), UPSCALED) is None
    pace.record(EVALUATED, 1.0, 1.0)
    assert pace.seconds(cost(512), UPSCALED) is None
    assert known_pace().seconds(Cost(0, 0, Size(0, 0)), UPSCALED) is None


def test_a_run_takes_one_encoding_and_all_its_evaluations_and_decodes() -> None:
    found = told(known_pace(), cost(1000, 8 * 16, 8))
    assert (found.low, found.high) == pytest.approx((2 + 128 + 32, 2 + 128 + 32))


def test_a_result_of_another_kind_takes_as_long_as_the_fastest_and_some_more() -> None:
    pace = known_pace()
    pace.record("result of sweep", 1.0, 6.0)
    found = told(pace, cost(1000, 16, 10), SEEDS)
    assert (found.low, found.high) == pytest.approx((2 + 16 + 40, 2 + 16 + 40 * (1 + ADDED)))
    # Once it is known, nothing else counts.
    pace.record(SEEDS, 1.0, 5.0)
    found = told(pace, cost(1000, 16, 10), SEEDS)
    assert (found.low, found.high) == pytest.approx((68, 68))


def test_encoding_that_never_took_time_counts_none() -> None:
    pace = Pace()
    pace.record(EVALUATED, 1.0, 1.0)
    pace.record(UPSCALED, 1.0, 4.0)
    assert told(pace, cost(1000)).middle == pytest.approx(20)


def test_times_grow_with_pixels_and_become_less_certain() -> None:
    found = told(known_pace(500), cost(1000))
    assert found.middle == pytest.approx(22)
    assert found.low < 20 < 24 < found.high


def test_the_most_similar_sizes_count() -> None:
    pace = known_pace()
    for _ in range(5):
        pace.record(EVALUATED, 0.1, 0.9)
    assert told(pace, cost(1000)).high == pytest.approx(22)
    pace.record(EVALUATED, 1.0, 2.0)
    assert told(pace, cost(1000)).high == pytest.approx(38)


def test_of_equal_sizes_the_latest_count() -> None:
    pace = known_pace()
    for seconds in (8.0,) * NEAREST + (2.0,) * NEAREST:
        pace.record(EVALUATED, 1.0, seconds)
    found = told(pace, cost(1000))
    assert (found.low, found.high) == pytest.approx((38, 38))


class Timed(StageClock):
    """Each of its stages takes as long as it is told."""

    now = 0.0

    def after(self, seconds: float) -> "Timed":
        Timed.now += seconds
        return self


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Timed:
    monkeypatch.setattr(pace_module.time, "perf_counter", lambda: Timed.now)
    return Timed(Pace(), UPSCALED, 1.0)


def test_time_is_told_apart_by_stages(clock: Timed) -> None:
    clock.after(3.0).evaluated(1)
    for _ in range(15):
        clock.after(1.0).evaluated(1)
    clock.after(4.0).made()
    clock.after(1.0).evaluated(1)
    clock.after(4.0).made()
    found = told(clock.pace, cost(1000, 32, 10))
    assert (found.low, found.high) == pytest.approx((2 + 32 + 40, 2 + 32 + 40))


def test_seeds_of_a_batch_and_passes_with_a_prompt_count_each(clock: Timed) -> None:
    clock.passes = 2
    for seconds in (10.0, 8.0):
        clock.after(seconds).evaluated(4)
    clock.after(4.0).made()
    assert told(clock.pace, cost(1000, 100)).middle == pytest.approx(2 + 100 + 4)


def test_results_of_several_decodes_share_their_time(clock: Timed) -> None:
    for seconds in (3.0, 1.0):
        clock.after(seconds).evaluated(1)
    for _ in range(3):
        clock.after(4.0).decoded()
    clock.after(1.5).made()
    assert told(clock.pace, cost(1000, 1, 10)).middle == pytest.approx(2 + 1 + 45)


def test_encoding_that_was_kept_from_an_earlier_run_is_not_measured(clock: Timed) -> None:
    for seconds in (3.0, 1.0):
        clock.after(seconds).evaluated(1)
    clock.after(4.0).made()
    for _ in range(NEAREST):
        clock.start()
        clock.after(1.1).evaluated(1)
        clock.after(1.0).evaluated(1)
        clock.after(4.0).made()
    assert told(clock.pace, cost(1000, 10)).middle == pytest.approx(2 + 10 + 4)


def test_run_of_a_single_evaluation_is_measured_as_well(clock: Timed) -> None:
    clock.after(6.0).evaluated(1)
    clock.after(4.0).made()
    assert told(clock.pace, cost(1000, 1)).middle == pytest.approx(10)
    assert told(clock.pace, cost(1000, 11)).middle == pytest.approx(20)


def test_run_whose_estimates_were_kept_measures_its_decode(clock: Timed) -> None:
    clock.after(4.0).made()
    assert clock.pace.seconds(cost(1000), UPSCALED) is None
    clock.pace.record(EVALUATED, 1.0, 1.0)
    assert told(clock.pace, cost(1000)).middle == pytest.approx(20)


class NotingPace(Pace):
    def __init__(self) -> None:
        super().__init__()
        self.noted: set[tuple[str, float]] = set()

    def record(self, stage: str, megapixels: float, seconds: float) -> None:
        super().record(stage, megapixels, seconds)
        self.noted.add((stage, megapixels))


def test_times_are_known_after_warming_up() -> None:
    pace, engine = NotingPace(), FakeEngine(delay=0.002)
    started = time.perf_counter()
    warm_up(engine, pace)
    taken = time.perf_counter() - started
    assert engine.evaluations == 3 * 16
    # Not the first, which takes longer.
    sizes = [(4 * side) ** 2 / 1e6 for side in SIDES]
    assert {(stage, size) for stage, size in pace.noted if stage != ENCODED} == {
        (stage, size) for stage in (BARE, EVALUATED) for size in sizes
    }
    assert told(pace, cost(4 * SIDES[0])).low < taken
