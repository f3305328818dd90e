"""The page: a picture and its settings beside the tabs."""

import functools
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.components.base import Component

from ccsr.config import REFERENCE_HELP, SamplingConfig, Variant, variant_label
from ccsr.diffusion.timesteps import LoopStart
from ccsr.evaluation.report import read_settings
from ccsr.images.reader_pool import READERS
from ccsr.inference.events import Engine, ModelInfo
from ccsr.inference.sizes import target_size
from ccsr.ui import snippets, upload_limit
from ccsr.ui.browser_parts import HEAD
from ccsr.ui.browser_storage import remember
from ccsr.ui.components import SettingsFile
from ccsr.ui.event_options import LIGHT, PRIVATE, changes_of
from ccsr.ui.example_strip import ExampleStrip, wire_examples
from ccsr.ui.examples import EXAMPLES, FOLDER, first_side
from ccsr.ui.fitting import build_fitting, is_too_large, wire_fitting
from ccsr.ui.inputs import (
    Settings,
    blank,
    picture_input,
    read_config,
    read_facts,
    setting_slider,
    settings_controls,
)
from ccsr.ui.introduction import ICON, TITLE
from ccsr.ui.kept_work import keep_work
from ccsr.ui.limits import Limits
from ccsr.ui.longest_side import longest_side_box, wire_longest_side
from ccsr.ui.model_queue import ModelQueue
from ccsr.ui.script import SCRIPT
from ccsr.ui.server import app_kwargs
from ccsr.ui.sessions import Sessions
from ccsr.ui.shown_run import BuiltTab, wire_shown_runs
from ccsr.ui.tab_run import Inputs
from ccsr.ui.tabs.seeds import build_seeds_tab
from ccsr.ui.tabs.several import Several, build_several, wire_several
from ccsr.ui.tabs.tradeoff import build_tradeoff_tab
from ccsr.ui.tabs.trajectory import build_trajectory_tab
from ccsr.ui.tabs.upscale import build_upscale_tab
from ccsr.ui.tabs.variants import build_variants_tab
from ccsr.ui.theme import CSS, OUTSIDE, THEME

UPSCALE = "Upscale"
SIDES = ("picture", "tabs-side", "examples-side", "settings")
"""Parts of the page, in the order of the tab stops."""
MAX_THREADS = 100
"""Events that are answered at the same time, runs that wait for the model among them."""
MAX_EVENTS = 2000
"""Most events of all pages that wait to be answered."""


def launch_kwargs(queue: ModelQueue, sessions: Sessions) -> dict[str, Any]:
    """Arguments of `launch`, which has the theme and the script of the page, and its server."""
    return {
        "theme": THEME,
        "css": CSS,
        "head": f"<script>{SCRIPT}{upload_limit.SCRIPT}</script>{OUTSIDE}{HEAD}",
        "footer_links": ["api", "settings"],
        "run_history": False,
        "show_error": False,
        "max_file_size": queue.limits.max_upload_bytes,
        "favicon_path": str(ICON),
        "allowed_paths": [str(FOLDER)],
        "max_threads": MAX_THREADS,
        "enable_monitoring": False,
        "app_kwargs": app_kwargs(queue, sessions.forget),
    }


def build_page(
    engine: Engine, queue: ModelQueue | None = None, sessions: Sessions | None = None
) -> gr.Blocks:
    """Build the page around a model.

    Args:
        engine: The model.
        queue: Where runs wait for it; None: a queue of the page's own.
        sessions: What is kept for visitors; None: sessions of the page's own.
    """
    info = engine.info
    # Both are false while they are empty, in a server that has just been started.
    queue = ModelQueue() if queue is None else queue
    sessions = Sessions(engine) if sessions is None else sessions
    # Gradio removes old files every hour.
    with gr.Blocks(
        title=TITLE,
        analytics_enabled=False,
        delete_cache=(3600, queue.limits.keep_seconds),
        fill_width=True,
    ) as page:
        _heading(info)
        upload_limit.build_upload_limit(queue.limits.max_upload_bytes)
        _workspace(page, engine, queue, sessions)
        page.unload(sessions.release)
    # Work waits for the model in a queue of its own, and what shows results waits for nobody.
    page.queue(max_size=MAX_EVENTS, api_open=False)
    return page


