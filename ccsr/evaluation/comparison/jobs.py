"""The work of a comparison: every job of every picture, each recorded when it is done.

A picture is worked on by one process: the processes of a launcher take turns with the pictures.
What is held in memory is one result, the statistics over the seeds of a family of methods, and the
picture itself, however many pictures and seeds there are.
"""

import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ccsr.errors import reason_of
from ccsr.evaluation.comparison.illustration import Illustration, slug
from ccsr.evaluation.comparison.manifest import Manifest, Progress, Row
from ccsr.evaluation.comparison.methods import Family, Method, OurMethod
from ccsr.evaluation.comparison.scores import Scorer
from ccsr.evaluation.comparison.statistics import SeedStatistics
from ccsr.evaluation.comparison.test_set import Pair, Sample
from ccsr.images.picture import picture_from_array
from ccsr.images.reading import load_picture
from ccsr.images.tensors import to_uint8
from ccsr.images.writing import save_png
from ccsr.inference.memory import memory_named
from ccsr.whole_file import WriteError, make_folder

logger = logging.getLogger(__name__)

PICTURES = "pictures"
"""Folder of the results, in the layout that `RestoredFolder` reads."""


@dataclass(frozen=True)
class JobDone:
    """One job is done, now or by an earlier run."""

    test_set: str
    picture: str
    method: str
    seed: int


@dataclass(frozen=True)
class Failure:
    """A method gave no result for a picture; the other pictures count."""

    test_set: str
    picture: str
    method: str
    """Empty if the picture itself cannot be read."""
    error: str


@dataclass(frozen=True)
class Work:
    """What is done for every picture."""

    families: Sequence[Family]
    seeds: tuple[int, ...]
    scorer: Scorer
    output: Path
    keep_pictures: bool = False
    """Whether results stay on disk; else only until their statistics are made."""
    num_illustrated: int = 0
    """Of so many pictures of a test set small pictures are kept for the report."""
    num_trajectories: int = 0
    """Of so many pictures of a test set the estimates of a run are scored."""

    def jobs(self, sample: Sample) -> Iterator[JobDone]:
        """All jobs of a picture, as if done."""
        for family in self.families:
            for method in family:
                for seed in method.seeds(self.seeds):
                    yield JobDone(sample.test_set, sample.name, method.name, seed)


def run(
    work: Work, samples: Sequence[Sample], manifest: Manifest, progress: Progress
) -> Iterator[JobDone | Failure]:
    """Do the jobs of the samples that are not done yet; yields what is done of them.

    Raises:
        WriteError: If something cannot be written.
    """
    for sample in samples:
        key = (sample.test_set, sample.name)
        if key in progress.done:
            continue
        failed = False
        for event in _picture(work, sample, manifest, progress.take(key)):
            if isinstance(event, Failure):
                failed = True
                manifest.write("failure", **vars(event))
            yield event
        if not failed:
            manifest.write("done", test_set=sample.test_set, picture=sample.name)
            progress.done.add(key)


def _picture(
    work: Work, sample: Sample, manifest: Manifest, rows: Sequence[Row]
) -> Iterator[JobDone | Failure]:
    try:
        with memory_named(sample.name):
            pair = sample.load()
    except (ValueError, OSError) as error:
        yield Failure(sample.test_set, sample.name, "", str(error))
        return
    illustration = None
    if sample.index < work.num_illustrated:
        illustration = Illustration(work.output, sample, pair)
    jobs = PictureJobs(work, sample, pair, manifest, rows, illustration)
    for family in work.families:
        yield from jobs.of_family(family)
    if sample.index < work.num_trajectories:
        yield from jobs.trajectory()


