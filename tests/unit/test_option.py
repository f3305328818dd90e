import copy
import math
import pickle
import re
from typing import Annotated, Any, Literal, Self

import pytest
from pydantic import Field, model_validator

from ccsr.option import Config, Step, field_names, option
from training.config import LoopConfig, MachineConfig


class Brush(Config):
    width: int = Field(default=3, ge=1, le=9, title="Width", description="Of the line.")
    ratio: Annotated[float, Step(0.1)] = Field(default=0.5, gt=0)
    kind: Literal["pen", "ink"] = "pen"
    name: str = Field(default="", max_length=5)
    soft: bool = False
    limit: float | None = Field(default=None, ge=0, lt=1)
    seed: int = Field(default=0, ge=0, le=2**31 - 1)
    dots: tuple[Annotated[int, Field(gt=0, multiple_of=8)], ...] = Field(default=(8,), strict=False)
    ends: tuple[float, float] = Field(default=(0.0, 1.0), strict=False)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.width > 5 and self.kind == "pen":
            raise ValueError(f"width must not be above 5 for a pen, got {self.width}; take ink")
        return self


class Box(Config):
    brush: Brush = Field(strict=False)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"width": 3.0}, "width must be a whole number from 1 to 9, got 3.0"),
        ({"width": True}, "width must be a whole number from 1 to 9, got True"),
        ({"width": "3"}, "width must be a whole number from 1 to 9, got '3'"),
        ({"width": 10}, "width must be a whole number from 1 to 9, got 10"),
        ({"ratio": 0.0}, "ratio must be a number above 0, got 0.0"),
        ({"ratio": math.nan}, "ratio must be a number above 0, got nan"),
        ({"ratio": math.inf}, "ratio must be a number above 0, got inf"),
        ({"ratio": True}, "ratio must be a number above 0, got True"),
        ({"ratio": None}, "ratio must be a number above 0, got None"),
        ({"kind": "chalk"}, "kind must be one of pen, ink, got 'chalk'"),
        ({"name": "Hokusai"}, "name must be a text of at most 5 characters, got 'Hokusai'"),
        ({"name": b"ink"}, "name must be a text of at most 5 characters, got b'ink'"),
        ({"soft": 1}, "soft must be true or false, got 1"),
        ({"limit": 1.0}, "limit must be a number of at least 0 and below 1, got 1.0"),
        ({"seed": -1}, "seed must be a whole number from 0 to 2147483647, got -1"),
        ({"dots": [8, 9]},
         "dots must be a list of whole numbers above 0 and divisible by 8, got [8, 9]"),
        ({"dots": [8, "8"]},
         "dots must be a list of whole numbers above 0 and divisible by 8, got [8, '8']"),
        ({"ends": [1.0]}, "ends must be a list of 2 numbers, got [1.0]"),
        ({"widht": 3},
         "widht is unknown; known are width, ratio, kind, name, soft, limit, seed, dots, ends"),
        ({"width": 6}, "width must not be above 5 for a pen, got 6; take ink"),
    ],
)  # fmt: skip
def test_a_bad_value_is_refused_in_one_sentence(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Brush(**values)


@pytest.mark.parametrize(
    ("brush", "message"),
    [
        ({"width": 10}, "brush.width must be a whole number from 1 to 9, got 10"),
        ({"width": 6}, "brush.width must not be above 5 for a pen, got 6; take ink"),
        ({"color": 1}, "brush.color is unknown; known are width, ratio"),
        (3, "brush must be a table, got 3"),
    ],
)
def test_a_config_in_a_config_is_named_in_the_sentence(brush: Any, message: str) -> None:  # noqa: ANN401
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        Box(brush=brush)


def test_a_missing_config_is_named() -> None:
    with pytest.raises(ValueError, match="brush is missing; it must be a table"):
        Box()  # type: ignore[call-arg]


def test_a_misspelt_name_is_told_before_the_one_that_is_missing() -> None:
    with pytest.raises(ValueError, match="brsh is unknown; known are brush"):
        Box(brsh={})  # type: ignore[call-arg]


def test_whole_numbers_become_floats_and_lists_tuples_where_those_are_meant() -> None:
    brush = Brush(ratio=2, dots=[8, 16], limit=0)  # type: ignore[arg-type]
    assert (brush.ratio, brush.dots, brush.limit) == (2.0, (8, 16), 0.0)
    assert isinstance(brush.ratio, float)


def test_a_changed_config_is_checked_as_a_whole() -> None:
    brush = Brush(kind="ink").replace(width=6)
    assert (brush.kind, brush.width) == ("ink", 6)
    with pytest.raises(ValueError, match="take ink"):
        brush.replace(kind="pen")
    with pytest.raises(ValueError, match="widht is unknown"):
        brush.replace(widht=3)


def test_a_config_is_a_value() -> None:
    brush = Brush(width=4)
    with pytest.raises(ValueError, match="frozen"):
        brush.width = 5  # type: ignore[misc]
    assert brush == Brush(width=4) == pickle.loads(pickle.dumps(brush)) == copy.deepcopy(brush)
    assert len({brush, Brush(width=4), Brush()}) == 2


def test_an_option_has_what_the_field_says() -> None:
    about = option(Brush, "width")
    assert (about.label, about.help, about.flag) == ("Width", "Of the line.", "--width")
    assert (about.minimum, about.maximum, about.default) == (1, 9, 3)
    assert about.step is None
    assert option(Brush, "ratio").step == 0.1
    assert option(Brush, "kind").choices == ("pen", "ink")
    assert option(Brush, "name").max_length == 5
    assert option(Brush, "limit").value_type is float
    assert field_names(Box) == ("brush",)


def test_one_value_is_checked_like_the_field() -> None:
    about = option(Brush, "width")
    assert about.validate(9) == 9
    with pytest.raises(ValueError, match="Line width must be a whole number from 1 to 9, got 0"):
        about.validate(0, "Line width")
    with pytest.raises(ValueError, match=r"width must be a whole number from 1 to 9, got 3\.0"):
        about.validate(3.0)
    with pytest.raises(ValueError, match="ratio must be a number above 0, got nan"):
        option(Brush, "ratio").validate(math.nan)


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("width", "4", 4),
        ("width", "4.0", "4.0"),
        ("ratio", "4", 4.0),
        ("ratio", "wide", "wide"),
        ("limit", "0.5", 0.5),
        ("name", "4", "4"),
    ],
)
def test_texts_of_the_command_line_become_numbers_where_those_are_meant(
    name: str, text: str, value: object
) -> None:
    found = option(Brush, name).from_text(text)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("config", "name", "text"),
    [(MachineConfig, "threads", "1"), (LoopConfig, "least_crop_px", "64")],
)
def test_limits_of_a_type_do_not_hide_that_it_is_a_number(
    config: type[Config], name: str, text: str
) -> None:
    about = option(config, name)
    assert about.validate(about.from_text(text)) == int(text)
