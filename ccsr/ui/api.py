"""The endpoints of the page: what it does for a person, offered to programs under named parameters.

The parameters are the names of the components that hold their values, so those of the settings
follow from the fields of `SamplingConfig`.
"""

import functools
import inspect
from collections.abc import AsyncGenerator, Callable, Generator, Iterator, Mapping, Sequence
from contextlib import aclosing
from typing import Any, TypeVar, get_args

import gradio as gr
from gradio.components.base import Component
from gradio.context import LocalContext

from ccsr.config import VARIANTS, ColorAlignment
from ccsr.errors import InputError
from ccsr.stopping import StopFlag
from ccsr.ui.compute_thread import Computing
from ccsr.ui.event_options import Block
from ccsr.ui.inputs import errors_shown
from ccsr.ui.model_queue import About, ModelQueue, Waiting

T = TypeVar("T")

COMMON = f"""
The settings are those of the command line, under the same names and within the same ranges, and
each has its default: t_max and t_min are fractions of the diffusion process with t_min <= t_max,
num_steps is the size S of its grid, color is one of {", ".join(get_args(ColorAlignment))}, and
variant is one of {", ".join(VARIANTS)}.
Send pictures as files that were uploaded here (`handle_file` of the clients); addresses are not
fetched. While a run waits, the answer is {{"ahead": runs before it}}, while it works
{{"evaluation": n, "total": N}}, both without files. An error says what was expected and what came.
"""
"""What is said of all endpoints."""


def add_endpoint(
    name: str,
    run: Callable[..., Iterator[tuple[Any, ...]]],
    inputs: Mapping[str, Block],
    outputs: Sequence[Component],
    queue: ModelQueue,
) -> None:
    """Offer a run to programs as /`name`.

    Args:
        name: Name of the endpoint.
        run: Yields the values of `outputs`. It is called with the values of `inputs` by name; its
            docstring and `COMMON` are the description of the endpoint.
        inputs: Parameter of the endpoint -> component with its default value.
        outputs: Components that the results are converted by; the last one takes a dictionary.
        queue: In which a run waits for the model.
    """

    @functools.wraps(run)
    async def endpoint(*args: Any, **kwargs: Any) -> AsyncGenerator[tuple[Any, ...]]:  # noqa: ANN401
        about = name, {key: value for key, value in kwargs.items() if _is_number(value)}
        with errors_shown(str):
            work = functools.partial(_shown, run, *args, **kwargs)
            async with aclosing(_in_turn(queue, work, about)) as items:
                async for item in items:
                    waits = isinstance(item, Waiting)
                    yield (*(None,) * (len(outputs) - 1), {"ahead": item.ahead}) if waits else item

    endpoint.__doc__ = f"{inspect.getdoc(run)}\n{COMMON}"
    gr.Button(visible=False).click(
        endpoint,
        outputs=outputs,
        inputs_kwargs=dict(inputs),
        api_name=name,
        show_progress="hidden",
        concurrency_limit=None,
    )


def _shown(run: Callable[..., Iterator[T]], *args: Any, **kwargs: Any) -> Generator[T]:  # noqa: ANN401
    with errors_shown(str):
        yield from run(*args, **kwargs)


async def _in_turn(
    queue: ModelQueue, work: Callable[[], Generator[T]], about: About
) -> AsyncGenerator[Waiting | T]:
    """What the work of a program yields, once it is its turn.

    Raises:
        InputError: If it was stopped by a limit.
    """
    request, stop = LocalContext.request.get(None), StopFlag()
    owner = queue.owner(request)
    async with aclosing(queue.run(owner, work, stop, about)) as items:
        async for item in items:
            if not isinstance(item, Computing):
                yield item
    if stop.is_set():
        raise InputError(stop.reason)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float)
