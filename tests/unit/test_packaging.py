"""The pinned versions that tests run with lie within the ranges that the package declares."""

import argparse
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import app

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


CONTAINER = (ROOT / "Containerfile").read_text()
INSTRUCTIONS = [
    (name, rest)
    for name, _, rest in (line.partition(" ") for line in CONTAINER.splitlines())
    if name.isupper()
]


def arguments_of(instruction: str) -> list[str]:
    (text,) = (rest for name, rest in INSTRUCTIONS if name == instruction)
    return json.loads(text.removeprefix("CMD "))


def test_container_copies_and_installs_files_that_are_there() -> None:
    sources = [rest.split()[0] for name, rest in INSTRUCTIONS if name == "COPY"]
    assert sources == ["requirements.txt", "."]
    assert all((ROOT / source).exists() for source in sources)
    ignored = (ROOT / ".dockerignore").read_text().split()
    tracked = subprocess.check_output(["git", "ls-files"], cwd=ROOT, text=True).split("\n")
    assert {".git", "runs", "outputs"} <= set(ignored)
    assert not [path for path in tracked if path.partition("/")[0] in ignored]
    assert "RUN pip install --no-cache-dir -r requirements.txt" in CONTAINER


def test_container_has_a_python_that_the_package_supports() -> None:
    found = re.search(r"^FROM python:([\d.]+)-slim$", CONTAINER, re.MULTILINE)
    assert found
    assert Requirement(f"python{PROJECT['requires-python']}").specifier.contains(found[1])


def test_container_starts_the_page_with_options_that_it_has(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    python, script, *options = arguments_of("CMD")
    assert (python, script) == ("python", "app.py")
    served: list[argparse.Namespace] = []
    monkeypatch.setattr(app, "load_engine", lambda *_: None)
    monkeypatch.setattr(app, "serve", lambda _, options: served.append(options))
    assert app.main(options) == 0
    (found,) = served
    assert (found.public, found.host) == (True, "0.0.0.0")
    assert ("EXPOSE", str(found.port)) in INSTRUCTIONS
    python, flag, code = arguments_of("HEALTHCHECK")
    assert (python, flag) == ("python", "-c")
    assert f"http://127.0.0.1:{found.port}/healthz" in code


def test_container_checks_its_health_by_code_that_runs() -> None:
    """Without a server it ends with an error, which is that of the connection."""
    _, flag, code = arguments_of("HEALTHCHECK")
    closed = re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:9", code)
    ended = subprocess.run(
        [sys.executable, flag, closed], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 1
    assert "Connection refused" in ended.stderr


def test_help_needs_no_networks() -> None:
    """Importing torch once took six seconds of it."""
    code = "import sys; from ccsr.cli import parser; parser(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
