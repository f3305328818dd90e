"""The one thread of the page that computes.

OpenMP gives every thread that computes worker threads of its own. Once these outnumber the cores,
they sleep after each operation instead of waiting for the next, and the many small operations of a
network take twice as long. A web server answers in any free thread, so all computing is handed to
this one.
"""

import asyncio
import contextvars
import threading
import time
from collections.abc import AsyncGenerator, Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from ccsr.stopping import StopFlag, Stopped, stoppable

P = ParamSpec("P")
T = TypeVar("T")

WATCH_SECONDS = 0.2
"""How often a run that computes is looked after."""

_NAME = "computing"
_thread = ThreadPoolExecutor(1, thread_name_prefix=_NAME)


class Computing:
    """A step is still being computed; told again and again."""


TOLD_SECONDS = 1.0
"""How often that is told, at first after `WATCH_SECONDS`."""


class _End:
    """Marks the end of the steps."""


_END = _End()


def compute(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a function in the computing thread, once that is free, and return its result.

    The context variables of the caller are set in it, and its exceptions are raised here.
    """
    if threading.current_thread().name.startswith(_NAME):
        return function(*args, **kwargs)
    context = contextvars.copy_context()
    return _thread.submit(context.run, function, *args, **kwargs).result()


async def compute_steps(
    work: Generator[T], stop: StopFlag, watch: Callable[[], None]
) -> AsyncGenerator[T | Computing]:
    """Run each step of a generator in the computing thread; other work may run between two.

    Yields the steps, and `Computing` while one of them takes longer.

    Args:
        work: It is closed at the end, however that comes.
        stop: Once it is set, `Stopped` is raised in the work: in the piece that it computes, or
            where it yields.
        watch: Called again and again while a step is computed; may set `stop`.
    """
    step: T | _End
    told = False
    try:
        while True:
            watch()
            telling, told = stop.is_set() and not told, told or stop.is_set()
            context = contextvars.copy_context()
            step_made = asyncio.wrap_future(_thread.submit(context.run, _step, work, stop, telling))
            when = 0.0
            while not step_made.done():
                await asyncio.wait([step_made], timeout=WATCH_SECONDS)
                watch()
                is_going_on = not (step_made.done() or stop.is_set())
                if is_going_on and time.monotonic() - when >= TOLD_SECONDS:
                    when = time.monotonic()
                    yield Computing()
            step = step_made.result()
            if isinstance(step, _End):
                return
            yield step
    except BaseException:
        # Whoever asked has gone: a step that is being computed ends, too.
        stop.set()
        raise
    finally:
        # Without waiting: this may be the thread that answers all visitors.
        _thread.submit(contextvars.copy_context().run, work.close)


def _step(work: Generator[T], stop: StopFlag, telling: bool) -> T | _End:
    try:
        with stoppable(stop):
            return work.throw(Stopped()) if telling else next(work)
    except (StopIteration, Stopped):
        return _END
