"""The pinned versions that tests run with lie within the ranges that the package declares."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]
RANGES = {Requirement(text).name: Requirement(text).specifier for text in PROJECT["dependencies"]}
PINS = dict(line.split("==") for line in (ROOT / "requirements.txt").read_text().split())
README = (ROOT / "README.md").read_text()


@pytest.mark.parametrize("name", PINS)
def test_pinned_version_lies_in_the_declared_range(name: str) -> None:
    assert name in RANGES
    assert RANGES[name].contains(PINS[name])


def test_every_declared_dependency_is_pinned() -> None:
    assert set(PINS) == set(RANGES)


def test_space_names_a_python_and_a_gradio_that_the_package_supports() -> None:
    found = re.search(r'^python_version: "(.*)"$', README, re.MULTILINE)
    assert found
    assert Requirement(f"python{PROJECT['requires-python']}").specifier.contains(found[1])
    assert f"sdk_version: {PINS['gradio']}\n" in README


def test_files_that_are_read_are_in_the_wheel() -> None:
    packed = {
        path
        for package, patterns in PYPROJECT["tool"]["setuptools"]["package-data"].items()
        for pattern in patterns
        for path in ROOT.joinpath(*package.split(".")).glob(pattern)
    }
    read = {
        path
        for package in ("ccsr", "training")
        for path in (ROOT / package).rglob("*")
        if path.is_file() and path.suffix not in (".py", ".pyi", ".pyc")
    }
    assert ROOT / "training" / "recipes" / "sd21.toml" in read
    assert read == packed


def test_help_needs_no_networks() -> None:
    """Importing torch once took six seconds of it."""
    code = "import sys; from ccsr.cli import parser; parser(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
