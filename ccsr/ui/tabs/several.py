"""Several pictures at once, on the tab *Upscale*: a queue of cards, and one ZIP of the results."""

import asyncio
import dataclasses
import shutil
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.data_classes import FileData

from ccsr.ui import snippets
from ccsr.ui.components import PictureFiles
from ccsr.ui.compute_thread import WATCH_SECONDS
from ccsr.ui.event_options import IN_ORDER, LIGHT, PRIVATE
from ccsr.ui.files import new_folder, write_thumbnail
from ccsr.ui.fitting import MAX_READ_PIXELS
from ccsr.ui.inputs import Settings, errors_shown, refusals_told
from ccsr.ui.limits import Limits
from ccsr.ui.model_queue import SUPERSEDED
from ccsr.ui.presence import Owner
from ccsr.ui.run_controller import Action, Press, RunState
from ccsr.ui.run_events import RunHandlers, archive_button, archive_update, button_updates
from ccsr.ui.shown_run import BuiltTab
from ccsr.ui.tab_run import Inputs, check_run, cost_of_run
from ccsr.ui.tabs.batch import Batch, Item, ItemState
from ccsr.ui.tabs.upscale import TAB_RUN, UNSEEN_RUN, Upscaled

HELP = (
    "They are upscaled one after another with the settings and the seed of this page; others get "
    "their turn in between. A click on a picture that is done shows it above, beside the input."
)
CARD = """
<div class="cards" role="list">{{#each value}}<div role="listitem">
    <button type="button" class="card {{kind}}" data-index="{{@index}}" {{disabled}}>
        {{#if file}}<img src="{{file.url}}" alt="" loading="lazy" decoding="async">
        {{else}}<span class="blank">{{suffix}}</span>{{/if}}
        <span class="name" title="{{name}}">{{name}}</span><span class="state">{{state}}</span>
    </button>{{{text}}}
</div>{{/each}}</div>
"""
CLICKS = """
element.addEventListener("click", ({ target }) => {
    const index = target.closest("button")?.dataset.index;
    if (!index) return;
    trigger("click", { index: Number(index) });
    document.querySelector("#upscale-status").scrollIntoView({ block: "start" });
});
"""


class Cards(gr.HTML):
    """Shows a `Batch`; its event `click` has the `index` of the picture that was clicked."""

    def __init__(self, **kwargs: Any) -> None:  # noqa: ANN401 - those of gr.HTML
        kwargs |= {"html_template": CARD, "js_on_load": CLICKS, "apply_default_css": False}
        super().__init__(**kwargs)

    def postprocess(  # type: ignore[override] - what is shown is no HTML here
        self, value: list[Item] | None
    ) -> Any:  # noqa: ANN401
        """What the browser is sent."""
        return [_card(item) for item in value or ()]


def _card(item: Item) -> dict[str, Any]:
    path, thumbnail = Path(item.source), item.thumbnail
    file = None if thumbnail is None else FileData(path=str(thumbnail)).model_dump()
    return {
        "name": path.name,
        "suffix": path.suffix.lstrip(".").upper() or "?",
        "file": file,
        "state": item.state.value,
        "kind": item.state.name.lower(),
        "disabled": "" if item.state is ItemState.DONE else "disabled",
        "text": item.text,
    }


@dataclasses.dataclass(frozen=True)
class Several:
    """The components that take, run and show several pictures."""

    files: PictureFiles
    start: gr.Button
    stop: gr.Button
    clear: gr.Button
    archive: gr.DownloadButton
    status: gr.HTML
    cards: Cards
    batch: gr.State

    @property
    def outputs(self) -> list[Any]:
        """In the order of `shown`."""
        return [self.start, self.stop, self.clear, self.archive, self.status, self.cards]


