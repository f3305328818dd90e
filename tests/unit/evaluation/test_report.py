import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ccsr.config import SamplingConfig
from ccsr.evaluation.report import NEWER, SETTINGS_KEY, Settings, read_settings, settings_text
from ccsr.images.picture import Picture
from ccsr.images.writing import save_png
from ccsr.option import field_names
from tests.fakes import FakeEngine

PICTURE = Picture(np.zeros((16, 16, 3), np.float32))


def test_settings_come_back_from_the_picture(tmp_path: Path) -> None:
    config = SamplingConfig(t_max=0.7, num_steps=20, variant="v2", color="none")
    save_png(tmp_path / "a.png", PICTURE, settings_text(config, 9, FakeEngine().info))
    assert read_settings(tmp_path / "a.png") == Settings(config, 9)


def test_picture_of_another_program_is_refused(tmp_path: Path) -> None:
    Image.new("RGB", (16, 16)).save(tmp_path / "other.png")
    with pytest.raises(ValueError, match="holds no settings of this program"):
        read_settings(tmp_path / "other.png")


@pytest.mark.parametrize("text", ["{}", "no JSON", "[]", '{"seed": 1}'])
def test_damaged_settings_are_refused(text: str, tmp_path: Path) -> None:
    save_png(tmp_path / "a.png", PICTURE, {"ccsr": text})
    with pytest.raises(ValueError, match="holds no settings of this program"):
        read_settings(tmp_path / "a.png")


def test_settings_that_are_not_allowed_are_refused(tmp_path: Path) -> None:
    text = settings_text(SamplingConfig(), 0, FakeEngine().info)
    broken = {key: value.replace('"t_max": 0.6667', '"t_max": 7') for key, value in text.items()}
    save_png(tmp_path / "a.png", PICTURE, broken)
    with pytest.raises(ValueError, match="t_max must be a number from 0 to 1, got 7"):
        read_settings(tmp_path / "a.png")


def test_settings_of_an_earlier_version_are_read(tmp_path: Path) -> None:
    config = SamplingConfig(t_max=0.5)
    known = json.loads(settings_text(config, 4, FakeEngine().info)["ccsr"])
    for name in NEWER:
        del known[name]
    save_png(tmp_path / "a.png", PICTURE, {"ccsr": json.dumps(known)})
    assert read_settings(tmp_path / "a.png") == Settings(config, 4)


def test_all_fields_are_among_the_settings() -> None:
    text = settings_text(SamplingConfig(), 0, FakeEngine().info)["ccsr"]
    assert all(f'"{name}"' in text for name in field_names(SamplingConfig))


HOSTILE = [
    "[" * 100_000 + "]" * 100_000,
    '{"a":' * 5000 + "1" + "}" * 5000,
    *('{"t_max": ' + text + "}" for text in ("Infinity", "NaN", "1e999", "9" * 30, "9" * 5000)),
    '{"t_max": ' + "[" * 900 + "]" * 900 + "}",
    '{"t_max": "' + "<img src=x onerror=alert(1)>" * 100 + '"}',
    '{"seed": 1e999}',
    '{"seed": 2147483648}',
    '{"seed": true}',
    '{"prompt": "' + "a" * 5000 + '"}',
    '{"guidance": null}',
    "null",
    '"text"',
]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_settings_are_refused_in_few_words(text: str, tmp_path: Path) -> None:
    own = settings_text(SamplingConfig(), 1, FakeEngine().info)[SETTINGS_KEY]
    if text.startswith('{"') and not text.startswith('{"a"'):
        text = own[:-1] + ", " + text[1:]
    with pytest.raises(ValueError, match=r".") as caught:
        read_settings(tmp_path / "a.png", lambda _: {SETTINGS_KEY: text})
    assert len(str(caught.value)) < 250
