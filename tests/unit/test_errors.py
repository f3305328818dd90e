import json

import pytest

from ccsr.config import SamplingConfig
from ccsr.errors import raised_here, reason_of
from ccsr.program import exit_code, positive_int, program


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ValueError("t_max is too high\nsee above"), "t_max is too high"),
        (RuntimeError("  out of memory"), "out of memory"),
        (KeyError("vae"), "KeyError: 'vae'"),
        (TypeError("expected a str"), "TypeError: expected a str"),
        (MemoryError(), "MemoryError"),
        (ValueError(""), "ValueError"),
    ],
)
def test_a_reason_is_one_line_and_says_what_it_is(error: Exception, reason: str) -> None:
    assert reason_of(error) == reason


def test_errors_of_this_program_are_told_from_those_of_others() -> None:
    with pytest.raises(ValueError, match="t_min") as own:
        SamplingConfig(t_min=2.0)
    assert raised_here(own.value)
    with pytest.raises(json.JSONDecodeError) as other:
        json.loads("{")
    assert not raised_here(other.value)
    assert not raised_here(ValueError("never raised"))


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "many", "", "9" * 5000])
def test_counts_are_whole_numbers_from_1(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    parser = program("python -m training.ablation", "Measure.")
    parser.add_argument("--limit", type=positive_int)
    assert parser.parse_args(["--limit", "3"]).limit == 3
    with pytest.raises(SystemExit):
        parser.parse_args([f"--limit={text}"])
    assert "--limit: " in capsys.readouterr().err


def test_a_program_ends_by_a_sentence_after_a_refusal_and_loudly_after_a_fault(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def refuse() -> None:
        raise FileNotFoundError("there is no folder a; check the name")

    assert exit_code(lambda: None) == 0
    assert exit_code(refuse) == 2
    assert capsys.readouterr().err == "error: there is no folder a; check the name\n"
    with pytest.raises(ZeroDivisionError):
        exit_code(lambda: 1 / 0)
