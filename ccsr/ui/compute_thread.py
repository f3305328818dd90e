"""The one thread of the page that computes.

OpenMP gives every thread that computes worker threads of its own. Once these outnumber the cores,
they sleep after each operation instead of waiting for the next, and the many small operations of a
network take twice as long. A web server answers in any free thread, so all computing is handed to
this one.
"""

import contextvars
import functools
import threading
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

_NAME = "computing"
_thread = ThreadPoolExecutor(1, thread_name_prefix=_NAME)


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


def computing(work: Callable[P, Iterator[T]]) -> Callable[P, Generator[T]]:
    """Run each step of a generator function in the computing thread.

    Other work may run between two steps. If the generator is closed early, so is the work, soon
    after.
    """

    @functools.wraps(work)
    def stepwise(*args: P.args, **kwargs: P.kwargs) -> Generator[T]:
        steps = work(*args, **kwargs)
        try:
            while True:
                # With a default, as a StopIteration raised in a generator becomes a RuntimeError.
                step = compute(next, steps, _END)
                if isinstance(step, _End):
                    return
                yield step
        except GeneratorExit:
            # Without waiting: Gradio closes the generators of visitors who left in the thread that
            # answers all others.
            if isinstance(steps, Generator):
                _thread.submit(contextvars.copy_context().run, steps.close)
            raise

    return stepwise
