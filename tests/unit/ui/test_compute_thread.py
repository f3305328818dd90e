"""Work is computed in one thread, and otherwise as if it were called directly."""

import contextvars
import threading
import time
from collections.abc import AsyncGenerator, Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing

import pytest

from ccsr.stopping import StopFlag, Stopped, check_stop
from ccsr.ui.compute_thread import Computing, compute, compute_steps
from tests.fakes import run_coroutine

asking: contextvars.ContextVar[str] = contextvars.ContextVar("asking", default="nobody")


def here() -> int:
    return threading.get_ident()


def steps_of(
    work: Generator[int], stop: StopFlag | None = None, watch: Callable[[], None] = lambda: None
) -> AsyncGenerator[int]:
    return compute_steps(work, stop or StopFlag(), watch)


async def all_of(steps: AsyncGenerator[int]) -> list[int]:
    return [step async for step in steps]


def test_there_is_one_thread_whoever_asks() -> None:
    with ThreadPoolExecutor(4) as askers:
        threads = {askers.submit(compute, here).result() for _ in range(8)}
    assert len(threads) == 1
    assert here() not in threads
    assert compute(lambda: compute(here)) == threads.pop()


def test_every_step_is_done_there_and_so_is_the_end() -> None:
    seen: list[int] = []

    def work(count: int) -> Generator[int]:
        try:
            for number in range(count):
                seen.append(here())
                yield number
        finally:
            seen.append(here())

    async def first() -> None:
        async with aclosing(steps_of(work(9))) as steps:
            await anext(steps)

    assert run_coroutine(all_of(steps_of(work(3)))) == [0, 1, 2]
    run_coroutine(first())
    # Asked for after the end of the work, so it comes after it.
    where = compute(here)
    assert seen == [where] * 6


def test_others_have_their_turn_between_two_steps() -> None:
    order: list[str] = []

    def work() -> Generator[int]:
        order.append("first")
        yield 1
        order.append("second")
        yield 2

    async def between() -> None:
        async with aclosing(steps_of(work())) as steps:
            await anext(steps)
            compute(order.append, "between")
            await anext(steps)

    run_coroutine(between())
    assert order == ["first", "between", "second"]


def test_the_work_knows_who_asks() -> None:
    asking.set("a visitor")
    assert compute(asking.get) == "a visitor"


def test_a_long_step_is_told_of_while_it_is_computed() -> None:
    def work() -> Generator[int]:
        time.sleep(0.5)
        yield 1

    told = run_coroutine(all_of(steps_of(work())))
    assert [type(item) for item in told] == [Computing, int]


def test_stop_ends_a_step_that_looks_at_it() -> None:
    stop, begun, ended = StopFlag(), threading.Event(), threading.Event()

    def work() -> Generator[int]:
        begun.set()
        try:
            while True:
                check_stop()
        except Stopped:
            ended.set()
            raise
        yield 1

    def watch() -> None:
        if begun.is_set():
            stop.set()

    assert run_coroutine(all_of(steps_of(work(), stop, watch))) == []
    assert ended.is_set()


def test_stop_is_told_to_the_work_once_where_it_yields() -> None:
    stop = StopFlag()

    def work() -> Generator[int]:
        try:
            yield 1
            yield 2
        except Stopped:
            yield -1
            yield -2

    async def stopped() -> list[int]:
        async with aclosing(steps_of(work(), stop)) as steps:
            first = await anext(steps)
            stop.set()
            return [first, *[step async for step in steps]]

    assert run_coroutine(stopped()) == [1, -1, -2]


def test_a_step_ends_if_whoever_asked_has_gone() -> None:
    stop = StopFlag()

    async def left() -> None:
        async with aclosing(steps_of(iter_forever(), stop)) as steps:
            await anext(steps)

    run_coroutine(left())
    assert stop.is_set()


def iter_forever() -> Generator[int]:
    while True:
        yield 1


@pytest.mark.parametrize("error", [ValueError("no"), StopIteration()])
def test_errors_come_back(error: Exception) -> None:
    def fail() -> None:
        raise error

    with pytest.raises(type(error)):
        compute(fail)


def test_an_error_in_a_step_comes_back_and_ends_the_work() -> None:
    def work() -> Generator[int]:
        yield 1
        raise ValueError("what is wrong")

    async def failing() -> None:
        async with aclosing(steps_of(work())) as steps:
            assert await anext(steps) == 1
            with pytest.raises(ValueError, match="what is wrong"):
                await anext(steps)
            assert [step async for step in steps] == []

    run_coroutine(failing())
