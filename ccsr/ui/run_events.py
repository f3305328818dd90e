"""The events of the page that start, follow and stop the run of a tab."""

import asyncio
import functools
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic

import gradio as gr
from gradio.components.base import Component

from ccsr.inference.cost import passes
from ccsr.inference.pace import StageClock
from ccsr.ui import snippets
from ccsr.ui.compute_thread import Computing
from ccsr.ui.event_options import LIGHT, PRIVATE, Block, Chosen
from ccsr.ui.inputs import Settings, refusals_told
from ccsr.ui.loupe import Loupe, loupe_update
from ccsr.ui.model_queue import QueueFull, Waiting
from ccsr.ui.run_controller import NOT_BEGUN, Action, Press, RunController, RunState
from ccsr.ui.shown_run import ShownRun
from ccsr.ui.tab_run import (
    Frame,
    Inputs,
    Job,
    Made,
    Query,
    RunEvent,
    RunView,
    TabRun,
    about_run,
    check_run,
    closed_at_end,
    config_of,
    cost_of_run,
    result_stage,
)


@dataclass(frozen=True)
class RunComponents:
    """The components that start, stop and show a run."""

    start: gr.Button
    stop: gr.Button
    status: gr.HTML
    expected: gr.HTML
    """Says before the press how long it will take."""
    origin: gr.HTML
    """Says of what the results are; everything after it in the tab shows them."""
    results: gr.State
    """Holds the results; its change shows them."""
    preview: Loupe | None = None
    """Shows the pictures of each frame."""

    @property
    def buttons(self) -> list[gr.Button]:
        """Start and stop."""
        return [self.start, self.stop]

    @property
    def outputs(self) -> list[Component]:
        """What each frame has values for."""
        preview = [self.preview] if self.preview else []
        return [self.status, self.results, *preview]


def run_buttons(label: str) -> tuple[gr.Button, gr.Button]:
    """Make the buttons that start and stop a run."""
    start = gr.Button(label, variant="primary", min_width=120, scale=3)
    stop = gr.Button("Stop", variant="stop", interactive=False, min_width=80, scale=1)
    return start, stop


def status_lines(prefix: str, hint: str) -> tuple[gr.HTML, gr.HTML, gr.HTML]:
    """Lay out the state of a run, how long it will take, and of what its results are.

    Args:
        prefix: Of the ids of the tab's elements.
        hint: Shown before the first run.
    """
    status = gr.HTML(hint, elem_id=f"{prefix}-status")
    with gr.Row(elem_classes="told"):
        expected = gr.HTML(elem_id=f"{prefix}-expected")
        origin = gr.HTML(elem_id=f"{prefix}-origin")
    return status, expected, origin


def archive_button() -> gr.DownloadButton:
    """Make the button that downloads all of a tab's pictures and numbers, once a run has ended."""
    return gr.DownloadButton("Download all (ZIP)", size="md", interactive=False)


def archive_update(archive: Path | None) -> Any:  # noqa: ANN401
    """The button with this file, inactive without one."""
    return gr.update(value=archive, interactive=archive is not None)


def button_updates(state: RunState) -> tuple[Any, Any]:
    """How the buttons that start and stop a run look in a state."""
    if state is RunState.STOPPING:
        # The answer to Stop may arrive after the last frame, which enables the start button.
        return gr.skip(), gr.update(value="Stopping", interactive=False)
    ends = state in (RunState.IDLE, RunState.DONE, RunState.FAILED)
    return gr.update(interactive=ends), gr.update(value="Stop", interactive=not ends)


@dataclass(frozen=True)
class Rerun:
    """When a run starts without its button."""

    triggers: Sequence[Callable[..., Any]]
    """Events that may start it."""
    wanted: Callable[..., bool]
    """Whether they do, given the results, the path of the picture and the tab's values."""
    is_seen: gr.State
    """Whether the tab is in sight: otherwise nothing runs."""


