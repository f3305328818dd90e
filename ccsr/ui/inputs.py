"""The inputs of the page, and how their values are read.

Components pass on their values as they are. They are checked here, by the fields of
`ccsr.config`, so that a person and a program calling the page get the same clear messages.
"""

import functools
import inspect
import math
from collections.abc import AsyncGenerator, Callable, Generator, Mapping, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from html import escape
from logging import getLogger
from pathlib import Path
from typing import Any, ParamSpec

import gradio as gr
from gradio.components.base import Component

from ccsr.config import PRESETS, SamplingConfig, presets_for, variant_label
from ccsr.errors import InputError
from ccsr.evaluation.metrics import check_measurable
from ccsr.images.picture import MAX_INPUT_PIXELS, Picture
from ccsr.images.reader_pool import READERS, PictureFacts
from ccsr.inference.events import ModelInfo
from ccsr.inference.sizes import load_reference
from ccsr.option import Option, field_names, option, shown
from ccsr.stopping import Stopped
from ccsr.ui.components import NumberBox, NumberSlider, PictureFile
from ccsr.ui.event_options import LIGHT, PRIVATE, changes_of
from ccsr.ui.files import use
from ccsr.whole_file import lacks_space

logger = getLogger(__name__)

P = ParamSpec("P")

Setting = gr.Slider | gr.Radio | gr.Textbox

MAX_FRACTIONS_LENGTH = 200
"""Of a text that lists values of t_max or t_min."""
FIELDS = field_names(SamplingConfig)
"""Names of the settings, in the order of their components and values."""
STEPS = ("t_max", "t_min", "num_steps")
"""The settings of a preset."""
CUSTOM = "custom"
CUSTOM_CHOICE = ("Custom", CUSTOM)
"""Label and name of the steps of no preset."""


def picture_input(label: str, elem_id: str, height: int) -> gr.Image:
    """Make an upload of a picture that arrives as the untouched file.

    Gradio would open the file first, and fail without a message on what it cannot read.
    """
    return PictureFile(
        label=label,
        type="filepath",
        image_mode=None,
        format="png",
        sources=["upload", "clipboard"],
        buttons=["fullscreen"],
        height=height,
        elem_id=elem_id,
    )


def blank(value: Any) -> Any:  # noqa: ANN401
    """A value as read, to be shown again: an empty box if it is NaN."""
    return None if isinstance(value, float) and math.isnan(value) else value


@dataclass(frozen=True)
class Settings:
    """The components of a `SamplingConfig`, one for each field that the model uses."""

    components: dict[str, Setting]
    fixed: dict[str, gr.State]
    """The defaults of the other fields."""
    settled: gr.State
    """Changes when all components have received values at once, as from a preset."""
    changed: Callable[..., Any]
    """The change of any component, see `changes_of`."""

    def named(self) -> dict[str, Setting | gr.State]:
        """What holds the value of each field, in the order of `FIELDS`."""
        return {name: self.components.get(name) or self.fixed[name] for name in FIELDS}

    def values(self) -> list[Setting | gr.State]:
        """The same as inputs of an event."""
        return list(self.named().values())

    def chosen(self) -> list[Callable[..., Any]]:
        """The events of a person having chosen a value; while it still moves or grows, none."""
        events: list[Callable[..., Any]] = [self.settled.change]
        for component in self.components.values():
            # Not at every letter.
            typed = isinstance(component, gr.Textbox)
            events += [component.blur, component.submit] if typed else [chosen_event(component)]
        return events


def chosen_event(component: Component) -> Callable[..., Any]:
    """The event of a person having chosen a value."""
    assert isinstance(component, gr.Slider | gr.Radio | gr.Number | gr.Textbox)
    return component.release if isinstance(component, gr.Slider) else component.input


def settings_controls(info: ModelInfo, scale: gr.Slider) -> Settings:
    """Make the components of all settings that the model has.

    Args:
        info: The model.
        scale: The slider of the scale, which is elsewhere on the page.
    """
    presets = presets_for(info.start_point, info.defaults)
    preset = gr.Dropdown(
        [*((f"{PRESETS[n].label}: {PRESETS[n].help}", n) for n in presets), CUSTOM_CHOICE],
        value=next(iter(presets)),
        label="Preset",
        elem_id="preset",
    )
    made: dict[str, Setting] = {
        name: setting_slider(name, getattr(info.defaults, name)) for name in STEPS
    }
    made |= {"scale": scale} | _further_controls(info)
    settled = gr.State(0)
    changed = changes_of(made.values())
    default = info.defaults.model_dump()
    fixed = {name: gr.State(default[name]) for name in FIELDS if name not in made}
    settings = Settings(made, fixed, settled, changed)
    _wire_preset(preset, presets, settings)
    return settings