def _workspace(page: gr.Blocks, engine: Engine, queue: ModelQueue, sessions: Sessions) -> None:
    """Lay out picture, settings and tabs, and wire what they share."""
    with gr.Row(elem_classes="workspace"):
        # The theme places them.
        picture_side, tabs_side, examples_side, settings_side = map(_side, SIDES)
    with picture_side:
        picture, about = _picture_side()
        fitting = build_fitting()
    with examples_side:
        strip, about_example, reference = _examples_side()
    with tabs_side, gr.Row(elem_classes="sizing"):
        scale = setting_slider("scale", engine.info.defaults.scale)
        side = longest_side_box(first_side(engine.info))
    with settings_side:
        settings = _settings_side(engine.info, scale)
        link = gr.HTML(elem_id="settings-link")
        load = _settings_file()
    with tabs_side:
        inputs = Inputs(picture, reference, sessions, queue, gr.State(True))
        tabs, several = _tabs(engine, inputs, settings)
    wire_shown_runs(inputs, settings, [tab.run for tab in tabs])
    chosen = {name: component for tab in tabs for name, component in tab.values.items()}
    remember(page, {**settings.components, **chosen}, settings.settled.change, link)
    _wire_settings_file(load, engine.info, settings, chosen["seed"])
    _wire_about(picture, settings, (about, fitting[0]), queue.limits)
    wire_longest_side(side, picture, scale, settings.settled)
    wire_fitting(fitting, picture, settings, queue.limits)
    wire_examples(strip, about_example, inputs, tabs[0].run.results)
    wire_several(several, inputs, tabs[0], settings, about_example)
    keep_work(page, about_example, inputs, tabs[0].run.results)


def _side(name: str) -> gr.Column:
    return gr.Column(elem_classes=name, min_width=280)


def _wire_about(
    picture: gr.Image, settings: Settings, shown: tuple[gr.HTML, gr.Row], limits: Limits
) -> None:
    """Say what the picture is and will become, and what to do if it is too large."""
    changes_of([picture, settings.components["scale"]])(
        functools.partial(_about_picture, limits),
        [picture, *settings.values()],
        list(shown),
        trigger_mode="always_last",
        **LIGHT,
    )


def _heading(info: ModelInfo) -> None:
    gr.HTML(
        '<div class="heading"><h1>CCSR</h1><p>Super-resolution, stable over seeds</p>'
        f'<p class="model">{snippets.model_line(info)}</p></div>'
    )


def _tabs(engine: Engine, inputs: Inputs, settings: Settings) -> tuple[list[BuiltTab], Several]:
    """Lay out all tabs, the first of which has the seed among its values, and several pictures."""
    # Otherwise the last tabs are hidden in a menu on a narrow screen.
    with gr.Tabs(overflow_behavior="wrap") as tabs:
        with gr.Tab(UPSCALE, id="upscale"):
            upscale = build_upscale_tab(engine, inputs, settings)
            several = build_several(inputs.queue.limits)
        with gr.Tab("Seed consistency", id="seeds"):
            seeds = build_seeds_tab(inputs, settings)
        with gr.Tab("Trade-off", id="tradeoff"):
            tradeoff = build_tradeoff_tab(engine, inputs, settings)
        with gr.Tab("Trajectory", id="trajectory"):
            trajectory = build_trajectory_tab(inputs, upscale.values["seed"], settings)
        built = [upscale, seeds, tradeoff, trajectory]
        if len(engine.info.variants) > 1:
            with gr.Tab("Variants", id="variants"):
                built.append(build_variants_tab(engine.info, inputs, settings))
    tabs.select(_is_upscale, None, inputs.is_upscale_seen, **LIGHT)
    return built, several


def _is_upscale(tab: gr.SelectData) -> bool:
    return tab.value == UPSCALE