def build_several(limits: Limits) -> Several:
    """Lay out the queue, out of sight until somebody opens it."""
    with gr.Accordion("Several pictures at once", open=False):
        gr.HTML(snippets.line(HELP, "quiet"))
        files = PictureFiles(
            label=f"Drop pictures here, up to {limits.max_files}",
            file_count="multiple",
            height=84,
            elem_id="several-files",
        )
        with gr.Row(elem_classes="actions"):
            start = gr.Button("Upscale all", variant="primary", interactive=False, min_width=120)
            stop = gr.Button("Stop", variant="stop", interactive=False, min_width=80)
            clear = gr.Button("Remove all", interactive=False, min_width=100)
        status = gr.HTML(elem_id="several-status")
        cards = Cards(elem_id="several-cards")
        archive = archive_button()
    batch = gr.State(Batch(), delete_callback=Batch.clear)
    return Several(files, start, stop, clear, archive, status, cards, batch)


def wire_several(
    several: Several, inputs: Inputs, upscale: BuiltTab, settings: Settings, about: gr.HTML
) -> None:
    """Connect the queue.

    Args:
        several: Its components.
        inputs: Get the picture that is clicked.
        upscale: The tab, which shows its result.
        settings: What all pictures are upscaled with, with the seed of the tab.
        about: What is said of an example.
    """
    handlers = _Handlers(inputs, RunHandlers(inputs, UNSEEN_RUN, None, 0))
    batch, results = several.batch, upscale.run.results
    added = several.files.upload(
        handlers.add, [batch, several.files], [several.files, *several.outputs], **IN_ORDER
    )
    added.then(handlers.draw, batch, several.cards, concurrency_limit=None, **PRIVATE)
    several.start.click(
        handlers.run,
        [batch, upscale.values["seed"], *settings.values()],
        several.outputs,
        concurrency_limit=None,
        **PRIVATE,
    )
    several.stop.click(_stop, batch, several.stop, **LIGHT)
    several.clear.click(_clear, batch, several.outputs, **IN_ORDER)
    # In the queue: only there do changes of a state start further events.
    several.cards.click(
        _show,
        [batch, results],
        [inputs.picture, inputs.reference, about, results],
        **IN_ORDER,
    )


@dataclasses.dataclass(frozen=True, eq=False)
class _Handlers:
    """The event handlers that add pictures and upscale them."""

    inputs: Inputs
    each: RunHandlers[Any, Upscaled]
    """Of the run of one picture."""

    def add(self, batch: Batch, paths: list[str]) -> tuple[Any, ...]:
        """Take further pictures; empties the field for the next ones."""
        most = self.inputs.queue.limits.max_files
        left_out = batch.add(paths, most)
        if left_out:
            pictures = snippets.counted(left_out, "picture")
            gr.Warning(f"{pictures} left out: this page takes {most} at once")
        return None, *_shown(batch)

    async def draw(self, request: gr.Request, batch: Batch) -> AsyncGenerator[list[Item]]:
        """Make thumbnails: whole uploads would be megabytes, and a browser cannot draw them all."""
        owner = self.inputs.queue.owner(request)
        for source in [item.source for item in batch.items if item.thumbnail is None]:
            if owner.has_left():
                break
            thumbnail = await asyncio.to_thread(write_thumbnail, source, MAX_READ_PIXELS)
            batch.draw(source, thumbnail)
            yield list(batch.items)

    @refusals_told
    async def run(
        self,
        request: gr.Request,
        batch: Batch,
        *chosen: Any,  # noqa: ANN401
    ) -> AsyncGenerator[tuple[Any, ...]]:
        """Upscale what is not done with these settings, one picture after another."""
        query = TAB_RUN.read(chosen)
        press, owner = Press(request.session_hash, chosen), self.inputs.queue.owner(request)
        batch.whole.press(press)
        batch.whole.start(press)
        batch.work, tried = 0.0, set[int]()
        try:
            while batch.whole.is_running(press) and not owner.has_left():
                number = batch.following(query, tried)
                if number is None:
                    break
                tried.add(number)
                async with aclosing(self._one(request, owner, batch, number, chosen)) as told:
                    async for is_superseded in told:
                        yield _shown(batch)
                        if is_superseded:
                            tried.discard(number)
            await asyncio.to_thread(batch.pack)
        finally:
            batch.whole.end(press, Action.FINISH)
        yield _shown(batch)

    async def _one(
        self,
        request: gr.Request,
        owner: Owner,
        batch: Batch,
        number: int,
        chosen: tuple[Any, ...],
    ) -> AsyncGenerator[bool]:
        """Upscale one picture; yields whenever something changes, True if it is to come again."""
        press = Press(None, (batch.items[number].source, None, *chosen))
        batch.each.press(press)
        batch.put(number, ItemState.RUNNING, snippets.waiting())
        yield False
        try:
            # What the visitor runs elsewhere on the page comes first.
            while not (press.stop.is_set() or self.inputs.queue.has_room(owner)):
                if owner.has_left():
                    press.stop.set()
                await asyncio.sleep(WATCH_SECONDS)
            await asyncio.to_thread(self._check, batch, number, chosen)
            async with aclosing(self.each.frames(request, batch.each, press, None)) as frames:
                async for frame in frames:
                    if frame is not None and frame.results is not None:
                        batch.finish(number, frame.results)
                    elif frame is not None:
                        batch.put(number, ItemState.RUNNING, frame.status)
                    yield False
        except gr.Error as error:
            batch.put(number, ItemState.FAILED, snippets.message(error.message))
        yield self._settle(batch, number, press, owner)

    def _check(self, batch: Batch, number: int, chosen: tuple[Any, ...]) -> None:
        """Check a picture before it waits for the model.

        Raises:
            gr.Error: If it cannot be upscaled, or they cost too much together.
        """
        batch.keep()
        path, query = batch.items[number].source, TAB_RUN.read(chosen)
        with errors_shown():
            check_run(self.inputs, TAB_RUN, query, path)
            work = batch.work + cost_of_run(self.inputs.sessions, TAB_RUN, query, path).work
            self.inputs.queue.limits.check_batch(work)
        batch.work = work

    @staticmethod
    def _settle(batch: Batch, number: int, press: Press, owner: Owner) -> bool:
        """Set the state of a picture whose run was stopped; whether it is to be run again."""
        if batch.items[number].state is not ItemState.RUNNING:
            return False
        again = press.stop.reason == SUPERSEDED
        if again or batch.whole.state is not RunState.RUNNING or owner.has_left():
            batch.put(number, ItemState.WAITING)
        else:
            batch.put(number, ItemState.FAILED, snippets.line(press.stop.reason, "error"))
        return again


