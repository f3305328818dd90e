"""What the tabs share that make many results of one picture and show those that are there."""

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import gradio as gr

from ccsr.config import MAX_RESULT_PIXELS
from ccsr.inference.events import Decoded, Engine, Progress
from ccsr.ui import snippets
from ccsr.ui.files import remove_folder
from ccsr.ui.inputs import errors_shown, read_picture
from ccsr.ui.run_controller import UNFINISHED, Block, Frame, running, wire_run
from ccsr.ui.sessions import SessionPicture, Sessions


class Results(Protocol):
    """What a run has made so far, as files and numbers."""

    @property
    def folder(self) -> Path:
        """Where its files are."""
        ...

    @property
    def total(self) -> int:
        """How many results there will be."""
        ...

    def __len__(self) -> int:
        """How many there are."""
        ...


def _as_it_is(results: Any) -> Any:  # noqa: ANN401
    return results


Query = TypeVar("Query")
Made = TypeVar("Made", bound=Results)


@dataclass(frozen=True)
class Inputs:
    """What all tabs look at."""

    picture: gr.Image
    reference: gr.Image
    sessions: Sessions
    """What has been made of the picture, by visitor."""


@dataclass(frozen=True)
class TabRun(Generic[Query, Made]):
    """A kind of run."""

    noun: str
    """What one result is called."""
    read: Callable[[Sequence[Any]], Query]
    """Reads what a person chose; raises ValueError."""
    work: Callable[[Engine, SessionPicture, Query, str | None], Iterator[Progress | Decoded | Made]]
    """Does it, given the path of the reference: progress, and all there is after each result."""
    ended: Callable[[Made], Made] = _as_it_is
    """Adds what is written at the end, also to a run that was stopped."""


def results_state() -> gr.State:
    """Make the state that holds results; their files go when the visitor leaves."""
    return gr.State(None, delete_callback=release)


def release(results: Results | None) -> None:
    """Remove the files of results."""
    remove_folder(None if results is None else results.folder)


def wire_tab_run(
    engine: Engine,
    study: TabRun[Query, Made],
    subject: Inputs,
    shown: gr.State,
    chosen: Sequence[Block],
    buttons: tuple[gr.Button, gr.Button],
    status: gr.HTML,
) -> None:
    """Connect the buttons with a run.

    Args:
        engine: The model.
        study: What a run does.
        subject: The picture it is done with.
        shown: Holds the results. Those of the run before stay until there are new ones.
        chosen: The components that `study.read` reads.
        buttons: Start and stop.
        status: Line of progress.
    """

    def check(_: Any, path: str | None, reference: str | None, *rest: Any) -> None:  # noqa: ANN401
        with errors_shown():
            read_picture(path)
            if reference:
                read_picture(reference, MAX_RESULT_PIXELS)
            study.read(rest)

    def work(
        visitor: str | None,
        before: Made | None,
        path: str,
        reference: str | None,
        *rest: Any,  # noqa: ANN401
    ) -> Generator[Frame]:
        started = time.perf_counter()
        progress: Progress | Decoded | None = None
        made: Made | None = None

        def at_end() -> Made | None:
            return before if made is None else study.ended(made)

        try:
            with errors_shown():
                query = study.read(rest)
                with (
                    subject.sessions.lent(visitor, path) as session,
                    running(study.work(engine, session, query, reference)) as events,
                ):
                    for event in events:
                        if isinstance(event, Progress | Decoded):
                            progress = event
                        else:
                            if made is None:
                                release(before)
                            made = event
                        there = before if made is None else made
                        line = _line(study, progress, time.perf_counter() - started, made)
                        yield Frame((line, there))
        except gr.Error:
            yield Frame((UNFINISHED, at_end()), ended=True)
            raise
        yield Frame(("", at_end()), ended=True)

    def stopped(last: Frame | None) -> Frame:
        if last is None:
            return Frame((snippets.line("Stopped.", "quiet"), gr.skip()))
        _, there = last.values
        if there is None:
            return Frame((snippets.line("Stopped.", "quiet"), None))
        line = snippets.line(f"Stopped. {_counted(study, there)} kept.", "quiet")
        return Frame((line, study.ended(there)))

    inputs = [shown, subject.picture, subject.reference, *chosen]
    wire_run(buttons, check, work, stopped, inputs, [status, shown])


def _line(
    study: TabRun[Any, Any],
    progress: Progress | Decoded | None,
    elapsed: float,
    made: Results | None,
) -> str:
    done = "" if made is None else f"{_counted(study, made)} done"
    if progress is None:
        return snippets.line(done, "quiet")
    if isinstance(progress, Decoded):
        return snippets.decoding(progress, done)
    # Seeds worked on at once have their results at the end, so both count.
    results = 0 if made is None else len(made) / made.total
    share = (progress.evaluation / progress.total + results) / 2
    return snippets.progress(progress, elapsed, done, share)


def _counted(study: TabRun[Any, Any], made: Results) -> str:
    return f"{len(made)} of {snippets.counted(made.total, study.noun)}"
