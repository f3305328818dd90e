import re
from pathlib import Path

import pytest

from ccsr.config import EvaluationConfig, LoadingConfig, SamplingConfig
from ccsr.option import Config, field_names, option, plain

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
EVALUATION = (ROOT / "docs" / "EVALUATION.md").read_text()


def row(name: str) -> str:
    """The line of the table of options that a field stands for."""
    about = option(SamplingConfig, name)
    values = f"at most {about.max_length} characters"
    if about.minimum is not None and about.maximum is not None:
        values = f"{plain(about.minimum)} to {plain(about.maximum)}"
    elif about.choices:
        values = ", ".join(about.choices)
    shown = "-" if about.default == "" else about.shown_default
    return f"| `{about.flag}` | {shown} | {values} | {about.help} |"


@pytest.mark.parametrize("name", field_names(SamplingConfig))
def test_table_of_options_says_what_the_config_says(name: str) -> None:
    assert row(name) in README


@pytest.mark.parametrize(
    ("page", "config_type", "name"),
    [
        (page, each, name)
        for page, each in ((README, LoadingConfig), (EVALUATION, EvaluationConfig))
        for name in field_names(each)
    ],
    ids=lambda value: value if isinstance(value, str) and len(value) < 30 else "",
)
def test_table_of_a_command_says_what_the_config_says(
    page: str, config_type: type[Config], name: str
) -> None:
    about = option(config_type, name)
    default = {True: "yes", False: "no", None: "-"}.get(about.default, about.default)
    assert f"| `{about.flag}` | {default} | {about.help} |" in page


@pytest.mark.parametrize(
    "page", ["README.md", "ARCHITECTURE.md", "docs/RELIABILITY.md", "docs/TRAINING.md"]
)
def test_every_path_that_is_named_exists(page: str) -> None:
    folders = "ccsr|training|tests|assets|deploy|docs"
    text = (ROOT / page).read_text()
    named = re.findall(rf"(?<![\w./-])((?:{folders})/[\w./-]*\w)", text)
    assert named
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_every_function_and_class_on_the_way_of_a_picture_exists() -> None:
    names = re.findall(r"`((?:[A-Z]\w+\.)?_*[A-Za-z]\w+)`", (ROOT / "ARCHITECTURE.md").read_text())
    modules = [
        path.read_text() for top in ("ccsr", "training") for path in ROOT.glob(f"{top}/**/*.py")
    ]
    defined = set(
        re.findall(r"^ *(?:def|class) (\w+)|^(\w+)[:=\w\[\], ]* = ", "\n".join(modules), re.M)
    )
    known = {name for pair in defined for name in pair} | {"ccsr", "training"}
    assert len(names) > 20
    assert [name for name in names if not set(name.split(".")) <= known] == []
