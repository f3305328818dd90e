"""The run of a tab: what it is given, what it makes, and what the page shows of it."""

import logging
import math
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import gradio as gr

from ccsr.config import MAX_RESULT_PIXELS, SamplingConfig
from ccsr.diffusion.timesteps import LoopStart
from ccsr.errors import InputError
from ccsr.images.picture import Size
from ccsr.inference.cost import Cost
from ccsr.inference.events import Decoded, Engine, Progress
from ccsr.inference.pace import BARE, Pace, StageClock
from ccsr.inference.sizes import HasSize
from ccsr.stopping import StopFlag
from ccsr.ui import snippets
from ccsr.ui.files import make_room, remove_folder
from ccsr.ui.inputs import errors_shown, read_facts
from ccsr.ui.loupe import Views
from ccsr.ui.model_queue import About, ModelQueue
from ccsr.ui.origin import Origin
from ccsr.ui.run_controller import RunState
from ccsr.ui.sessions import OpenPicture, Sessions, open_picture

logger = logging.getLogger(__name__)

T = TypeVar("T")

FRAME_SECONDS = 0.15
"""Between two frames of progress: each takes time of the browser and of the model's thread."""
NO_COST = Cost(0, 0, Size(0, 0))

NO_ROOM = "The server has no room for these results now; make fewer at once, or try again later"
FILES_FAILED = (
    "The results are there, but not the files to download: they could not be written, and the log "
    "of the server says why."
)
GOES_ON = "Another run of this picture goes on from where this one was."


class Results(Protocol):
    """What a run has made so far, as files and numbers."""

    @property
    def origin(self) -> Origin:
        """What they are made of."""
        ...

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


Query = TypeVar("Query")
Made = TypeVar("Made", bound=Results)


@dataclass(frozen=True)
class Inputs:
    """The inputs that all tabs share."""

    picture: gr.Image
    reference: gr.Image
    sessions: Sessions
    queue: ModelQueue
    is_upscale_seen: gr.State
    """Whether the tab Upscale is in sight."""


@dataclass(frozen=True)
class Job(Generic[Query, Made]):
    """What one run is given."""

    engine: Engine
    source: OpenPicture
    query: Query
    """What `TabRun.read` returns."""
    reference: str | None = None
    """Path of the true picture."""
    before: Made | None = None
    """Results of the run before, if they stay on the page."""

    @property
    def origin(self) -> Origin:
        """What its results are made of."""
        return Origin.of(self.source.path, self.query, self.reference)


@dataclass(frozen=True)
class Preview:
    """What there is of a result so far: the bicubic enlargement, and an estimate beside it."""

    views: Views


RunEvent = Progress | Decoded | Preview


def _unchanged(results: Any) -> Any:  # noqa: ANN401
    return results


def _always(results: Results, path: str) -> bool:
    return True


def _no_views(results: Any) -> None:  # noqa: ANN401
    return None


def release(results: Results | None, following: Results | None = None) -> None:
    """Remove the files of results, which share none with those that follow."""
    remove_folder(None if results is None else results.folder)


@dataclass(frozen=True)
class TabRun(Generic[Query, Made]):
    """The run of a tab."""

    read: Callable[[Sequence[Any]], Query]
    """Reads the values of the tab's components and the settings; raises ValueError."""
    work: Callable[[Job[Query, Made]], Iterator[RunEvent | Made]]
    """Yields progress, and all results so far after each new one."""
    cost: Callable[[Query, HasSize, LoopStart], Cost]
    """What a run costs, given the picture and `ModelInfo.loop_start`."""
    name: str
    """What the log calls it."""
    noun: str = ""
    """Name of one of several results; empty for a run that makes one."""
    measures: bool = True
    """Whether results are compared with the reference."""
    finish: Callable[[Made], Made] = _unchanged
    """Adds what is written at the end of a run, also of one that was stopped."""
    stays: Callable[[Made, str], bool] = _always
    """Whether results stay on the page while the picture of this path is worked on."""
    views: Callable[[Made], Views | None] = _no_views
    """Pictures of new results that are shown at once; the change of their state shows the rest."""
    release: Callable[[Made, Made | None], None] = release
    """Removes the files of results but for those that the following results share."""


