import dataclasses
import math
import os
import shlex
import time
from pathlib import Path

import gradio as gr
import numpy as np
import pytest

from ccsr.cli import parser
from ccsr.config import NUM_SEEDS, SEED, SamplingConfig, StartPoint
from ccsr.images.picture import Picture, PictureError, Size
from ccsr.inference.events import Progress
from ccsr.ui import files, snippets
from ccsr.ui import sessions as exploring
from ccsr.ui.browser_storage import remembered
from ccsr.ui.inputs import (
    FIELDS,
    blank,
    read_config,
    read_picture,
    read_reference,
    read_whole,
    settings_controls,
)
from ccsr.ui.sessions import SessionPicture, Sessions
from ccsr.ui.tabs.seeds import read_seeds
from ccsr.ui.tabs.trajectory import marked_timesteps
from tests.fakes import FakeEngine

DEFAULTS = tuple(getattr(SamplingConfig(), name) for name in FIELDS)


def changed(**values: object) -> list[object]:
    return [values.get(name, value) for name, value in zip(FIELDS, DEFAULTS, strict=True)]


def test_the_values_of_the_controls_make_the_settings() -> None:
    assert read_config(DEFAULTS) == SamplingConfig()
    assert read_config(changed(num_steps=30.0)).num_steps == 30


@pytest.mark.parametrize("empty", [None, math.nan])
def test_an_empty_number_is_named_in_the_message(empty: float | None) -> None:
    with pytest.raises(ValueError, match="t_max is empty"):
        read_config(changed(t_max=empty))
    with pytest.raises(ValueError, match="Seed is empty"):
        read_whole(SEED, empty)


def test_numbers_out_of_range_and_fractions_are_refused() -> None:
    with pytest.raises(ValueError, match="Number of seeds must be from 2 to 50, got 51"):
        read_whole(NUM_SEEDS, 51)
    with pytest.raises(ValueError, match=r"Seed must be a whole number, got 1\.5"):
        read_whole(SEED, 1.5)
    with pytest.raises(ValueError, match="Seed must be a number"):
        read_whole(SEED, "many")


def test_seeds_are_counted_from_the_first() -> None:
    assert read_seeds(4.0, 3.0) == [4, 5, 6]
    with pytest.raises(ValueError, match="last seed must be at most"):
        read_seeds(2**31 - 1, 2)


def test_reference_too_small_to_measure_is_refused_when_it_is_read(picture_file: Path) -> None:
    small = Picture(np.zeros((24, 30, 3), np.float32))
    files.write_look(picture_file, small.rgb)
    config = SamplingConfig(scale=1.0)
    with pytest.raises(PictureError, match="at least 40 pixels a side"):
        read_reference(str(picture_file), small, config)
    assert read_reference(None, small, config) is None


def test_no_picture_is_a_clear_message() -> None:
    with pytest.raises(ValueError, match="Choose a picture first"):
        read_picture(None)


def test_the_cost_of_a_setting_is_told() -> None:
    assert "15 refinement steps, 16 network evaluations" in snippets.nfe_line(SamplingConfig())
    same = SamplingConfig(t_max=0.5, t_min=0.5)
    assert "no refinement: 1 network evaluation<" in snippets.nfe_line(same)
    assert "Uniform diffusion: 16" in snippets.nfe_line(SamplingConfig(variant="v1"))


def test_progress_tells_what_is_left_once_it_is_known() -> None:
    first = Progress(1, 16, 999, (3,), None)
    assert "left" not in snippets.progress(first, 4.0)
    middle = Progress(8, 16, 500, (3,), None)
    assert "about 4.0 s left" in snippets.progress(middle, 4.0)
    assert 'aria-valuenow="50.0"' in snippets.progress(middle, 4.0)
    # With many results, those that are there foretell the rest.
    assert "left" not in snippets.progress(middle, 4.0, share_done=0)
    assert "about 12 s left" in snippets.progress(middle, 4.0, share_done=0.25)


def test_texts_of_others_are_escaped() -> None:
    assert "<b>" not in snippets.line("<b>bold</b>")
    assert "<b>" not in snippets.facts({"<b>": "<b>"}, ["<b>"])


def test_the_curve_has_a_point_for_every_number_of_seeds_from_two() -> None:
    assert snippets.curve([0.0]) == ""
    assert snippets.curve([0.0, 0.01, 0.02]).count("<circle") == 2
    assert "nan" not in snippets.curve([0.0, 0.0])


def test_the_bicubic_enlargement_keeps_transparency() -> None:
    rgb = np.full((20, 30, 3), 0.5, np.float32)
    alpha = np.zeros((20, 30), np.float32)
    alpha[:, 15:] = 1
    enlarged = files.bicubic(Picture(rgb, alpha, bits=16), Size(40, 60))
    assert enlarged.size == (40, 60)
    assert enlarged.alpha is not None
    assert enlarged.alpha[:, :20].max() < 0.01
    assert enlarged.alpha[:, 40:].min() > 0.99


def test_files_of_old_runs_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    old, recent = files.new_folder(), files.new_folder()
    long_ago = time.time() - files.KEEP_SECONDS - 60
    os.utime(old, (long_ago, long_ago))
    files.new_folder()
    assert not old.exists()
    assert recent.exists()