@dataclass(frozen=True, eq=False)
class RunHandlers(Generic[Query, Made]):
    """The event handlers of a run.

    `values` are those of the picture, the reference, and what `TabRun.read` reads.
    """

    inputs: Inputs
    tab_run: TabRun[Query, Made]
    rerun: Rerun | None
    num_outputs: int
    """Of a frame: status, results, and the preview where there is one."""

    @refusals_told
    async def press(
        self,
        request: gr.Request,
        controller: RunController,
        now: Made | None,
        *values: Any,  # noqa: ANN401
    ) -> AsyncGenerator[tuple[Any, ...]]:
        """Start and stop button and the outputs of each frame, from the press to the end."""
        await asyncio.to_thread(self._check, request, *values)
        press = Press(request.session_hash, values)
        controller.press(press)
        waiting = snippets.waiting(), *(gr.skip(),) * (self.num_outputs - 1)
        yield *button_updates(RunState.QUEUED), *waiting
        async with aclosing(self.frames(request, controller, press, now)) as frames:
            async for frame in frames:
                yield self._outputs(controller.state, frame)

    @refusals_told
    async def press_if_wanted(
        self,
        request: gr.Request,
        controller: RunController,
        now: Made | None,
        *values: Any,  # noqa: ANN401
    ) -> AsyncGenerator[Any]:
        """As `press`, if the rerun is wanted; the last value says whether its tab is in sight."""
        *given, is_seen = values
        path, _, *chosen = given
        assert self.rerun is not None
        if not (is_seen and self.rerun.wanted(now, path, *chosen)):
            # Without any values Gradio would empty all outputs.
            yield gr.skip()
            return
        async with aclosing(self.press(request, controller, now, *given)) as outputs:
            async for output in outputs:
                yield output

    async def frames(
        self, request: gr.Request, controller: RunController, press: Press, now: Made | None
    ) -> AsyncGenerator[Frame[Made] | None]:
        """What is shown of a run from its wait for the model to its end; None: nothing new.

        Args:
            request: Of the visitor.
            controller: Has the press queued.
            press: It.
            now: The results that are shown.

        Raises:
            gr.Error: If the work fails.
        """
        view = self._view(press, now)
        work = functools.partial(self._frames, controller, press, view)
        queue, begun = self.inputs.queue, False
        try:
            about = about_run(self.tab_run, press.values[0], self.tab_run.read(press.values[2:]))
            turn = queue.run(queue.owner(request), work, press.stop, about)
            async with aclosing(turn) as items:
                async for item in items:
                    begun = not isinstance(item, Waiting)
                    frame = self._waiting(item, now) if isinstance(item, Waiting) else item
                    if isinstance(frame, Computing):
                        runs = controller.is_running(press)
                        frame = view.now() if runs else None
                    yield frame
        except QueueFull as error:
            press.stop.set(str(error))
        if not begun and controller.end(press, Action.STOP) is RunState.IDLE:
            yield Frame(snippets.line(press.stop.reason, "quiet"), now)

    @staticmethod
    def _waiting(waiting: Waiting, now: Made | None) -> Frame[Made]:
        return Frame(snippets.waiting(waiting.ahead), now)

    def _view(self, press: Press, now: Made | None) -> RunView[Query, Made]:
        """The view of a run that has not begun."""
        path, reference, *chosen = press.values
        query = self.tab_run.read(chosen)
        cost = cost_of_run(self.inputs.sessions, self.tab_run, query, path)
        pace, result = self.inputs.sessions.pace, result_stage(self.tab_run, reference)
        known = pace.seconds(cost, result)
        expected = None if known is None else known.middle
        clock = StageClock(pace, result, cost.megapixels, passes(config_of(query)))
        return RunView(
            self.tab_run, now, cost=cost, expected=expected, clock=clock, stop=press.stop
        )

    def _frames(
        self, controller: RunController, press: Press, view: RunView[Query, Made]
    ) -> Generator[Frame[Made] | None]:
        """The frames of a run whose turn it is."""
        view.clock.start()
        if not controller.start(press):
            return
        path = press.values[0]
        if view.before is not None and not self.tab_run.stays(view.before, path):
            self.tab_run.release(view.before, None)
            view.before = None
        events = view.frames(self._events(press, view.before))
        yield from controller.follow(press, events, view.ending)

    def stop(self, controller: RunController) -> tuple[Any, ...]:
        """Start and stop button, and the status."""
        if not controller.stop():
            return (gr.skip(),) * 3
        waited = controller.state is RunState.IDLE
        line = snippets.line(NOT_BEGUN, "quiet")
        return *button_updates(controller.state), line if waited else gr.skip()

    def _check(
        self,
        request: gr.Request,
        path: str | None,
        reference: str | None,
        *chosen: Any,  # noqa: ANN401
    ) -> None:
        """Check the inputs before the run waits for the model.

        Raises:
            InputError: If they cannot be used.
        """
        self.inputs.queue.check_room(self.inputs.queue.owner(request))
        check_run(self.inputs, self.tab_run, self.tab_run.read(chosen), path, reference)

    def _events(self, press: Press, before: Made | None) -> Generator[RunEvent | Made]:
        path, reference, *chosen = press.values
        query = self.tab_run.read(chosen)
        sessions = self.inputs.sessions
        with sessions.open(press.visitor, path) as source:
            job = Job(sessions.engine, source, query, reference, before)
            with closed_at_end(self.tab_run.work(job)) as events:
                yield from events

    def _outputs(self, state: RunState, frame: Frame[Made] | None) -> tuple[Any, ...]:
        if frame is None:
            return (gr.skip(),) * (2 + self.num_outputs)
        has_earlier = frame.pictures is None and frame.results is not None
        pictures = gr.skip() if has_earlier else loupe_update(frame.pictures)
        return *button_updates(state), *(frame.status, frame.results, pictures)[: self.num_outputs]


