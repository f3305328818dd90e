"""The endpoints of the page: what it does for a person, offered to programs under named parameters.

The parameters are the names of the components that hold their values, so those of the settings
follow from the fields of `SamplingConfig`.
"""

import functools
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import gradio as gr
from gradio.components.base import Component

from ccsr.ui.compute_thread import computing
from ccsr.ui.event_options import MODEL, Block
from ccsr.ui.inputs import errors_shown

T = TypeVar("T")


def add_endpoint(
    name: str,
    run: Callable[..., Iterator[T]],
    inputs: Mapping[str, Block],
    outputs: Sequence[Component],
) -> None:
    """Offer a run to programs as /`name`.

    Args:
        name: Name of the endpoint.
        run: Yields the values of `outputs`. It is called with the values of `inputs` by name; its
            docstring is the description of the endpoint.
        inputs: Parameter of the endpoint -> component with its default value.
        outputs: Components that the results are converted by.
    """

    @functools.wraps(run)
    def endpoint(*args: Any, **kwargs: Any) -> Generator[T]:  # noqa: ANN401
        with errors_shown():
            yield from run(*args, **kwargs)

    gr.Button(visible=False).click(
        computing(endpoint),
        outputs=outputs,
        inputs_kwargs=dict(inputs),
        api_name=name,
        show_progress="hidden",
        **MODEL,
    )
