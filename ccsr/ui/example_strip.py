"""The examples as buttons, each of which sets the picture and shows its result at once."""

from pathlib import Path
from typing import Any

import gradio as gr
from gradio.data_classes import FileData
from gradio.processing_utils import save_file_to_cache
from gradio.utils import get_upload_folder

from ccsr.config import COMPACT
from ccsr.inference.events import ModelInfo
from ccsr.ui import snippets
from ccsr.ui.event_options import IN_ORDER, LIGHT
from ccsr.ui.examples import EXAMPLES, Example
from ccsr.ui.tab_run import Inputs
from ccsr.ui.tabs.upscale import TAB_RUN, Upscaled, shipped


class ExampleStrip(gr.HTML):
    """The examples as buttons; the event `click` has the `index` of the one that was clicked."""

    def __init__(self, **kwargs: Any) -> None:  # noqa: ANN401 - those of gr.HTML
        kwargs |= {
            "html_template": (
                '<div class="examples" role="group" aria-label="Examples">{{#each value}}'
                '<button type="button" data-index="{{@index}}" title="{{about}}">'
                '<img src="{{file.url}}" alt=""><span>{{title}}</span></button>{{/each}}</div>'
            ),
            "js_on_load": (
                'element.addEventListener("click", ({ target }) => {'
                '    const index = target.closest("button")?.dataset.index;'
                '    if (index) trigger("click", { index: Number(index) });'
                "});"
            ),
            "apply_default_css": False,
        }
        super().__init__(**kwargs)

    def postprocess(  # type: ignore[override] - what is shown is no HTML here
        self, value: tuple[Example, ...]
    ) -> Any:  # noqa: ANN401
        """What the browser is sent."""
        return [
            {
                "file": FileData(path=str(example.picture)).model_dump(),
                "title": example.title,
                "about": example.about,
            }
            for example in value
        ]


def wire_examples(strip: ExampleStrip, about: gr.HTML, inputs: Inputs, results: gr.State) -> None:
    """Take an example by a click.

    Args:
        strip: The examples.
        about: Says what the chosen one shows.
        inputs: Get its picture and its true picture.
        results: Those of the tab Upscale.
    """
    info = inputs.sessions.engine.info
    outputs = [inputs.picture, inputs.reference, about, results]

    def clicked(shown: Upscaled | None, event: gr.EventData) -> tuple[Any, ...]:
        if not 0 <= event.index < len(EXAMPLES):
            return (gr.skip(),) * len(outputs)
        return chosen(EXAMPLES[event.index], info, shown)

    # In the queue: only there do changes of a state start further events.
    strip.click(clicked, results, outputs, **IN_ORDER)
    for event in (inputs.picture.upload, inputs.picture.clear):
        event(_of_own_picture, inputs.reference, [about, inputs.reference], **LIGHT)


def _of_own_picture(reference: str | None) -> tuple[str, Any]:
    """What is said of an example, and the reference, once its picture has gone."""
    names = [example.reference.name for example in EXAMPLES if example.reference]
    of_example = reference is not None and Path(reference).name in names
    return "", None if of_example else gr.skip()


def chosen(example: Example, info: ModelInfo, results: Upscaled | None) -> tuple[Any, ...]:
    """Picture, reference, what to look at, and results when an example is chosen.

    Args:
        example: The example.
        info: The model; results that ship are of the compact one.
        results: Those that are shown.
    """
    picture = _copied(example.picture)
    reference = _copied(example.reference) if example.reference else None
    if info.name == COMPACT:
        if results is not None:
            TAB_RUN.release(results, None)
        results = shipped(example, picture, info)
    return picture, reference, snippets.line(example.about, "quiet"), results


def _copied(path: Path) -> str:
    """Copy a picture to where uploads are; its path there."""
    return save_file_to_cache(path, get_upload_folder())