def about_run(tab_run: TabRun[Any, Any], path: str | None, query: Any) -> About:  # noqa: ANN401
    """What the log says of a run: nothing that a visitor has written."""
    _, seeds = query
    config = config_of(query)
    details = config.model_dump(exclude={"prompt", "negative_prompt"}, exclude_defaults=True)
    count = 1 if isinstance(seeds, int) else len(seeds)
    return tab_run.name, {"size": str(read_facts(path).size), "seeds": count, **details}


def config_of(query: Any) -> SamplingConfig:  # noqa: ANN401
    """The setting of a query, or the first of several."""
    configs, _ = query
    return configs if isinstance(configs, SamplingConfig) else configs[0]


def result_stage(tab_run: TabRun[Any, Any], reference: str | None) -> str:
    """The stage that each result of a tab takes: what is done with it, see `Pace`."""
    is_measured = tab_run.measures and bool(reference)
    return f"result of {tab_run.name}{' with a reference' if is_measured else ''}"


def cost_of_run(
    sessions: Sessions,
    tab_run: TabRun[Query, Any],
    query: Query,
    path: str | None,
) -> Cost:
    """What a run costs if nothing of it is there.

    Raises:
        InputError: If the file is no picture that can be used, or the query is refused.
    """
    return tab_run.cost(query, read_facts(path), sessions.engine.info.loop_start)


def check_run(
    inputs: Inputs,
    tab_run: TabRun[Query, Made],
    query: Query,
    path: str | None,
    reference: str | None = None,
) -> None:
    """Check the pictures of a run and what the run costs, before anything is computed.

    Raises:
        InputError: If a file is no picture that can be used, or the run costs too much.
    """
    cost = cost_of_run(inputs.sessions, tab_run, query, path)
    limits = inputs.queue.limits
    limits.check(cost)
    if not make_room(cost.num_bytes, limits.max_stored_bytes, limits.keep_seconds):
        raise InputError(NO_ROOM)
    if reference and tab_run.measures:
        read_facts(reference, MAX_RESULT_PIXELS)


def new_job(
    inputs: Inputs,
    tab_run: TabRun[Query, Made],
    query: Query,
    path: str,
    reference: str | None = None,
) -> Job[Query, Made]:
    """The job of a program: it reuses nothing and is not kept.

    Raises:
        InputError: As `check_run`.
    """
    check_run(inputs, tab_run, query, path, reference)
    engine = inputs.sessions.engine
    return Job(engine, open_picture(engine, path), query, reference)


@dataclass(frozen=True)
class Frame(Generic[Made]):
    """What the page shows of a run at one moment.

    A browser that receives two of them at once may apply parts of the second only, so each says
    everything, and what must not be lost is in a `gr.State` whose change shows it.
    """

    status: str
    """HTML."""
    results: Made | None
    pictures: Views | None = None
    """Those of new results, or a preview while there are no results; None where the pictures of
    earlier results stay, or there are none."""