@dataclass
class PictureJobs:
    """The jobs of one picture."""

    work: Work
    sample: Sample
    pair: Pair
    manifest: Manifest
    rows: Sequence[Row]
    """What earlier runs have done."""
    illustration: Illustration | None
    failed: set[str] = field(default_factory=set)
    """Methods that gave no result."""

    def of_family(self, family: Family) -> Iterator[JobDone | Failure]:
        """The jobs of a family, seed by seed: only the chains of one seed are kept at a time."""
        seeds = {method.name: method.seeds(self.work.seeds) for method in family}
        unfinished: dict[str, MethodJobs] = {}
        for method in family:
            jobs = MethodJobs(self, method, len(seeds[method.name]))
            if any(row["kind"] == "group" and row["method"] == method.name for row in self.rows):
                jobs.discard_pictures(seeds[method.name])
            else:
                unfinished[method.name] = jobs
        for seed in sorted({seed for each in seeds.values() for seed in each}):
            for method in family:
                if seed not in seeds[method.name] or method.name in self.failed:
                    continue
                try:
                    if method.name in unfinished and unfinished[method.name].do(seed):
                        # Its statistics are freed before those of other methods are complete.
                        del unfinished[method.name]
                except WriteError:
                    raise
                except Exception as error:
                    # Networks of others may raise anything; one picture never ends the work.
                    logger.debug("%s failed", method.name, exc_info=True)
                    self.failed.add(method.name)
                    yield Failure(*self._key, method.name, reason_of(error))
                    continue
                yield JobDone(*self._key, method.name, seed)

    def trajectory(self) -> Iterator[Failure]:
        """Score the estimates of a run of the first of our methods, with the first seed."""
        ours = (m for family in self.work.families for m in family if isinstance(m, OurMethod))
        method, seed = next(ours, None), self.work.seeds[0]
        if method is None or any(row["kind"] == "trajectory" for row in self.rows):
            return
        points: list[dict[str, float]] = []
        try:
            for timestep, rgb in method.trajectory(self.sample, self.pair.lr, seed):
                scores = self.work.scorer(as_8_bit(rgb), self.pair.hr, only=("psnr", "lpips"))
                points.append({"timestep": timestep, **scores})
        except Exception as error:
            logger.debug("the trajectory failed", exc_info=True)
            yield Failure(*self._key, f"trajectory of {method.name}", reason_of(error))
            return
        self.write("trajectory", method=method.name, seed=seed, points=points)

    def write(self, kind: str, **values: object) -> None:
        """Record a row about this picture."""
        self.manifest.write(kind, test_set=self.sample.test_set, picture=self.sample.name, **values)

    @property
    def _key(self) -> tuple[str, str]:
        return self.sample.test_set, self.sample.name


class MethodJobs:
    """The jobs of one method and one picture, one a seed."""

    def __init__(self, jobs: PictureJobs, method: Method, num_seeds: int) -> None:
        self.jobs, self.method = jobs, method
        self.statistics = SeedStatistics(jobs.pair.hr, jobs.work.scorer, num_seeds)
        self._cuts: list[np.ndarray] = []

    def do(self, seed: int) -> bool:
        """Make, keep and score a result, as far as no earlier run has.

        Returns:
            Whether this was the last, and the statistics are recorded.
        """
        jobs, path = self.jobs, self.path(seed)
        row = self._row(seed)
        started = time.perf_counter()
        if row is not None and path.exists():
            rgb = load_picture(path, max_pixels=self.jobs.pair.hr.size).rgb
        else:
            rgb = as_8_bit(self.method.restore(jobs.sample, jobs.pair.lr, seed))
            seconds = time.perf_counter() - started
            scores = jobs.work.scorer(rgb, jobs.pair.hr)
            self._keep(path, rgb)
            if row is None:
                jobs.write(
                    "job", method=self.method.name, seed=seed, scores=scores, seconds=seconds
                )
                row = {"scores": scores}
        self.statistics.add(seed, rgb, row["scores"])
        if jobs.illustration is not None:
            self._cuts.append(jobs.illustration.cut(rgb))
        if not self.statistics.is_complete:
            return False
        if jobs.illustration is not None:
            jobs.illustration.add(self.method.name, self.statistics, self._cuts)
        jobs.write("group", method=self.method.name, **self.statistics.row())
        self.discard_pictures(self.statistics.seeds)
        return True

    def path(self, seed: int) -> Path:
        """Where a result lies while it is needed."""
        sample = self.jobs.sample
        folder = self.jobs.work.output / PICTURES / slug(sample.test_set) / slug(self.method.name)
        return folder / f"sample{seed}" / f"{sample.name}.png"

    def discard_pictures(self, seeds: Sequence[int]) -> None:
        """Delete the results if they are not to be kept."""
        if not self.jobs.work.keep_pictures:
            for seed in seeds:
                self.path(seed).unlink(missing_ok=True)

    def _row(self, seed: int) -> Row | None:
        """The row of an earlier run for this job."""
        for row in self.jobs.rows:
            if (row["kind"], row["method"], row.get("seed")) == ("job", self.method.name, seed):
                return row
        return None

    def _keep(self, path: Path, rgb: np.ndarray) -> None:
        """Write a result that is needed again: by a run that goes on, or by a person."""
        if not self.method.runs_here or (
            self.statistics.num_seeds == 1 and not self.jobs.work.keep_pictures
        ):
            return
        make_folder(path.parent)
        save_png(path, picture_from_array(to_uint8(rgb)), overwrite=True)


def as_8_bit(rgb: np.ndarray) -> np.ndarray:
    """Rgb [H,W,3] in [0,1] as it is read back from an 8-bit PNG, float32."""
    return to_uint8(rgb).astype(np.float32) / 255
