import dataclasses
import math
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import pytest

from ccsr.config import NUM_SEEDS, SEED, SamplingConfig, StartPoint, presets_for
from ccsr.errors import InputError
from ccsr.images.picture import Picture, PictureError
from ccsr.ui import files
from ccsr.ui.inputs import (
    CUSTOM,
    FIELDS,
    Refused,
    blank,
    errors_shown,
    matching_preset,
    read_config,
    read_fractions,
    read_picture,
    read_reference,
    read_whole,
    refusals_told,
    setting_slider,
    settings_controls,
)
from tests.fakes import FakeEngine, run_coroutine

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
    with pytest.raises(ValueError, match=r"Number of seeds must be a whole .* 2 to 50, got 51"):
        read_whole(NUM_SEEDS, 51)
    with pytest.raises(
        ValueError, match=r"Seed must be a whole number from 0 to 2147483647, got 1\.5"
    ):
        read_whole(SEED, 1.5)
    with pytest.raises(ValueError, match=r"Seed must be a whole number from .*, got 'many'"):
        read_whole(SEED, "many")


def test_reference_too_small_to_measure_is_refused_when_it_is_read(picture_file: Path) -> None:
    small = Picture(np.zeros((24, 30, 3), np.float32))
    files.write_preview(picture_file, small.rgb)
    config = SamplingConfig(scale=1.0)
    with pytest.raises(PictureError, match="at least 40 pixels a side"):
        read_reference(str(picture_file), small, config)
    assert read_reference(None, small, config) is None


def test_no_picture_is_a_clear_message() -> None:
    with pytest.raises(ValueError, match="Choose a picture first"):
        read_picture(None)


@pytest.mark.parametrize(("start_point", "offered"), [("noise", False), ("lr", True)])
def test_presets_of_v2_are_offered_for_its_models_only(
    start_point: StartPoint, offered: bool
) -> None:
    info = dataclasses.replace(FakeEngine().info, start_point=start_point)
    with gr.Blocks() as page:
        settings_controls(info, setting_slider("scale", 4.0))
    (preset,) = (b for b in page.blocks.values() if getattr(b, "elem_id", None) == "preset")
    assert isinstance(preset, gr.Dropdown)
    assert ("v2" in {value for _, value in preset.choices}) == offered


def test_controls_begin_with_the_grid_of_the_model() -> None:
    info = dataclasses.replace(FakeEngine().info, num_steps=15)
    with gr.Blocks() as page:
        settings = settings_controls(info, setting_slider("scale", 4.0))
    assert settings.components["num_steps"].value == 15
    (preset,) = (b for b in page.blocks.values() if getattr(b, "elem_id", None) == "preset")
    assert isinstance(preset, gr.Dropdown)
    assert preset.value == "ccsr"
    presets = presets_for(info.start_point, info.defaults)
    assert matching_preset(presets, 0.6667, 0.3333, 15) == "ccsr"
    assert matching_preset(presets, 0.6667, 0.3333, 45) == "paper"
    assert matching_preset(presets, 0.6667, 0.3333, 30) == CUSTOM


def test_value_that_was_empty_is_empty_again() -> None:
    assert blank(math.nan) is None
    assert [blank(value) for value in (0.0, 0.5, "ccsr", None)] == [0.0, 0.5, "ccsr", None]


@pytest.mark.parametrize(
    "error", [InputError("<b>bold</b>"), OSError(13, "denied", "/srv/secret")], ids=["html", "path"]
)
def test_messages_hold_no_html_and_no_path(error: Exception) -> None:
    with pytest.raises(gr.Error) as caught, errors_shown():
        raise error
    assert "<" not in caught.value.message
    assert "/srv" not in caught.value.message


def test_a_refusal_is_told_and_an_error_of_a_library_is_a_fault() -> None:
    with pytest.raises(Refused, match="t_max is too high"), errors_shown():
        raise InputError("t_max is too high")
    with pytest.raises(gr.Error, match="the log of the server") as caught, errors_shown():
        np.zeros(3).reshape(2, 2)
    assert not isinstance(caught.value, Refused)


def test_messages_show_the_beginning_of_a_value() -> None:
    for value in ("a" * 10_000, 10**5000, [[[["deep"]]]] * 1000, float("inf")):
        with pytest.raises(ValueError, match=r"t_max must be a number from 0 to 1") as caught:
            read_config(changed(t_max=value))
        assert len(str(caught.value)) < 130
    with pytest.raises(ValueError, match=r"at most 200 characters"):
        read_fractions("t_max", "0.5," * 100)


def test_a_refused_handler_leaves_its_outputs_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr(gr, "Warning", told.append)

    @refusals_told
    def answer(number: int) -> int:
        if number < 0:
            raise InputError("<b> must be at least 0, got -1")
        return number

    @refusals_told
    async def answers(number: int) -> AsyncGenerator[int]:
        yield answer(number)
        raise InputError("that was all")

    async def collected() -> list[Any]:
        return [item async for item in answers(2)]

    assert (answer(1), answer(-1)) == (1, gr.skip())
    assert run_coroutine(collected()) == [2, gr.skip()]
    assert told == ["&lt;b&gt; must be at least 0, got -1", "that was all"]
    failing = refusals_told(lambda: 1 / 0)
    with pytest.raises(gr.Error, match="The run failed"):
        failing()