def test_command_holds_what_differs_from_the_defaults() -> None:
    plain = snippets.command_line("a b.png", SamplingConfig(), 0, "compact")
    assert plain == "python -m ccsr upscale 'a b.png' --output results"
    config = SamplingConfig(t_max=0.8, variant="v2")
    changed = snippets.command_line("cat.png", config, 3, "owner/model")
    assert changed.endswith(
        "--output results --model owner/model --seed 3 --variant v2 --t-max 0.8"
    )


def test_command_is_one_that_the_command_line_takes() -> None:
    config = SamplingConfig(t_max=0.8, t_min=0.1, num_steps=30, color="none", scale=2.0)
    command = snippets.command_line("my cat.png", config, 3, "compact")
    options = parser().parse_args(shlex.split(command)[3:])
    assert SamplingConfig(**{name: getattr(options, name) for name in FIELDS}) == config
    assert (options.inputs, options.seed) == ([Path("my cat.png")], 3)


def test_python_code_compiles_and_names_the_settings() -> None:
    code = snippets.python_code("cat.png", SamplingConfig(t_min=0.2), 3, "compact")
    compile(code, "snippet", "exec")
    assert "SamplingConfig(t_min=0.2), seeds=(3,)" in code


def test_only_values_that_still_fit_are_remembered() -> None:
    names = [*FIELDS, "seed"]
    found = {**dict(zip(FIELDS, DEFAULTS, strict=True)), "seed": 3}
    choices = {"variant": {"ccsr", "v1"}}
    assert remembered(found, names, choices) == found
    others = (
        None,
        {"seed": 3},
        {**found, "t_max": 7},
        {**found, "num_steps": "many"},
        {**found, "variant": "v2"},
        {**found, "variant": []},
    )
    for other in others:
        assert remembered(other, names, choices) == {}


@pytest.mark.parametrize(("start_point", "offered"), [("noise", False), ("lr", True)])
def test_presets_of_v2_are_offered_for_its_models_only(
    start_point: StartPoint, offered: bool
) -> None:
    info = dataclasses.replace(FakeEngine().info, start_point=start_point)
    with gr.Blocks() as page:
        settings_controls(info)
    (preset,) = (b for b in page.blocks.values() if getattr(b, "elem_id", None) == "preset")
    assert isinstance(preset, gr.Dropdown)
    assert ("v2" in {value for _, value in preset.choices}) == offered


def explored_by(sessions: Sessions, visitor: str | None, path: str) -> SessionPicture:
    with sessions.lent(visitor, path) as found:
        return found


def test_each_visitor_keeps_one_picture_for_a_while(
    picture_file: Path, reference_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr("ccsr.ui.sessions.time.monotonic", lambda: now)
    sessions, cat, large = Sessions(FakeEngine()), str(picture_file), str(reference_file)
    first = explored_by(sessions, "a", cat)
    assert explored_by(sessions, "a", cat) is first
    assert explored_by(sessions, "b", cat) is not first
    assert explored_by(sessions, "a", large) is not first
    assert explored_by(sessions, "a", cat) is not first
    with sessions.lent("a", cat) as before:
        now = 2 * exploring.KEEP_SECONDS  # a long run
    assert explored_by(sessions, "a", cat) is before
    assert len(sessions) == 1
    now += exploring.KEEP_SECONDS
    assert explored_by(sessions, "a", cat) is not before


def test_program_without_a_page_keeps_nothing(picture_file: Path) -> None:
    sessions = Sessions(FakeEngine())
    assert explored_by(sessions, None, str(picture_file)).path == str(picture_file)
    assert len(sessions) == 0


def test_visitor_who_leaves_during_a_run_leaves_nothing(picture_file: Path) -> None:
    sessions = Sessions(FakeEngine())
    with sessions.lent("a", str(picture_file)):
        request = gr.Request()
        request.session_hash = "a"
        sessions.release(request)
    assert len(sessions) == 0


def test_of_too_many_visitors_the_longest_idle_is_forgotten(
    picture_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ccsr.ui.sessions.MAX_VISITORS", 2)
    sessions, cat = Sessions(FakeEngine()), str(picture_file)
    kept = {name: explored_by(sessions, name, cat) for name in "ab"}
    assert explored_by(sessions, "a", cat) is kept["a"]
    explored_by(sessions, "c", cat)
    assert explored_by(sessions, "a", cat) is kept["a"]
    assert explored_by(sessions, "b", cat) is not kept["b"]


def test_empty_boxes_have_no_mark() -> None:
    config = SamplingConfig()
    assert marked_timesteps(config, math.nan, 0.2) == {"t_min": 200}
    assert marked_timesteps(dataclasses.replace(config, variant="v1"), 0.5, 0.2) == {}
    assert marked_timesteps(dataclasses.replace(config, t_min=config.t_max), 0.5, 0.2) == {}


def test_value_that_was_empty_is_empty_again() -> None:
    assert blank(math.nan) is None
    assert [blank(value) for value in (0.0, 0.5, "ccsr", None)] == [0.0, 0.5, "ccsr", None]
