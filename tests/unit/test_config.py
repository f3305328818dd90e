from typing import Any

import pytest

from ccsr.cli import config_of, parser
from ccsr.config import (
    MAX_SEED,
    MAX_SEEDS_PER_RUN,
    PRESETS,
    TABLE_5,
    LoadingConfig,
    RunConfig,
    SamplingConfig,
    parse_seeds,
    presets_for,
)
from ccsr.diffusion.timesteps import timestep_plan
from ccsr.option import Config, field_names, option

FIELDS = field_names(SamplingConfig)
SHOWN = [(kind, name) for kind in (SamplingConfig, LoadingConfig, RunConfig)
         for name in field_names(kind)]  # fmt: skip
"""All fields that a person sees."""


@pytest.mark.parametrize(
    ("text", "seeds"),
    [("0-9", range(10)), ("3,5,8-10", (3, 5, 8, 9, 10)), (" 7 ", (7,)), ("2,1,2", (2, 1))],
)
def test_seed_lists_are_read(text: str, seeds: object) -> None:
    assert parse_seeds(text) == tuple(seeds)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a-b", "must look like"),
        ("", "must look like"),
        ("1-", "must look like"),
        ("-1", "must look like"),
        ("1.5", "must look like"),
        ("9-0", "must rise"),
        (f"0-{MAX_SEEDS_PER_RUN}", "at most"),
        ("0-999999999999", "at most"),
        (f"{MAX_SEED + 1}", "at most"),
        (",".join(str(i) for i in range(MAX_SEEDS_PER_RUN + 1)), "at most"),
    ],
)
def test_bad_seed_lists_say_what_is_wrong(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_seeds(text)


@pytest.mark.parametrize(("kind", "name"), SHOWN)
def test_every_field_has_a_label_a_help_text_and_an_allowed_default(
    kind: type[Config], name: str
) -> None:
    about = option(kind, name)
    assert about.field.title
    assert about.help.endswith(".")
    assert about.validate(about.default) == about.default


@pytest.mark.parametrize("name", FIELDS)
def test_command_line_takes_its_default_from_the_field(name: str) -> None:
    options = parser().parse_args(["upscale", "in.png", "--output", "out"])
    assert getattr(config_of(SamplingConfig, options), name) == getattr(SamplingConfig(), name)


def test_command_line_leaves_the_grid_of_the_model_unless_another_is_given() -> None:
    model = SamplingConfig(num_steps=15)
    words = ["upscale", "in.png", "--output", "out", "--t-max", "0.8"]
    found = config_of(SamplingConfig, parser().parse_args(words), model)
    assert found == SamplingConfig(num_steps=15, t_max=0.8)
    words += ["--num-steps", "45"]
    assert config_of(SamplingConfig, parser().parse_args(words), model).num_steps == 45


@pytest.mark.parametrize("name", FIELDS)
def test_values_outside_the_range_are_refused(name: str) -> None:
    limits = option(SamplingConfig, name)
    wrong: object = "sideways" if limits.choices else None
    if limits.maximum is not None:
        wrong = limits.value_type(limits.maximum + 1)
    with pytest.raises(ValueError, match=name):
        SamplingConfig(**{name: wrong})


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), None, "0.5", True])
def test_only_numbers_are_numbers(wrong: object) -> None:
    with pytest.raises(ValueError, match="t_max"):
        SamplingConfig(t_max=wrong)


def test_t_min_above_t_max_is_refused_with_both_values() -> None:
    with pytest.raises(ValueError, match=r"t_min=0.9 and t_max=0.6667"):
        SamplingConfig(t_min=0.9)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"prompt": "a" * 1001}, "prompt must be a text of at most 1000 characters"),
        ({"negative_prompt": "blur"}, "negative_prompt needs a guidance_scale above 1"),
        ({"guidance_scale": 3.0}, "they are the same"),
        ({"prompt": "cat", "negative_prompt": "cat", "guidance_scale": 3.0}, "they are the same"),
    ],
)
def test_words_that_would_do_nothing_are_refused(words: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SamplingConfig(**words)


def test_part_of_a_step_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"num_steps must be a whole number from 1 to 200, got 4\.5"
    ):
        SamplingConfig(num_steps=4.5)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", PRESETS)
def test_presets_change_the_steps_alone(name: str) -> None:
    config = SamplingConfig(scale=2.0, color="none", num_steps=30)
    preset = PRESETS[name]
    applied = preset.apply(config)
    assert (applied.num_steps, applied.t_max, applied.t_min) == (
        preset.num_steps or 30, preset.t_max, preset.t_min,
    )  # fmt: skip
    assert applied.replace(num_steps=30, t_max=0.6667, t_min=0.3333) == config


def test_presets_of_v2_are_for_models_that_start_from_the_input() -> None:
    base = SamplingConfig(num_steps=15)
    assert presets_for("lr", base).keys() == PRESETS.keys()
    others = presets_for("noise", base)
    assert PRESETS.keys() - others.keys() == {"v2", "v2-one"}


def test_presets_without_a_grid_take_that_of_the_model() -> None:
    found = presets_for("noise", SamplingConfig(num_steps=15))
    of_model = [*TABLE_5, "extraction"]
    assert [found[name].num_steps for name in of_model] == [15] * len(of_model)
    assert found.keys() - set(of_model) == {"paper", "fast"}


def test_a_preset_that_is_the_same_for_a_model_is_there_once() -> None:
    assert "paper" not in presets_for("noise", SamplingConfig(num_steps=45))


@pytest.mark.parametrize(
    ("name", "evaluations"), [("paper", 16), ("fast", 2), ("v2", 2), ("v2-one", 1)]
)
def test_fast_presets_take_as_many_evaluations_as_they_say(name: str, evaluations: int) -> None:
    assert timestep_plan(PRESETS[name].apply(SamplingConfig())).num_evaluations == evaluations