def _shown(batch: Batch) -> tuple[Any, ...]:
    """Updates of `Several.outputs`."""
    state = batch.whole.state
    _, stop = button_updates(state)
    rests = state in (RunState.IDLE, RunState.DONE, RunState.FAILED)
    can_start = gr.update(interactive=rests and bool(batch.items))
    archive = archive_update(batch.archive if rests else None)
    return can_start, stop, can_start, archive, _status(batch), list(batch.items)


def _status(batch: Batch) -> str:
    """How many pictures are done and failed."""
    if not batch.items:
        return ""
    states = [item.state for item in batch.items]
    done, failed = states.count(ItemState.DONE), states.count(ItemState.FAILED)
    text = f"{done} of {snippets.counted(len(states), 'picture')} done"
    return snippets.line(text + (f", {failed} failed" if failed else ""))


def _stop(batch: Batch) -> Any:  # noqa: ANN401
    """End the rest."""
    if not batch.whole.stop():
        return gr.skip()
    batch.each.stop()
    return gr.update(value="Stopping", interactive=False)


def _clear(batch: Batch) -> tuple[Any, ...]:
    if batch.whole.state not in (RunState.RUNNING, RunState.STOPPING):
        batch.clear()
    return _shown(batch)


def _show(batch: Batch, shown: Upscaled | None, event: gr.EventData) -> tuple[Any, ...]:
    """Picture, reference, what is said of an example, and the result of a card."""
    items = batch.items
    made = items[event.index].upscaled if 0 <= event.index < len(items) else None
    if made is None:
        return (gr.skip(),) * 4
    if shown is not None:
        TAB_RUN.release(shown, None)
    return made.source, None, "", _copied(made)


def _copied(made: Upscaled) -> Upscaled:
    """A result in files of its own: those that are shown go with the next run."""
    folder = new_folder()
    bicubic, result = (Path(shutil.copy(f, folder)) for f in (made.bicubic, made.result))
    return dataclasses.replace(made, bicubic=bicubic, result=result)
