import shlex
from pathlib import Path

import pytest

from ccsr.cli import parser
from ccsr.config import SamplingConfig
from ccsr.inference.events import ModelInfo, Progress
from ccsr.inference.pace import Seconds
from ccsr.ui import snippets
from ccsr.ui.inputs import (
    FIELDS,
)

EVALUATION = Progress(8, 16, 500, (3,), None)


def info(name: str, num_steps: int = 45) -> ModelInfo:
    return ModelInfo(name, ("ccsr",), "cpu", "float32", "none", 1, num_steps=num_steps)


def test_the_cost_of_a_setting_is_told() -> None:
    assert "15 refinement steps, 16 network evaluations" in snippets.cost_line(SamplingConfig())
    same = SamplingConfig(t_max=0.5, t_min=0.5)
    assert "no refinement: 1 network evaluation<" in snippets.cost_line(same)
    assert "Uniform diffusion: 16" in snippets.cost_line(SamplingConfig(variant="v1"))


def test_the_cost_counts_from_where_the_model_starts() -> None:
    a1 = SamplingConfig(t_max=0.5)
    assert "8 refinement steps, 9 network" in snippets.cost_line(a1)
    assert "7 refinement steps, 8 network" in snippets.cost_line(a1, "official")


def test_progress_says_in_words_first_what_is_done_and_left() -> None:
    told = snippets.progress("refining", 0.25, 4.6, [snippets.evaluation(EVALUATION), ""])
    assert "Sharpening, about 5 s left · Network evaluation 8 of 16 · t = 500 · seed 3" in told
    assert 'aria-valuenow="25.0"' in told
    assert ">Reading the picture<" in snippets.progress("encoding", 0, None, [])
    assert "Finishing, less than 1 s left<" in snippets.progress("decoding", 0.9, 0.3, [])


def test_only_a_run_that_has_not_ended_has_a_bar() -> None:
    # By its class the theme hides how long the next run will take.
    for told in (snippets.waiting(1), snippets.progress("encoding", 0, 9.0, [])):
        assert 'class="run"' in told
    assert 'class="run"' not in snippets.line("Stopped.", "quiet")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (Seconds(1.9, 2.2), "about 2 s"),
        (Seconds(4, 16), "4 to 16 s"),
        (Seconds(0.2, 0.4), "less than 1 s"),
        (Seconds(150, 170), "about 3 min"),
        (Seconds(40, 160), "40 s to 3 min"),
        (Seconds(92, 221), "2 to 4 min"),
    ],
)
def test_an_estimate_is_a_range_where_it_is_not_sure(seconds: Seconds, text: str) -> None:
    assert f"Takes {text} on this machine" in snippets.expected(seconds)


def test_no_time_is_told_before_any_is_known() -> None:
    assert snippets.expected(None) == ""


def test_small_scores_keep_their_digits() -> None:
    assert [snippets.number(x) for x in (0.0, 0.00004567, 0.0123456, 26.5, -0.0002, None)] == [
        "0.0000", "0.000046", "0.0123", "26.5000", "-0.000200", "-",
    ]  # fmt: skip


def test_texts_of_others_are_escaped() -> None:
    assert "<b>" not in snippets.line("<b>bold</b>")
    assert "<b>" not in snippets.facts({"<b>": "<b>"}, ["<b>"])


def test_the_curve_has_a_point_for_every_number_of_seeds_from_two() -> None:
    assert snippets.curve([0.0]) == ""
    assert snippets.curve([0.0, 0.01, 0.02]).count("<circle") == 2
    assert "nan" not in snippets.curve([0.0, 0.0])


def test_command_holds_what_differs_from_the_defaults() -> None:
    plain = snippets.command_line("a b.png", SamplingConfig(), 0, info("compact"))
    assert plain == "python -m ccsr upscale 'a b.png' --output results"
    config = SamplingConfig(t_max=0.8, variant="v2", num_steps=15)
    changed = snippets.command_line("cat.png", config, 3, info("owner/model", 15))
    assert changed.endswith(
        "--output results --model owner/model --seed 3 --variant v2 --t-max 0.8"
    )
    assert "--num-steps 15" in snippets.command_line("cat.png", config, 3, info("owner/model"))


def test_command_is_one_that_the_command_line_takes() -> None:
    config = SamplingConfig(t_max=0.8, t_min=0.1, num_steps=30, color="none", scale=2.0)
    command = snippets.command_line("my cat.png", config, 3, info("compact"))
    options = parser().parse_args(shlex.split(command)[3:])
    assert SamplingConfig(**{name: getattr(options, name) for name in FIELDS}) == config
    assert (options.inputs, options.seed) == ([Path("my cat.png")], 3)


def test_python_code_compiles_and_names_the_settings() -> None:
    code = snippets.python_code("cat.png", SamplingConfig(t_min=0.2), 3, info("compact"))
    compile(code, "snippet", "exec")
    assert "SamplingConfig(t_min=0.2), seeds=(3,)" in code


def test_python_code_names_the_grid_of_the_model() -> None:
    config = SamplingConfig(num_steps=15)
    assert "(num_steps=15)" in snippets.python_code("cat.png", config, 0, info("compact", 15))
