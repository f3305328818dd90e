"""Who works with the model, and who waits."""

import asyncio
from collections.abc import Generator
from contextlib import aclosing
from itertools import count

import pytest

from ccsr.stopping import StopFlag
from ccsr.ui import presence as presence_module
from ccsr.ui.limits import Limits
from ccsr.ui.model_queue import SUPERSEDED, ModelQueue, QueueFull, Waiting
from ccsr.ui.presence import Owner, Presence
from tests.fakes import run_coroutine

ABOUT = ("test", {})


def short(order: list[str], name: str) -> Generator[str]:
    order.append(name)
    yield name


def endless() -> Generator[int]:
    yield from count()


async def until(condition: object, seconds: float = 10.0) -> None:
    assert callable(condition)
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


class Visitor:
    """Somebody whose run waits or works as a task of its own."""

    def __init__(self, queue: ModelQueue, name: str, work: Generator[object] | None = None) -> None:
        self.stop, self.seen = StopFlag(), []
        self.owner = Owner(queue.presence, name)
        self.task = asyncio.create_task(self._run(queue, work or endless()))

    async def _run(self, queue: ModelQueue, work: Generator[object]) -> None:
        async with aclosing(queue.run(self.owner, lambda: work, self.stop, ABOUT)) as items:
            async for item in items:
                self.seen.append(item)

    @property
    def works(self) -> bool:
        return any(not isinstance(item, Waiting) for item in self.seen)

    @property
    def ahead(self) -> list[int]:
        return [item.ahead for item in self.seen if isinstance(item, Waiting)]

    async def end(self) -> None:
        self.stop.set()
        await self.task


def test_runs_work_in_the_order_in_which_they_came() -> None:
    async def story() -> list[str]:
        order: list[str] = []
        queue = ModelQueue()
        first = Visitor(queue, "first")
        await until(lambda: first.works)
        others = [Visitor(queue, name, short(order, name)) for name in ("b", "a", "c")]
        await until(lambda: all(other.ahead for other in others))
        assert [other.ahead[0] for other in others] == [1, 2, 3]
        await first.end()
        await asyncio.gather(*(other.task for other in others))
        assert not queue.is_working
        assert queue.num_waiting == 0
        return order

    assert run_coroutine(story()) == ["b", "a", "c"]


def test_a_full_queue_is_told() -> None:
    async def story() -> None:
        queue = ModelQueue(Limits(max_waiting=2))
        visitors = [Visitor(queue, name) for name in "abc"]
        await until(lambda: visitors[0].works and queue.num_waiting == 2)
        with pytest.raises(QueueFull, match="2 runs wait for the model"):
            await Visitor(queue, "d").task
        # The place of a visitor who waits already can be taken by the next run.
        queue.check_room(visitors[2].owner)
        for visitor in visitors:
            await visitor.end()

    run_coroutine(story())


def test_a_run_that_may_wait_longer_takes_no_place_of_its_visitor() -> None:
    async def story() -> None:
        queue = ModelQueue(Limits(max_waiting=2))
        visitors = [Visitor(queue, name) for name in "ab"]
        await until(lambda: visitors[0].works and queue.num_waiting == 1)
        assert queue.has_room(visitors[0].owner)
        assert not queue.has_room(visitors[1].owner)
        visitors.append(Visitor(queue, "c"))
        await until(lambda: queue.num_waiting == 2)
        assert not queue.has_room(visitors[0].owner)
        for visitor in visitors:
            await visitor.end()

    run_coroutine(story())


def test_a_visitor_has_one_place_that_waits() -> None:
    async def story() -> None:
        queue = ModelQueue()
        first, earlier = Visitor(queue, "a"), Visitor(queue, "b")
        await until(lambda: first.works and queue.num_waiting == 1)
        later = Visitor(queue, "b")
        await earlier.task
        assert not earlier.works
        assert earlier.stop.reason == SUPERSEDED
        assert queue.num_waiting == 1
        await first.end()
        await until(lambda: later.works)
        await later.end()

    run_coroutine(story())


def test_a_run_stopped_before_its_turn_gives_its_place_back_at_once() -> None:
    async def story() -> None:
        queue = ModelQueue(Limits(max_waiting=1))
        first, second = Visitor(queue, "a"), Visitor(queue, "b")
        await until(lambda: first.works and queue.num_waiting == 1)
        await second.end()
        assert not second.works
        third = Visitor(queue, "c")
        await until(lambda: queue.num_waiting == 1)
        await first.end()
        await until(lambda: third.works)
        await third.end()

    run_coroutine(story())


def test_a_run_whose_owner_is_gone_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presence_module, "GRACE_SECONDS", 0.05)

    async def story() -> None:
        presence = Presence()
        queue = ModelQueue(presence=presence)
        for name in "ab":
            presence.enter(name)
        working, waiting = Visitor(queue, "a"), Visitor(queue, "b")
        await until(lambda: working.works and waiting.ahead)
        for name in "ba":
            presence.leave(name)
        await asyncio.gather(working.task, waiting.task)
        assert not waiting.works

    run_coroutine(story())


def test_a_run_whose_owner_never_comes_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presence_module, "FIRST_SECONDS", 0.1)

    async def story() -> None:
        await Visitor(ModelQueue(presence=Presence()), "nobody").task

    run_coroutine(asyncio.wait_for(story(), 10))


def test_a_run_that_takes_too_long_is_stopped() -> None:
    async def story() -> str:
        visitor = Visitor(ModelQueue(Limits(max_seconds=0.1)), "a")
        await asyncio.wait_for(visitor.task, 10)
        return visitor.stop.reason

    assert run_coroutine(story()) == "Stopped: a run of this page may take 0.1 s."


def test_the_log_tells_how_runs_end(caplog: pytest.LogCaptureFixture) -> None:
    def failing() -> Generator[int]:
        yield 1
        raise ValueError("no")

    async def story() -> ModelQueue:
        queue = ModelQueue()
        await Visitor(queue, "a", short([], "a")).task
        with pytest.raises(ValueError, match="no"):
            await Visitor(queue, "b", failing()).task
        endless_one = Visitor(queue, "c")
        await until(lambda: endless_one.works)
        await endless_one.end()
        return queue

    with caplog.at_level("INFO"):
        queue = run_coroutine(story())
    assert dict(queue.log.finished) == {
        ("test", "done"): 1, ("test", "failed"): 1, ("test", "stopped"): 1,
    }  # fmt: skip
    assert 'ccsr_jobs_total{kind="test",result="done"} 1' in queue.log.metrics()
    assert [r.getMessage().split('"result": ')[1][:6] for r in caplog.records] == [
        '"done"', '"faile', '"stopp',
    ]  # fmt: skip
