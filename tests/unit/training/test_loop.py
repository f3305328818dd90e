import pytest

from training.loop import rate_factor


def test_learning_rate_warms_up_and_ends_at_zero() -> None:
    rates = [rate_factor(step, 10, 100) for step in range(101)]
    assert rates[9] == 1
    assert rates[:10] == sorted(rates[:10])
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[100] == pytest.approx(0, abs=1e-12)


def test_constant_learning_rate_stays_after_the_warm_up() -> None:
    assert [rate_factor(step, 4, 9, "constant") for step in range(9)] == [
        *(0.25, 0.5, 0.75),
        *[1] * 6,
    ]
