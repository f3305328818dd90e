import ast
import json
import logging
from pathlib import Path

import pytest

from ccsr.config import SamplingConfig
from ccsr.errors import InputError, failure_of, raised_here, reason_of
from ccsr.program import exit_code, positive_int, program

ROOT = Path(__file__).resolve().parents[2]


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


@pytest.mark.parametrize(
    ("error", "is_refusal"),
    [
        (InputError("t_max is too high; lower it"), True),
        (OSError("no such folder"), True),
        (ValueError("cannot reshape array"), False),
        (RuntimeError("sizes differ"), False),
    ],
)
def test_a_value_error_of_another_kind_is_a_fault(error: Exception, is_refusal: bool) -> None:
    assert (failure_of("upscale", error) == str(error)) == is_refusal
    assert ("fault of the program" in failure_of("upscale", error)) != is_refusal


def test_nothing_here_raises_a_value_error_that_would_be_taken_for_a_fault() -> None:
    sources = [*ROOT.glob("ccsr/**/*.py"), *ROOT.glob("training/**/*.py"), ROOT / "app.py"]
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in sources
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Raise)
        and node.exc is not None
        and ast.unparse(node.exc).startswith("ValueError")
    ]
    assert len(sources) > 100
    assert not found


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


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (FileNotFoundError("there is no folder a; check the name"), 2, "error: there is no folder"),
        (ZeroDivisionError("division"), 2, "error: work: ZeroDivisionError: division. This is a f"),
        (KeyboardInterrupt(), 130, "stopped"),
    ],
)
def test_a_program_ends_by_a_sentence(
    error: BaseException,
    code: int,
    told: str,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG, "ccsr")

    def fail() -> None:
        raise error

    assert exit_code("work", fail) == code
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(told)
    assert ("Traceback" in caplog.text) == isinstance(error, Exception)


def test_a_program_that_does_its_work_ends_with_0() -> None:
    assert exit_code("work", lambda: None) == 0
