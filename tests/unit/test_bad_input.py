"""What a user gets wrong is one sentence that names it, in each program beside `ccsr`."""

import importlib
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ccsr.inference.weights import CHECKSUMS
from tests.tiny import save_tiny_model

CALLS = {
    "training.__main__": (
        ("stage1 --recipe quick --data {pictures} --run-folder {file}/run", "{file}/run could not"),
        ("all --recipe quick --data {absent} --run-folder {new}", "no folder {absent}"),
        ("all --recipe quick --data {damaged} --run-folder {new}", "none of the pictures in"),
        ("all --recipe {file} --data {pictures} --run-folder {new}", "{file} is not a TOML file"),
        ("all --recipe {absent}.toml --data {pictures} --run-folder {new}", "no recipe {absent}"),
    ),
    "training.average": (
        ("{model} {absent} {new} --share 0.5", "do not hold the same files"),
        ("{broken} {model} {new} --share 0.5", "safetensors is damaged"),
        ("{model} {model} {file}/x --share 0.5", "could not be written"),
    ),
    "training.ablation": (
        ("--data {absent}", "no folder {absent}"),
        ("--data {damaged}", "is not a picture"),
        # Which of its networks is named first is the choice of diffusers.
        ("--model {broken} --data {pictures} --crop 64", "/diffusion_pytorch_model.safetensors"),
    ),
    "training.benchmark": (
        ("--recipe {file} --data {pictures}", "{file} is not a TOML file"),
        ("--recipe quick --data {absent}", "no folder {absent}"),
    ),
    "training.drawings": (
        ("{file}/x --count 1", "the folder {file}/x could not be made"),
        ("{file} --count 1", "{file} is there and not empty"),
    ),
    "training.publish": (
        ("{absent} owner/name", "{absent} holds no model_index.json"),
        ("{model} owner/name", "{model} holds no training.json"),
    ),
    "ccsr.degradation.__main__": (
        ("{absent} {new}", "no folder {absent}"),
        ("{pictures} {file}/x", "the folder {file}/x could not be made"),
    ),
    "ccsr.degradation.contact_sheet": (
        ("{absent} {new}.png", "no file {absent}"),
        ("{damaged}/bad.png {new}.png", "bad.png is not a picture"),
    ),
    "ccsr.benchmark": (("--model {broken}", "cannot be loaded from {broken}"),),
}
"""Program -> what it is called with, and a part of what it says."""


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Pictures and models, good and bad."""
    folder = tmp_path_factory.mktemp("inputs")
    kinds = ("pictures", "damaged", "model", "broken", "file", "absent", "new")
    names = {kind: folder / kind for kind in kinds}
    names["pictures"].mkdir()
    Image.fromarray(np.zeros((160, 160, 3), np.uint8)).save(names["pictures"] / "black.png")
    names["damaged"].mkdir()
    (names["damaged"] / "bad.png").write_bytes(b"no picture")
    names["file"].write_bytes(b"\xff\xfe")
    save_tiny_model(names["model"])
    shutil.copytree(names["model"], names["broken"])
    # By these damage is found before it is met.
    (names["broken"] / CHECKSUMS).unlink()
    for path in names["broken"].rglob("*.safetensors"):
        path.write_bytes(b"no weights")
    return names


@pytest.mark.parametrize(
    ("program", "line", "told"),
    [(program, *call) for program, calls in CALLS.items() for call in calls],
)
def test_bad_input_is_one_sentence_that_names_it(
    names: dict[str, Path],
    program: str,
    line: str,
    told: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = [part.format_map(names) for part in line.split()]
    try:
        code = importlib.import_module(program).main(arguments)
    except SystemExit as end:  # argparse
        code = end.code
    said = capsys.readouterr().err
    assert code == 2
    assert told.format_map(names) in said
    assert "Errno" not in said
    assert "Traceback" not in said
    assert "fault of the program" not in said


def test_every_program_is_tried() -> None:
    root = Path(__file__).resolve().parents[2]
    programs = {
        ".".join(path.relative_to(root).with_suffix("").parts)
        for package in ("ccsr", "training")
        for path in (root / package).rglob("*.py")
        if 'if __name__ == "__main__"' in path.read_text()
    }
    # The commands of `ccsr` are tried in test_commands.py and tests/e2e/test_cli.py.
    assert programs - {"ccsr.__main__"} == set(CALLS)
