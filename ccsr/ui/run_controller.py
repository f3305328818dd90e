"""How the page starts, follows and stops a run of the model."""

import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import gradio as gr
from gradio.blocks import BlockContext
from gradio.components.base import Component

from ccsr.ui import snippets
from ccsr.ui.compute_thread import computing

T = TypeVar("T")
Block = Component | BlockContext

MODEL: dict[str, Any] = {"concurrency_id": "model", "concurrency_limit": 1}
"""Events with these use the model one after another, whoever started them."""
PRIVATE: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
"""Events with these are the page's own."""
LIGHT: dict[str, Any] = {**PRIVATE, "queue": False}
"""Events with these answer at once, in any order."""
IN_ORDER: dict[str, Any] = {**PRIVATE, "concurrency_limit": 1}
"""Events with these answer one after another, so that the last one asked has the last word."""

UNFINISHED = snippets.line("The run did not finish.", "quiet")
"""Status of a run that failed; what was wrong is told in a message."""


@dataclass(frozen=True)
class Frame:
    """What the page shows of a run at one moment.

    A browser that is given two of them at once may act on parts of the second only, so each
    says everything, and what must not be lost also goes into a `gr.State` whose change shows it.
    """

    values: tuple[Any, ...]
    """Values of all outputs."""
    ended: bool = False


@dataclass(eq=False)
class Run:
    """One press of the button that starts a run."""

    visitor: str | None
    """Who pressed it; None for a program."""
    values: tuple[Any, ...]
    """Of its inputs when it was pressed."""
    stop: threading.Event = field(default_factory=threading.Event)
    """Set by the button that stops it."""
    begun: bool = False
    """Whether it is its turn at the model, or was."""
    superseded: bool = False
    """Whether another run has taken its place, which has the last word instead."""


@contextmanager
def running(events: Iterator[T]) -> Generator[Iterator[T]]:
    """End the work of the engine when the block is left, however that happens."""
    try:
        yield events
    finally:
        if isinstance(events, Generator):
            events.close()


def run_buttons(label: str) -> tuple[gr.Button, gr.Button]:
    """Make the buttons that start and stop a run."""
    start = gr.Button(label, variant="primary", min_width=120, scale=3)
    stop = gr.Button("Stop", variant="stop", interactive=False, min_width=80, scale=1)
    return start, stop


@dataclass(frozen=True)
class Rerun:
    """When a run starts without its button."""

    triggers: Sequence[Callable[..., Any]]
    """Events that may start it."""
    wanted: Callable[..., bool]
    """Whether they should, asked with the inputs of the run."""


def wire_run(
    buttons: tuple[gr.Button, gr.Button],
    check: Callable[..., None],
    work: Callable[..., Generator[Frame]],
    stopped: Callable[[Frame | None], Frame],
    inputs: Sequence[Block],
    outputs: Sequence[Block],
    rerun: Rerun | None = None,
) -> None:
    """Connect the buttons with a run.

    A run ends itself when it sees that Stop was pressed, and has the last word on what is shown.
    Gradio's own cancelling would leave it running for a while, and show what it still yields.

    Args:
        buttons: Those of `run_buttons`.
        check: Raises if the inputs will not do; asked before waiting for the model.
        work: The run, given who started it and the inputs.
        stopped: What a stopped run shows, given its last look.
        inputs: Of `check` and `work`.
        outputs: Of `work`; the first is the status line.
        rerun: What else starts the run; it takes the place of one that is under way.
    """
    start, stop = buttons
    status = outputs[0]
    assert isinstance(status, gr.HTML)
    current = gr.State(None)

    def begin(request: gr.Request, before: Run | None, *values: Any) -> tuple[Any, ...]:  # noqa: ANN401
        check(*values)
        if before is not None:
            before.superseded = True
            before.stop.set()
        return *_busy(), snippets.waiting(), Run(request.session_hash, values)

    def begin_again(request: gr.Request, before: Run | None, *values: Any) -> tuple[Any, ...]:  # noqa: ANN401
        assert rerun is not None
        return begin(request, before, *values) if rerun.wanted(*values) else (gr.skip(),) * 4

    @computing
    def follow(run: Run | None, *now: Any) -> Generator[tuple[Any, ...]]:  # noqa: ANN401
        nothing = (gr.skip(),) * (2 + len(outputs))
        # Two may be waiting when the first press was stopped: the first takes the second's place.
        if run is None or run.begun or run.stop.is_set():
            # Without a word Gradio would empty all outputs.
            yield nothing
            return
        run.begun = True
        look: Frame | None = None
        # While it waited, others may have been at the same picture, and a person at the controls.
        values = (
            latest if isinstance(block, gr.State) else pressed
            for block, latest, pressed in zip(inputs, now, run.values, strict=True)
        )
        with closing(work(run.visitor, *values)) as looks:
            for look in looks:
                if run.stop.is_set() and not look.ended:
                    break
                yield *(_idle() if look.ended else _busy()), *look.values
            else:
                return
        yield nothing if run.superseded else (*_idle(), *stopped(look).values)

    def halt(run: Run | None) -> tuple[Any, ...]:
        if run is None:
            return (gr.skip(),) * 3
        run.stop.set()
        if run.begun:
            return gr.skip(), gr.update(interactive=False), gr.skip()
        return *_idle(), snippets.line("Stopped before it began.", "quiet")

    # In the queue, unlike LIGHT: only there does a refusal reach the person as a message.
    beginnings: list[tuple[list[Callable[..., Any]], Callable[..., Any]]] = [([start.click], begin)]
    if rerun is not None:
        beginnings.append((list(rerun.triggers), begin_again))
    for triggers, function in beginnings:
        gr.on(
            triggers,
            function,
            [current, *inputs],
            [start, stop, status, current],
            concurrency_limit=None,
            trigger_mode="multiple",
            **PRIVATE,
        )
    # Not after every beginning: one that starts nothing is to take no place in the queue.
    current.change(
        follow,
        [current, *inputs],
        [start, stop, *outputs],
        api_visibility="private",
        show_progress="minimal",
        show_progress_on=status,
        # A run that takes the place of another begins before the other has ended.
        trigger_mode="multiple",
        **MODEL,
    )
    stop.click(halt, current, [start, stop, status], **LIGHT)


def _busy() -> tuple[Any, Any]:
    return gr.update(interactive=False), gr.update(interactive=True)


def _idle() -> tuple[Any, Any]:
    return gr.update(interactive=True), gr.update(interactive=False)
