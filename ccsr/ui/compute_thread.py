"""The one thread of the page that computes.

A CPU's cores are shared out by OpenMP, which gives every thread that ever computed helpers of its
own. Once there are more of them than cores, helpers go to sleep after each operation instead of
waiting for the next, and the many small ones of a network take twice as long. A web server answers
in whichever thread is free; so what computes is done in this one, wherever it is asked for.
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
    """What no step is."""


_END = _End()


def compute(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a function in the thread that computes, when that is free, and wait for the result.

    It knows who asks, as if it were called here. Raises what it raises.
    """
    if threading.current_thread().name.startswith(_NAME):
        return function(*args, **kwargs)
    context = contextvars.copy_context()
    return _thread.submit(context.run, function, *args, **kwargs).result()


def computing(work: Callable[P, Iterator[T]]) -> Callable[P, Generator[T]]:
    """Have each step of a generator function done in the thread that computes.

    Between two steps others have their turn. If it is closed early, so is the work, soon after.
    """

    @functools.wraps(work)
    def stepwise(*args: P.args, **kwargs: P.kwargs) -> Generator[T]:
        steps = work(*args, **kwargs)
        try:
            while True:
                # The end has to be asked for: what raises StopIteration here ends as an error.
                step = compute(next, steps, _END)
                if isinstance(step, _End):
                    return
                yield step
        except GeneratorExit:
            # Nobody waits for that: Gradio drops what visitors leave behind in the thread that
            # answers all others.
            if isinstance(steps, Generator):
                _thread.submit(contextvars.copy_context().run, steps.close)
            raise

    return stepwise
