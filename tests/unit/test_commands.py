import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from ccsr.commands import main
from ccsr.errors import DEBUG_VARIABLE, InputError
from ccsr.images.picture import picture_from_array
from ccsr.images.writing import save_png
from tests.fakes import FakeEngine

IN_MODEL = "ccsr.commands.load_engine"
IN_WORK = "ccsr.commands.check_cost"
COMMANDS = {
    "upscale, loading": (IN_MODEL, "upscale {input} --output {output}"),
    "upscale, working": (IN_WORK, "upscale {input} --output {output}"),
    "seeds, loading": (IN_MODEL, "seeds {input} --output {output}"),
    "seeds, working": (IN_WORK, "seeds {input} --output {output}"),
    "sweep, loading": (IN_MODEL, "sweep {input} --output {output}"),
    "sweep, working": (IN_WORK, "sweep {input} --output {output}"),
    "evaluate": (
        "ccsr.evaluation.comparison.command.compare",
        "evaluate --hr {folder} --output {output}",
    ),
    "convert": ("ccsr.conversion.convert.convert", "convert {input} {output}"),
    "doctor": ("ccsr.doctor.load_engine", "doctor"),
}
"""Command and stage -> the function that fails, and the command line."""

Fail = Callable[[str, Exception], int]


@pytest.fixture
def fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fail:
    """Runs a command in which an error is raised; its exit code."""
    picture = tmp_path / "small.png"
    save_png(picture, picture_from_array(np.zeros((32, 32, 3), np.uint8)))

    def run(command: str, error: Exception) -> int:
        def failing(*_: object, **__: object) -> None:
            raise error

        place, line = COMMANDS[command]
        monkeypatch.setattr(IN_MODEL, lambda *_: FakeEngine())
        monkeypatch.setattr(place, failing)
        names = {"input": picture, "folder": tmp_path, "output": tmp_path / "out"}
        return main([part.format_map(names) for part in line.split()])

    return run


@pytest.mark.parametrize(
    ("error", "reason"),
    [(KeyError("vae"), "KeyError: 'vae'"), (ValueError("vae has no shape"), "vae has no shape")],
    ids=["KeyError", "ValueError of a library"],
)
@pytest.mark.parametrize("command", COMMANDS)
def test_a_fault_of_the_program_is_one_sentence_that_says_so_in_all_commands(
    fail: Fail,
    command: str,
    error: Exception,
    reason: str,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG, "ccsr")
    assert fail(command, error) == 2
    (told,) = [line for line in capsys.readouterr().err.splitlines() if "vae" in line]
    assert told.startswith("error: ")
    assert f": {reason}. This is a fault of the program: please report it" in told
    assert "Traceback" in caplog.text


@pytest.mark.parametrize("command", COMMANDS)
def test_a_refusal_is_its_own_sentence_in_all_commands(
    fail: Fail, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fail(command, InputError("t_max is too high; lower it")) == 2
    captured = capsys.readouterr()
    # The report of `doctor` has it among its findings.
    told, expected = (
        (captured.out, "model: FAILED, t_max is too high; lower it\n")
        if command == "doctor"
        else (captured.err, "error: t_max is too high; lower it\n")
    )
    assert told.endswith(expected)
    assert "fault of the program" not in told


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    """That of the package, whose level is as before afterwards."""
    logger = logging.getLogger("ccsr")
    level = logger.level
    yield logger
    logger.setLevel(level)


@pytest.mark.usefixtures("logger")
@pytest.mark.parametrize("command", ["upscale, working", "seeds, loading"])
def test_traceback_is_printed_where_it_is_asked_for(
    fail: Fail, command: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert fail(command, KeyError("vae")) == 2
    assert "Traceback" not in caplog.text
    monkeypatch.setenv(DEBUG_VARIABLE, "1")
    assert fail(command, KeyError("vae")) == 2
    assert "Traceback" in caplog.text


@pytest.fixture
def with_little_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], tuple[int, FakeEngine]]:
    """Runs a command with a model for which a run may take a mebibyte; exit code, and model."""
    engine = FakeEngine(max_memory=0.001)
    monkeypatch.setattr(IN_MODEL, lambda *_: engine)
    for name, side in (("small", 32), ("large", 128)):
        pixels = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
        save_png(tmp_path / f"{name}.png", picture_from_array(pixels))

    def run(line: str) -> tuple[int, FakeEngine]:
        return main(line.format(folder=tmp_path).split()), engine

    return run


@pytest.mark.parametrize(
    "line",
    [
        "seeds {folder}/small.png --seeds 0-1 --reference {folder}/large.png",
        "sweep {folder}/small.png --reference {folder}/large.png",
        "sweep {folder}/small.png",
    ],
)
def test_scoring_that_takes_too_much_memory_is_refused_before_the_work(
    line: str,
    with_little_memory: Callable[[str], tuple[int, FakeEngine]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, engine = with_little_memory(f"{line} --output {{folder}}/out")
    assert code == 2
    assert "scoring 128x128 pixels by" in capsys.readouterr().err
    assert engine.evaluations == 0


def test_seeds_without_a_reference_are_not_scored(
    with_little_memory: Callable[[str], tuple[int, FakeEngine]],
) -> None:
    code, engine = with_little_memory("seeds {folder}/small.png --seeds 0-1 --output {folder}/out")
    assert code == 0
    assert engine.evaluations > 0