def _picture_side() -> tuple[gr.Image, gr.HTML]:
    """Lay out the picture and the line about it."""
    return picture_input("Picture", "picture", 210), gr.HTML(elem_id="about-picture")


def _examples_side() -> tuple[ExampleStrip, gr.HTML, gr.Image]:
    """Lay out the examples, what they show, and the reference."""
    # They are served from where they are.
    gr.set_static_paths([FOLDER])
    strip = ExampleStrip(value=EXAMPLES, elem_id="examples")
    about = gr.HTML(elem_id="about-example")
    with gr.Accordion("Reference picture (optional)", open=False):
        gr.HTML(snippets.line(REFERENCE_HELP, "quiet"))
        return strip, about, picture_input("Reference", "reference", 180)


def _settings_side(info: ModelInfo, scale: gr.Slider) -> Settings:
    """Lay out the settings and what they cost, on a narrow page in a drawer."""
    gr.Button("Settings", size="md", elem_classes="drawer-handle")
    settings = settings_controls(info, scale)
    cost = gr.HTML(elem_id="evaluations")
    show = functools.partial(_cost_line, info.loop_start)
    settings.changed(show, settings.values(), cost, trigger_mode="always_last", **LIGHT)
    cost.value = show(*(component.value for component in settings.values()))
    return settings


def _settings_file() -> gr.File:
    return SettingsFile(
        label="Load settings: drop a result made here",
        file_types=[".png", ".jpg", ".jpeg", ".webp"],
        height=84,
        elem_id="load-settings",
    )


def _wire_settings_file(
    load: gr.File, info: ModelInfo, settings: Settings, seed: Component
) -> None:
    """Set the seed and the settings to those in a result that is dropped."""
    receiving = [load, settings.settled, seed, *settings.components.values()]
    load.upload(
        functools.partial(_load_settings, info.variants, tuple(settings.components)),
        receiving,
        receiving,
        concurrency_limit=None,
        **PRIVATE,
    )


def _load_settings(
    variants: Sequence[Variant],
    names: Sequence[str],
    path: str,
    count: int,
    seed: float,
    *values: Any,  # noqa: ANN401
) -> tuple[Any, ...]:
    """The settings in a picture made here, or those of the page if it holds none.

    Returns:
        None to empty the file field for the next file, the count of values received at once, the
        seed, and the values of the settings on the page. Never an error: after one the file field
        would not be empty.
    """
    chosen = {name: blank(value) for name, value in zip(names, values, strict=True)}
    try:
        found = read_settings(Path(path), READERS.texts)
    except ValueError as error:
        gr.Warning(escape(str(error)))
        return None, count, blank(seed), *chosen.values()
    if found.config.prompt_key != SamplingConfig().prompt_key and "prompt" not in names:
        gr.Warning("That picture was made with a prompt, and this model reads none.")
    loaded = {name: getattr(found.config, name) for name in names}
    if found.config.variant not in variants:
        label = variant_label(found.config.variant)
        gr.Warning(f"That picture was made with variant {label}, which this model lacks.")
        loaded["variant"] = chosen["variant"]
    return None, count + 1, found.seed, *loaded.values()


def _cost_line(loop_start: LoopStart, *values: Any) -> str:  # noqa: ANN401
    try:
        return snippets.cost_line(read_config(values), loop_start)
    except ValueError as error:
        return snippets.line(str(error), "error")


def _about_picture(
    limits: Limits,
    path: str | None,
    *values: Any,  # noqa: ANN401
) -> tuple[str, Any]:
    """The line about a picture, and whether it is offered to make it smaller."""
    if not path:
        return "", gr.update(visible=False)
    try:
        config = read_config(values)
    except ValueError as error:
        return snippets.line(str(error), "error"), gr.update(visible=False)
    too_large = gr.update(visible=is_too_large(path, config, limits))
    try:
        picture = read_facts(path)
        result = target_size(picture, config)
        limits.check_size(result)
        return snippets.picture_line(picture, result), too_large
    except ValueError as error:
        return snippets.line(str(error), "error"), too_large
