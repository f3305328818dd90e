"""The base of all configs: pydantic models whose fields say everything about an option once.

Type, range, default, label and help stand in the definition of a field. `Option` reads them from
there for the command line, the sliders, the endpoints and the README.
"""

import functools
import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import NoneType
from typing import Annotated, Any, Literal, Self, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MaxLen, MultipleOf
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from ccsr.errors import InputError

Values = Mapping[str, Any]


@dataclass(frozen=True)
class Step:
    """The grid of the slider of a field; other values are allowed, too."""

    size: float


@dataclass(frozen=True)
class DefaultOfModel:
    """Marks a field for which a model can have a default of its own."""


class Config(BaseModel):
    """Settings that cannot change, checked when they are made.

    Nothing is converted but whole numbers to floats: a text is no number, True is no number, NaN
    and infinity are refused.

    Raises:
        InputError: If a field is unknown, missing, of another type or out of its range, or fields
            contradict each other; one sentence for people.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)

    def __init__(self, **values: Any) -> None:  # noqa: ANN401
        try:
            super().__init__(**values)
        except ValidationError as error:
            # A misspelt name first: it is the reason why another is missing.
            first = min(error.errors(), key=lambda e: e["type"] != "extra_forbidden")
            raise InputError(_sentence(type(self), values, first)) from error

    def replace(self, **changes: Any) -> Self:  # noqa: ANN401
        """These settings with some fields changed, checked as a whole."""
        return type(self)(**dict(self) | changes)


@dataclass(frozen=True)
class Option:
    """A field of a config as interfaces show, read and check it."""

    name: str
    field: FieldInfo

    @property
    def label(self) -> str:
        """What the field is called on the page."""
        return self.field.title or self.name

    @property
    def flag(self) -> str:
        """The option of the command line."""
        return "--" + self.name.replace("_", "-")

    @property
    def help(self) -> str:
        """What the field does."""
        return self.field.description or ""

    @property
    def default(self) -> Any:  # noqa: ANN401
        """The value of the field if none is given."""
        return self.field.get_default(call_default_factory=True)

    @property
    def has_default_of_model(self) -> bool:
        """Whether a model can have a default of its own."""
        return any(isinstance(mark, DefaultOfModel) for mark in self.field.metadata)

    @property
    def shown_default(self) -> Any:  # noqa: ANN401
        """The default as help texts show it."""
        return "that of the model" if self.has_default_of_model else self.default

    @property
    def value_type(self) -> Any:  # noqa: ANN401 - a type or a special form of one
        """The type of the values, without None and without limits."""
        kind: Any = self.field.annotation
        if NoneType in get_args(kind):
            kind = next(part for part in get_args(kind) if part is not NoneType)
        return get_args(kind)[0] if get_origin(kind) is Annotated else kind

    @property
    def minimum(self) -> float | None:
        """The smallest value of a number."""
        return _limit(self.field.metadata, Ge, "ge")

    @property
    def maximum(self) -> float | None:
        """The largest value of a number."""
        return _limit(self.field.metadata, Le, "le")

    @property
    def step(self) -> float | None:
        """The grid of a slider."""
        return _limit(self.field.metadata, Step, "size")

    @property
    def max_length(self) -> int | None:
        """The number of characters that a text can have."""
        return _limit(self.field.metadata, MaxLen, "max_length")

    @property
    def choices(self) -> tuple[str, ...]:
        """The values of a choice; empty for other fields."""
        return get_args(self.value_type) if get_origin(self.value_type) is Literal else ()

    def validate(self, value: Any, name: str | None = None) -> Any:  # noqa: ANN401
        """Check one value.

        Args:
            value: Any value.
            name: What the message calls it; by default the name of the field.

        Raises:
            InputError: If it is of another type or out of its range.
        """
        kind: Any = Annotated[self.field.annotation, self.field]
        config = ConfigDict(strict=True, allow_inf_nan=False)
        try:
            return TypeAdapter(kind, config=config).validate_python(value)
        except ValidationError as error:
            raise InputError(_expectation(name or self.name, self.field, value)) from error

    def from_text(self, text: str) -> Any:  # noqa: ANN401
        """The number that a text stands for; the text itself if it is none, to be refused later."""
        try:
            return self.value_type(text) if self.value_type in (int, float) else text
        except ValueError:
            return text


@functools.cache
def option(config_type: type[Config], name: str) -> Option:
    """The option that field `name` of a config class is."""
    return Option(name, config_type.model_fields[name])


def field_names(config_type: type[Config]) -> tuple[str, ...]:
    """The names of the fields of a config class, in their order."""
    return tuple(config_type.model_fields)


def _sentence(config_type: type[Config], values: Values, error: ErrorDetails) -> str:
    """An error of pydantic as one sentence: the field, what was expected, and what came."""
    if error["type"] == "value_error":
        cause = str(error.get("ctx", {})["error"])
        # Of the fields together, or of a config that is a field of this one.
        return cause if not error["loc"] else f"{error['loc'][0]}.{cause}"
    name = str(error["loc"][0])
    if error["type"] == "extra_forbidden":
        return f"{name} is unknown; known are {', '.join(config_type.model_fields)}"
    field = config_type.model_fields[name]
    if name not in values:
        return f"{name} is missing; it must be {_expected(field.annotation, field.metadata)}"
    return _expectation(name, field, values[name])


def _expectation(name: str, field: FieldInfo, value: object) -> str:
    return f"{name} must be {_expected(field.annotation, field.metadata)}, got {shown(value)}"


MAX_SHOWN = 80
"""Characters of a value in a message."""


def shown(value: object) -> str:
    """A value as messages show it, whatever it is: at most MAX_SHOWN characters."""
    short = reprlib.Repr()
    short.maxlevel, short.maxstring, short.maxlong, short.maxother = 2, *[MAX_SHOWN] * 3
    try:
        text = short.repr(value)
    except (ValueError, RecursionError):  # a number of thousands of digits
        text = f"a value of type {type(value).__name__}"
    return shortened(text)


def shortened(text: str) -> str:
    """The beginning of a text, of at most MAX_SHOWN characters."""
    return text if len(text) <= MAX_SHOWN else f"{text[: MAX_SHOWN - 1]}…"


_NOUNS = {
    int: ("a whole number", "whole numbers"),
    float: ("a number", "numbers"),
    str: ("a text", "texts"),
    bool: ("true or false", "true or false"),
}
_LIMITS = (
    (Ge, "ge", "of at least {}"),
    (Gt, "gt", "above {}"),
    (Le, "le", "of at most {}"),
    (Lt, "lt", "below {}"),
    (MultipleOf, "multiple_of", "divisible by {}"),
    (MaxLen, "max_length", "of at most {} characters"),
)


def _expected(kind: Any, limits: Sequence[Any], *, several: bool = False) -> str:  # noqa: ANN401
    """What values of a type are, such as "a number from 0 to 1"."""
    parts = get_args(kind)
    if get_origin(kind) is Annotated:
        return _expected(parts[0], _flat(parts[1:]), several=several)
    if get_origin(kind) is Literal:
        return f"one of {', '.join(parts)}"
    if get_origin(kind) is tuple:
        count = "" if parts[-1] is Ellipsis else f"{len(parts)} "
        return f"a list of {count}{_expected(parts[0], (), several=True)}"
    if NoneType in parts:
        return _expected(next(part for part in parts if part is not NoneType), limits)
    if issubclass(kind, Config):
        return "a table"
    return _NOUNS[kind][several] + _range(limits)


def _flat(metadata: Sequence[Any]) -> list[Any]:
    """The limits in the metadata of an annotation, those of `Field` among them."""
    parts = (m.metadata if isinstance(m, FieldInfo) else (m,) for m in metadata)
    return [limit for part in parts for limit in part]


def _range(limits: Sequence[Any]) -> str:
    """The limits of a field as they continue "a number"."""
    low, high = _limit(limits, Ge, "ge"), _limit(limits, Le, "le")
    if low is not None and high is not None:
        return f" from {plain(low)} to {plain(high)}"
    found = ((text, _limit(limits, kind, attribute)) for kind, attribute, text in _LIMITS)
    parts = [text.format(plain(limit)) for text, limit in found if limit is not None]
    return f" {' and '.join(parts)}" if parts else ""


def _limit(limits: Sequence[Any], kind: type, attribute: str) -> Any:  # noqa: ANN401
    return next((getattr(limit, attribute) for limit in limits if isinstance(limit, kind)), None)


def plain(number: float) -> str:
    """A number without needless digits, and all digits of a whole one."""
    return str(int(number)) if number == int(number) else f"{number:g}"
