import dataclasses
import re
from pathlib import Path

import pytest

from ccsr.config import LoadingConfig, SamplingConfig, option

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()


def row(name: str) -> str:
    """The line of the table of options that a field stands for."""
    limits = option(SamplingConfig, name)
    values = f"at most {limits.max_length} characters"
    if limits.max_length is None:
        values = ", ".join(limits.choices or (f"{limits.minimum:g} to {limits.maximum:g}",))
    flag = "--" + name.replace("_", "-")
    default = getattr(SamplingConfig(), name)
    shown = "-" if default == "" else default
    return f"| `{flag}` | {shown} | {values} | {limits.help} |"


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(SamplingConfig)])
def test_table_of_options_says_what_the_config_says(name: str) -> None:
    assert row(name) in README


@pytest.mark.parametrize("field", dataclasses.fields(LoadingConfig), ids=lambda field: field.name)
def test_table_of_loading_says_what_the_config_says(field: dataclasses.Field[object]) -> None:
    flag = "--" + field.name.replace("_", "-")
    default = {True: "yes", False: "no", None: "-"}.get(field.default, field.default)
    assert f"| `{flag}` | {default} | {option(LoadingConfig, field.name).help} |" in README


def test_every_path_that_is_named_exists() -> None:
    named = re.findall(r"`((?:ccsr|training|tests|assets)/[\w./-]*)`", README)
    assert named
    assert [path for path in named if not (ROOT / path).exists()] == []
