"""What the page says of the run of every tab: what its results are of, and if it is chosen now."""

import functools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from ccsr.inference.pace import Seconds
from ccsr.ui import snippets
from ccsr.ui.event_options import PRIVATE, Block, Chosen, changes_of
from ccsr.ui.inputs import Settings
from ccsr.ui.origin import difference, present_origin
from ccsr.ui.sessions import Sessions
from ccsr.ui.tab_run import Inputs, Results, TabRun, cost_of_run, result_stage

PRESENT: dict[str, Any] = {**PRIVATE, "concurrency_id": "present", "concurrency_limit": 1}
"""Events with these come one after another: what is said last is of the latest choice."""


@dataclass(frozen=True)
class ShownRun:
    """The run of a tab as far as it is compared with what is chosen."""

    tab_run: TabRun[Any, Any]
    results: gr.State
    chosen: Sequence[Block]
    """The components that `TabRun.read` reads."""
    own: Sequence[Chosen]
    """Those of them that are the tab's own."""
    origin: gr.HTML
    """Says of what the results are."""
    expected: gr.HTML
    """Says how long a run of what is chosen will take."""


@dataclass(frozen=True)
class BuiltTab:
    """A tab that was laid out and wired."""

    run: ShownRun
    values: dict[str, Chosen]
    """The components of its own values, by the names under which a browser remembers them."""


def wire_shown_runs(inputs: Inputs, settings: Settings, runs: Sequence[ShownRun]) -> None:
    """Say of the results of all tabs what they are of, whenever they or the choices change."""
    own = dict.fromkeys(component for run in runs for component in run.own)
    for listen in (settings.changed, changes_of([inputs.picture, inputs.reference, *own])):
        listen(*_event(inputs, runs), trigger_mode="always_last", **PRESENT)
    for run in runs:
        # Of all: how long the others will take is told from how long this one took.
        run.results.change(*_event(inputs, runs), **PRESENT)


def _event(inputs: Inputs, runs: Sequence[ShownRun]) -> tuple[Any, list[Block], list[gr.HTML]]:
    """Handler, inputs and outputs of an event that tells of these runs."""
    values = [component for run in runs for component in (run.results, *run.chosen)]
    outputs = [line for run in runs for line in (run.origin, run.expected)]
    return (
        functools.partial(_told, inputs.sessions, runs),
        [inputs.picture, inputs.reference, *values],
        outputs,
    )


def _told(
    sessions: Sessions,
    runs: Sequence[ShownRun],
    picture: str | None,
    reference: str | None,
    *values: Any,  # noqa: ANN401
) -> list[str]:
    """For each run what its results are of, and how long the next one will take."""
    rest = iter(values)
    told = []
    for run in runs:
        results, chosen = next(rest), list(_taken(rest, len(run.chosen)))
        told.append(origin_line(run.tab_run, results, chosen, picture, reference))
        seconds = expected_seconds(run.tab_run, chosen, (picture, reference), sessions)
        told.append(snippets.expected(seconds))
    return told


def _taken(values: Iterator[Any], count: int) -> Iterable[Any]:
    return (next(values) for _ in range(count))


def expected_seconds(
    tab_run: TabRun[Any, Any],
    chosen: Sequence[Any],
    pictures: tuple[str | None, str | None],
    sessions: Sessions,
) -> Seconds | None:
    """How long a run of what is chosen will take; None if that is not known, or it is refused.

    Args:
        tab_run: The run.
        chosen: The values that `TabRun.read` reads.
        pictures: Paths of the picture and of the reference.
        sessions: Of the visitors.
    """
    path, reference = pictures
    try:
        cost = cost_of_run(sessions, tab_run, tab_run.read(chosen), path)
    except ValueError:
        return None
    return sessions.pace.seconds(cost, result_stage(tab_run, reference))


def origin_line(
    tab_run: TabRun[Any, Any],
    results: Results | None,
    chosen: Sequence[Any],
    picture: str | None,
    reference: str | None,
) -> str:
    """What results are of, marked if something else is chosen now; empty without results.

    Args:
        tab_run: Their run.
        results: Those that are shown.
        chosen: The values that `TabRun.read` reads.
        picture: Path of the picture that is chosen.
        reference: Path of the true picture that is chosen.
    """
    if results is None:
        return ""
    present = present_origin(picture, tab_run.read, chosen, reference if tab_run.measures else None)
    found = difference(results.origin, present, picture)
    return snippets.origin(results.origin.caption(), None if found is None else found.value)