def wire_tab_run(
    tab_run: TabRun[Query, Made],
    inputs: Inputs,
    components: RunComponents,
    own: Sequence[Chosen],
    settings: Settings,
    rerun: Rerun | None = None,
) -> ShownRun:
    """Connect the components of a tab with its run.

    A run ends itself after Stop, with a last frame. Gradio's own cancelling would let it go on for
    a while, and show what it still yields.

    Args:
        tab_run: The run.
        inputs: Its picture and reference, and the sessions of the visitors.
        components: Buttons, status and results.
        own: The components that `tab_run.read` reads before those of the settings.
        settings: These.
        rerun: What else starts the run; it supersedes one that is under way.

    Returns:
        What is compared with the choices of the page.
    """
    handlers = RunHandlers(inputs, tab_run, rerun, len(components.outputs))
    controller = gr.State(RunController())
    chosen = [*own, *settings.values()]
    values = [controller, components.results, inputs.picture, inputs.reference, *chosen]
    outputs = [*components.buttons, *components.outputs]
    _wire_press(values, outputs, handlers.press, [components.start.click])
    if rerun is not None:
        _wire_press([*values, rerun.is_seen], outputs, handlers.press_if_wanted, rerun.triggers)
    _wire_stop(handlers.stop, controller, components)
    return ShownRun(
        tab_run, components.results, chosen, own, components.origin, components.expected
    )


def _wire_press(
    values: Sequence[Block],
    outputs: Sequence[Block],
    handler: Callable[..., Any],
    triggers: Sequence[Callable[..., Any]],
) -> None:
    gr.on(
        triggers,
        handler,
        values,
        outputs,
        # In the queue, unlike LIGHT, and as many as come: runs wait in the `ModelQueue`.
        concurrency_limit=None,
        trigger_mode="multiple",  # a run that supersedes another begins before that has ended
        **PRIVATE,
    )


def _wire_stop(
    handler: Callable[..., tuple[Any, ...]], controller: gr.State, components: RunComponents
) -> None:
    stopped = components.stop.click(
        handler, controller, [*components.buttons, components.status], **LIGHT
    )
    # The run may have ended, and set the buttons, before the answer to Stop arrived.
    stopped.then(_buttons_now, controller, components.buttons, **LIGHT)


def _buttons_now(controller: RunController) -> tuple[Any, Any]:
    """Buttons of a run that has ended; one that is still stopping sets them itself."""
    if controller.state is RunState.STOPPING:
        return gr.skip(), gr.skip()
    return button_updates(controller.state)