@dataclass
class RunView(Generic[Query, Made]):
    """What a run has made so far, and the frames that show it."""

    tab_run: TabRun[Query, Made]
    before: Made | None
    """Results of the run before; they stay until there are new ones."""
    made: Made | None = None
    cost: Cost = NO_COST
    """What the run costs if nothing of it is there."""
    expected: float | None = None
    """Seconds that it takes then; None if that is not known."""
    clock: StageClock = field(default_factory=lambda: StageClock(Pace(), BARE, 1.0))
    """Tells how long its stages take."""
    progress: Progress | None = None
    """The last network evaluation."""
    decoded: Decoded | None = None
    """The last estimate that was decoded, of a run that tells of it."""
    preview: Views | None = None
    stop: StopFlag = field(default_factory=StopFlag)
    """Says why the run was stopped."""
    failure: str = ""
    """HTML that says why the work failed or was refused."""
    told: float = -math.inf
    """When the last frame of progress was shown."""

    def frames(self, events: Generator[RunEvent | Made]) -> Generator[Frame[Made]]:
        """A frame for each event.

        Raises:
            gr.Error: If the work fails.
        """
        try:
            with errors_shown(), closed_at_end(events):
                for event in events:
                    self._take(event)
                    if self._is_due(event):
                        yield self.now()
        except gr.Error as error:
            self.failure = error.message
            raise

    def _is_due(self, event: RunEvent | Made) -> bool:
        """Whether an event is shown: not every one of many that come fast."""
        if isinstance(event, Progress | Decoded):
            number = event.evaluation if isinstance(event, Progress) else event.number
            if number < event.total and time.perf_counter() - self.told < FRAME_SECONDS:
                return False
            self.told = time.perf_counter()
        return True

    def _take(self, event: RunEvent | Made) -> None:
        if isinstance(event, Preview):
            self.preview = event.views
        elif isinstance(event, Progress):
            self.progress = event
            self.clock.evaluated(len(event.seeds))
        elif isinstance(event, Decoded):
            self.decoded = event
            self.clock.decoded()
        else:
            if self.made is None and self.before is not None:
                self.tab_run.release(self.before, event)
            self.made = event
            self.clock.made()

    def now(self) -> Frame[Made]:
        """The frame of a run that is under way."""
        return self._frame(self._progress_line())

    def ending(self, state: RunState) -> Frame[Made]:
        """The last frame of a run that ends in this state.

        Results stay if what is written at the end fails, as on a full disk.
        """
        if self.made is not None:
            try:
                self.made = self.tab_run.finish(self.made)
            except Exception:
                # Whatever it was, the results are there, and the page must not go on showing a run.
                logger.exception("the files of a run could not be written")
                return self._frame(snippets.line(FILES_FAILED, "error"))
        complete = self.made is not None and len(self.made) == self.made.total
        if state is RunState.FAILED:
            self.preview = None
            return self._frame(snippets.message(self.failure))
        if state is RunState.DONE or complete:
            return self._frame("")
        return self._frame(snippets.line(self._stop_text(), "quiet"))

    def _frame(self, status: str) -> Frame[Made]:
        if self.made is not None:
            return Frame(status, self.made, self.tab_run.views(self.made))
        return Frame(status, self.before, self.preview if self.before is None else None)

    def _stop_text(self) -> str:
        if self.made is not None:
            return f"{self.stop.reason} {self._count(self.made)} kept."
        if self.before is not None:
            return f"{self.stop.reason} The earlier result is shown."
        if self.preview is not None:
            best = self.preview.views[-1].name
            return f"{self.stop.reason} Shown is what there is: {best}. {GOES_ON}"
        return self.stop.reason

    def _progress_line(self) -> str:
        elapsed = time.perf_counter() - self.clock.started
        share = self._share()
        figures = [
            snippets.evaluation(self.progress) if self.progress and not self.decoded else "",
            f"Decoded {self.decoded.number} of {self.decoded.total}" if self.decoded else "",
            f"{self._count(self.made)} done" if self.tab_run.noun and self.made else "",
        ]
        left = seconds_left(share, elapsed, self.expected) if self.progress else self.expected
        return snippets.progress(self._stage(), share, left, figures)

    def _stage(self) -> str:
        if self.progress is None and self.decoded is None and self.made is None:
            return "encoding"
        evaluated = self.progress is None or self.progress.evaluation == self.progress.total
        return "decoding" if evaluated else "refining"

    def _share(self) -> float:
        """The share of the time of the run that has passed."""
        if self.progress is None and self.made is None:
            return 0.0
        evaluated = 1.0 if self.progress is None else self.progress.evaluation / self.progress.total
        decoded = 0.0 if self.made is None else len(self.made) / self.made.total
        if self.decoded is not None:
            decoded = max(decoded, self.decoded.number / self.decoded.total)
        return self.cost.share_done(evaluated, decoded * self.cost.decodes)

    def _count(self, made: Made) -> str:
        return f"{len(made)} of {snippets.counted(made.total, self.tab_run.noun)}"


@contextmanager
def closed_at_end(events: Iterator[T]) -> Generator[Iterator[T]]:
    """End the work of the engine when the block is left, however that happens."""
    try:
        yield events
    finally:
        if isinstance(events, Generator):
            events.close()


def seconds_left(share: float, elapsed: float, expected: float | None) -> float | None:
    """Seconds that are left of a run.

    Args:
        share: Share of its time that has passed, in (0,1].
        elapsed: Seconds so far.
        expected: Of the whole run, as known before; it counts the less the more has passed.
    """
    if expected is None:
        return elapsed * (1 - share) / share
    return (1 - share) * ((1 - share) * expected + elapsed)


def results_state(remove: Callable[[Any], None] = release) -> gr.State:
    """Make the state that holds results; their files go when the visitor leaves."""
    return gr.State(None, delete_callback=remove)
