"""The results of a run over seeds, which the panels of the tab look at."""

import dataclasses
from pathlib import Path

from ccsr.evaluation.plots import BICUBIC
from ccsr.evaluation.stability import ScoreStatistics
from ccsr.ui.loupe import View, Views
from ccsr.ui.origin import Origin

MEAN = "Mean"


@dataclasses.dataclass(frozen=True, eq=False)
class SeedRun:
    """The results of a run over seeds so far, as files and numbers."""

    origin: Origin
    folder: Path
    total: int
    bicubic: Path
    mean: Path
    baseline: dict[str, float]
    """Scores of the bicubic enlargement; empty without a reference."""
    reference: Path | None
    seconds: float = 0.0
    """Of all seeds that are done."""
    seeds: tuple[int, ...] = ()
    pictures: tuple[Path, ...] = ()
    """One for each seed."""
    maps: tuple[View, ...] = ()
    """The L-STD map alone and over the mean; empty for a single seed."""
    l_std_by_count: tuple[float, ...] = ()
    """L-STD over the first 1, 2, ... seeds."""
    statistics: dict[str, ScoreStatistics] = dataclasses.field(
        default_factory=dict[str, ScoreStatistics]
    )
    """Mean and G-STD of each score; empty without a reference."""
    report: tuple[Path, ...] = ()
    """The files of the report."""
    archive: Path | None = None
    """The ZIP of pictures and report, once the run has ended."""

    def __len__(self) -> int:
        """The number of seeds that are done."""
        return len(self.seeds)

    @property
    def l_std_numbers(self) -> Path:
        """The L-STD map as an array."""
        return self.report_file("l_std.npy")

    def report_file(self, name: str) -> Path:
        """The file of the report that has this name."""
        return next(path for path in self.report if path.name == name)

    def named(self) -> dict[str, Path]:
        """The picture of each seed by its name on the page."""
        return {f"Seed {seed}": p for seed, p in zip(self.seeds, self.pictures, strict=True)}

    def picture_of(self, choice: str | None) -> Path:
        """The picture of a seed by its name on the page; the first for any other."""
        return self.named().get(choice or "", self.pictures[0])

    def views(self) -> Views:
        """All pictures and maps, to be compared."""
        others = {MEAN: self.mean, BICUBIC: self.bicubic}
        others |= {"Reference": self.reference} if self.reference else {}
        seeds = self.named()
        pictures = [View(name, file) for name, file in (seeds | others).items()]
        return Views((*self.maps, *pictures), MEAN, next(iter(seeds)), "all")