def _further_controls(info: ModelInfo) -> dict[str, Setting]:
    """Lay out what most visitors leave as it is."""
    made: dict[str, Setting] = {}
    with gr.Accordion("What these do", open=False):
        gr.HTML(f'<dl class="explained">{_explained(_used(info))}</dl>')
    with gr.Accordion("Colours, variant", open=False):
        made["color"] = _choice("color", [(c, c) for c in option(SamplingConfig, "color").choices])
        made["variant"] = _choice("variant", [(variant_label(v), v) for v in info.variants])
    if info.reads_text:
        with gr.Accordion("Prompt", open=False):
            made |= {name: _text_box(name) for name in ("prompt", "negative_prompt")}
            value = info.defaults.guidance_scale
            made["guidance_scale"] = setting_slider("guidance_scale", value)
    return made


def _wire_preset(
    preset: gr.Dropdown, presets: Mapping[str, SamplingConfig], settings: Settings
) -> None:
    """Let a preset set the steps, and the steps show which preset they are."""

    def apply(name: str, count: int) -> tuple[Any, ...]:
        if name == CUSTOM:
            return (gr.skip(),) * (len(STEPS) + 1)
        return *(getattr(presets[name], step) for step in STEPS), count + 1

    # In the queue: only there do changes of a state start further events.
    steps = [settings.components[step] for step in STEPS]
    inputs, outputs = [preset, settings.settled], [*steps, settings.settled]
    preset.input(apply, inputs, outputs, concurrency_limit=None, **PRIVATE)
    settings.changed(
        functools.partial(matching_preset, presets),
        steps,
        preset,
        trigger_mode="always_last",
        **LIGHT,
    )


def _used(info: ModelInfo) -> list[str]:
    """The fields that are on the page."""
    texts = ("prompt", "negative_prompt", "guidance_scale")
    return [name for name in FIELDS if info.reads_text or name not in texts]


def matching_preset(
    presets: Mapping[str, SamplingConfig], t_max: float, t_min: float, num_steps: float
) -> str:
    """The preset that these values are, or CUSTOM."""
    chosen = t_max, t_min, num_steps
    found = (name for name, p in presets.items() if (p.t_max, p.t_min, p.num_steps) == chosen)
    return next(found, CUSTOM)


def setting_slider(name: str, value: float) -> gr.Slider:
    """A slider of one field of the settings, without its help: `_explained` has it."""
    return number_slider(option(SamplingConfig, name), value, info=None)


def number_slider(
    about: Option, value: float, min_width: int = 160, info: str | None = ""
) -> gr.Slider:
    """A slider with the range of an option and, without another `info`, its help."""
    assert about.minimum is not None
    assert about.maximum is not None
    return NumberSlider(
        about.minimum,
        about.maximum,
        value,
        step=about.step,
        label=about.label,
        info=short_help(about) if info == "" else info,
        min_width=min_width,
    )


def number_box(
    about: Option, value: int, label: str | None = None, info: str | None = ""
) -> gr.Number:
    """A number box for an option, with its help unless another `info` is given."""
    return NumberBox(
        value,
        label=label or about.label,
        info=short_help(about) if info == "" else info,
        step=about.step or 1,
        min_width=140,
    )


def short_help(about: Option) -> str:
    """The first sentence of an option's help; `_explained` has all of it."""
    first, end, _ = about.help.partition(". ")
    return first + end.strip()


def _explained(names: Sequence[str]) -> str:
    options = [option(SamplingConfig, name) for name in names]
    return "".join(
        f"<dt>{escape(about.label)}</dt><dd>{escape(about.help)}</dd>" for about in options
    )


def _choice(name: str, choices: Sequence[tuple[str, str]]) -> gr.Radio:
    """A choice among values, each with its label."""
    about = option(SamplingConfig, name)
    default, values = getattr(SamplingConfig(), name), [value for _, value in choices]
    return gr.Radio(
        list(choices),
        value=default if default in values else values[0],
        label=about.label,
        info=short_help(about),
        visible=len(choices) > 1,
    )


def _text_box(name: str) -> gr.Textbox:
    about = option(SamplingConfig, name)
    return gr.Textbox(
        getattr(SamplingConfig(), name),
        label=about.label,
        info=short_help(about),
        max_length=about.max_length,
        elem_id=name,
    )


def read_config(values: Sequence[Any], **instead: Any) -> SamplingConfig:  # noqa: ANN401
    """Make the settings of the values of `Settings.values`, with some of them given `instead`.

    Raises:
        InputError: If a value is missing or out of its range, or they do not fit together.
    """
    return read_named(dict(zip(FIELDS, values, strict=True)) | instead)


def read_named(values: Mapping[str, Any]) -> SamplingConfig:
    """Make the settings of values by name.

    Raises:
        InputError: If a value is missing or out of its range, or they do not fit together.
    """
    options = {name: option(SamplingConfig, name) for name in values}
    read = {
        name: _sent(options[name], value, options[name].label) for name, value in values.items()
    }
    return SamplingConfig(**read)


