"""Work is computed in one thread, and otherwise as if it were called directly."""

import contextvars
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from ccsr.ui.compute_thread import compute, computing

asking: contextvars.ContextVar[str] = contextvars.ContextVar("asking", default="nobody")


def here() -> int:
    return threading.get_ident()


def test_there_is_one_thread_whoever_asks() -> None:
    with ThreadPoolExecutor(4) as askers:
        threads = {askers.submit(compute, here).result() for _ in range(8)}
    assert len(threads) == 1
    assert here() not in threads
    assert compute(lambda: compute(here)) == threads.pop()


def test_every_step_is_done_there_and_so_is_the_end() -> None:
    seen: list[int] = []

    @computing
    def work(count: int) -> Iterator[int]:
        try:
            for number in range(count):
                seen.append(here())
                yield number
        finally:
            seen.append(here())

    assert list(work(3)) == [0, 1, 2]
    steps = work(9)
    next(steps)
    steps.close()
    # Asked for after the end of the work, so it comes after it.
    where = compute(here)
    assert seen == [where] * 6


def test_others_have_their_turn_between_two_steps() -> None:
    order: list[str] = []

    @computing
    def work() -> Iterator[None]:
        order.append("first")
        yield
        order.append("second")
        yield

    steps = work()
    next(steps)
    compute(order.append, "between")
    next(steps)
    assert order == ["first", "between", "second"]


def test_the_work_knows_who_asks() -> None:
    asking.set("a visitor")
    assert compute(asking.get) == "a visitor"


@pytest.mark.parametrize("error", [ValueError("no"), StopIteration()])
def test_errors_come_back(error: Exception) -> None:
    def fail() -> None:
        raise error

    with pytest.raises(type(error)):
        compute(fail)


def test_an_error_in_a_step_comes_back_and_ends_the_work() -> None:
    @computing
    def work() -> Iterator[int]:
        yield 1
        raise ValueError("what is wrong")

    steps = work()
    assert next(steps) == 1
    with pytest.raises(ValueError, match="what is wrong"):
        next(steps)
    assert list(steps) == []
