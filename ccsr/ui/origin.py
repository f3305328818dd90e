"""What made the results on the page, and whether that is what is chosen now."""

import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ccsr.config import SamplingConfig, variant_label

MANY = 3
"""Values of one field that are listed; of more, the number is told."""


@dataclass(frozen=True)
class Origin:
    """The inputs of a run, which fix every pixel of its results."""

    picture: str
    """Path of the upload."""
    configs: tuple[SamplingConfig, ...]
    """Of one scale and number of steps."""
    seeds: tuple[int, ...]
    reference: str | None = None
    """Path of the true picture that results were scored against."""

    @classmethod
    def of(cls, picture: str, query: Any, reference: str | None = None) -> "Origin":  # noqa: ANN401
        """The origin of what a query makes: one setting or several, one seed or several."""
        configs, seeds = query
        return cls(
            picture,
            (configs,) if isinstance(configs, SamplingConfig) else tuple(configs),
            (seeds,) if isinstance(seeds, int) else tuple(seeds),
            reference,
        )

    def caption(self) -> str:
        """File, scale, settings and seeds, in one line."""
        first = self.configs[0]
        parts = [f"{Path(self.picture).name}, x{first.scale:g}"]
        parts += [f"{name} {self._values(name)}" for name in ("t_max", "t_min")]
        labels = dict.fromkeys(variant_label(config.variant) for config in self.configs)
        parts += [f"S {first.num_steps}", _named("seed", self.seeds), ", ".join(labels)]
        return " · ".join(parts)

    def _values(self, name: str) -> str:
        values = list(dict.fromkeys(getattr(config, name) for config in self.configs))
        return (
            ", ".join(f"{v:g}" for v in values) if len(values) <= MANY else f"{len(values)} values"
        )


class Difference(enum.Enum):
    """What results are of, other than what is chosen now."""

    PICTURE = "Of the picture before"
    SETTINGS = "Of other settings"
    REFERENCE = "Scored before the reference changed"


def difference(shown: Origin, present: Origin | None, picture: str | None) -> Difference | None:
    """What makes results those of an earlier choice; None if nothing does.

    Args:
        shown: Of the results.
        present: What a run would make now; None if the settings cannot be used.
        picture: Path of the picture that is chosen now.
    """
    if shown.picture != picture:
        return Difference.PICTURE
    if present is None or (shown.configs, shown.seeds) != (present.configs, present.seeds):
        return Difference.SETTINGS
    return Difference.REFERENCE if shown.reference != present.reference else None


def present_origin(
    picture: str | None, read: Callable[[Sequence[Any]], Any], values: Sequence[Any],
    reference: str | None,
) -> Origin | None:  # fmt: skip
    """What a run would make now; None if it would be refused."""
    try:
        return Origin.of(picture, read(values), reference) if picture else None
    except ValueError:
        return None


def _named(noun: str, numbers: Sequence[int]) -> str:
    first, last = numbers[0], numbers[-1]
    if len(numbers) == 1:
        return f"{noun} {first}"
    if len(numbers) == last - first + 1:
        return f"{noun}s {first}-{last}"
    return f"{noun}s {', '.join(map(str, numbers))}"