def read_whole(about: Option, value: Any) -> int:  # noqa: ANN401
    """Read a whole number.

    Raises:
        InputError: If it is missing, not whole or out of its range.
    """
    return int(read_number(about, value))


def read_number(about: Option, value: Any, label: str = "") -> float:  # noqa: ANN401
    """Read the number of an option, which the message calls by its label unless another is given.

    Raises:
        InputError: If it is missing or out of its range.
    """
    label = label or about.label
    return about.validate(_sent(about, value, label), label)


def read_fractions(name: str, text: str) -> list[float]:
    """Read fractions with commas between; their range is checked where they are used.

    Raises:
        InputError: If the text is no such list.
    """
    if len(text) > MAX_FRACTIONS_LENGTH:
        raise InputError(f"{name} must have at most {MAX_FRACTIONS_LENGTH} characters")
    try:
        return [float(part) for part in text.split(",")]
    except ValueError as error:
        raise InputError(f'{name} must look like "0.5, 0.6667", got {shown(text)}') from error


def _sent(about: Option, value: Any, label: str) -> Any:  # noqa: ANN401
    """The value that a browser sent, which has no whole numbers but floats only."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        raise InputError(f"{label} is empty; enter a value")
    whole = about.value_type is int and isinstance(value, float) and value.is_integer()
    return int(value) if whole else value


def read_picture(path: str | None) -> Picture:
    """Read the chosen picture.

    Raises:
        InputError: If none was chosen, or the file is no picture that can be upscaled.
    """
    return READERS.picture(_chosen(path))


def read_facts(path: str | None, max_pixels: int = MAX_INPUT_PIXELS) -> PictureFacts:
    """Check a chosen picture of at most `max_pixels`; a file is read once for that.

    Raises:
        InputError: As `read_picture`.
    """
    file = Path(_chosen(path))
    use(file)
    try:
        found = file.stat()
    except OSError as error:
        raise InputError(f"{file.name} is no longer there; upload it again") from error
    return _facts(file, found.st_mtime_ns, max_pixels)


@functools.lru_cache(maxsize=512)
def _facts(file: Path, _: int, max_pixels: int) -> PictureFacts:
    return READERS.facts(file, max_pixels)


def _chosen(path: str | None) -> str:
    if not path:
        raise InputError("Choose a picture first: drop a file on the picture field, or paste one")
    return path


def read_reference(path: str | None, picture: Picture, config: SamplingConfig) -> Picture | None:
    """Read the true picture, if one was chosen.

    Done before the model works, so that a wrong one costs nothing.

    Raises:
        InputError: If the file is no picture, has not the size of the results, or is too small to
            be measured.
    """
    if not path:
        return None
    reference = load_reference(path, picture, config)
    check_measurable(reference.size)
    return reference


class Refused(gr.Error):
    """What was asked for is not possible; the message says what to change."""


@contextmanager
def errors_shown(as_shown: Callable[[str], str] = escape) -> Generator[None]:
    """Turn errors inside into messages, on the page or for a program.

    The browser takes a message for HTML, and values that a visitor has written may be part of it.

    An InputError is about the picture or the settings, and becomes a `Refused`: its text is for the
    person. Anything else is logged, and the message only says that the run failed, or that the
    disk is full.

    Args:
        as_shown: Makes the message of a text; programs get the text as it is.
    """
    try:
        yield
    except (gr.Error, Stopped):
        raise
    except InputError as error:
        raise Refused(as_shown(str(error)), print_exception=False) from error
    except Exception as error:
        logger.exception("a run failed")
        message = (
            "The run failed, and the log of the server says why. Try again, or another picture."
        )
        if lacks_space(error):
            message = "The disk of the server is full. Try again later."
        raise gr.Error(message, print_exception=False) from error


def refusals_told(handler: Callable[P, Any]) -> Callable[P, Any]:
    """An event handler that says why it refuses, and then leaves all outputs as they are.

    What a handler raises is called an error by the browser, and at a refusal nothing has failed.
    """

    @functools.wraps(handler)
    def told(*args: P.args, **kwargs: P.kwargs) -> Any:  # noqa: ANN401
        try:
            with errors_shown():
                return handler(*args, **kwargs)
        except Refused as refused:
            return _told(refused)

    @functools.wraps(handler)
    async def each_told(*args: P.args, **kwargs: P.kwargs) -> AsyncGenerator[Any]:
        try:
            with errors_shown():
                async with aclosing(handler(*args, **kwargs)) as answers:
                    async for answer in answers:
                        yield answer
        except Refused as refused:
            yield _told(refused)

    return each_told if inspect.isasyncgenfunction(handler) else told


def _told(refused: Refused) -> Any:  # noqa: ANN401
    gr.Warning(refused.message)
    return gr.skip()
