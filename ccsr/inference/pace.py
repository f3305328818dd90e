"""How long a run takes on this machine, from how long the stages of earlier ones took."""

import math
import threading
import time
from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass

from ccsr.images.picture import noise_picture
from ccsr.inference.cost import ENCODING, Cost, cost_of, passes
from ccsr.inference.events import Engine, Progress
from ccsr.inference.sizes import target_size

KEPT_TIMES = 60
"""Of each stage."""
NEAREST = 5
"""Most times by which a stage is estimated."""
NEAR = 0.1
"""Of how much more doubt than the one of the most similar size they are at most."""
SIZE_DOUBT = 0.12
"""By what share an estimate is less certain on each side for results that are e times as large. The
compact model took within a fifth of the time a pixel for 512x512 to 2000x1600 pixels."""
ADDED = 0.4
"""What scoring and writing a result add to its decoding, as a share of that, while it is not known:
up to this. For the compact model it is 0.03 to 0.3, and 0.6 for many seeds with a reference."""

ENCODED, EVALUATED, BARE = "encoding", "evaluation", "bare result"
"""Names of stages: the reading and encoding of a picture, one network evaluation, and a result that
is neither scored nor written. All others are results, each with what is done with it."""
FIRST_SIDE, SIDES = 32, (64, 128)
"""Of the pictures of `warm_up`: the first, which takes longer, and those that are measured."""


@dataclass(frozen=True)
class Seconds:
    """A range that a time probably lies in."""

    low: float
    high: float

    @property
    def middle(self) -> float:
        """As many times above the lower end as below the upper one."""
        return math.sqrt(self.low * self.high)


NO_TIME = Seconds(0, 0)
Rates = deque[tuple[float, float]]
"""Megapixels of a result, and the seconds that a stage took for each of them; the latest last."""


def _rates() -> Rates:
    return deque(maxlen=KEPT_TIMES)


class Pace:
    """The times of the stages of the latest runs. Thread-safe."""

    def __init__(self) -> None:
        self._stages: defaultdict[str, Rates] = defaultdict(_rates)
        self._lock = threading.Lock()

    def record(self, stage: str, megapixels: float, seconds: float) -> None:
        """Note how long a stage took for a result of this size."""
        with self._lock:
            self._stages[stage].append((megapixels, seconds / megapixels))

    def seconds(self, cost: Cost, result: str) -> Seconds | None:
        """The time of a run; None while a stage is not known, or if there is nothing to do.

        Args:
            cost: Of the run.
            result: The stage that each of its results takes. Where it is not known, it is told
                from other results.
        """
        size = cost.megapixels
        if not size:
            return None
        with self._lock:
            known = {name: _near(rates, size) for name, rates in self._stages.items()}
        results = [seconds for name, seconds in known.items() if name not in (ENCODED, EVALUATED)]
        if EVALUATED not in known or not results:
            return None
        stages = (
            (1, known.get(ENCODED, NO_TIME)),
            (cost.evaluations, known[EVALUATED]),
            (cost.decodes, known.get(result) or _of_another_kind(results)),
        )
        return Seconds(
            size * sum(count * stage.low for count, stage in stages),
            size * sum(count * stage.high for count, stage in stages),
        )


def _near(rates: Rates, megapixels: float) -> Seconds:
    """Seconds a megapixel, by those of the most similar sizes."""
    doubts = [(SIZE_DOUBT * abs(math.log(size / megapixels)), s) for size, s in reversed(rates)]
    least, _ = min(doubts)
    # Of equally similar ones the latest.
    similar = sorted((d for d in doubts if d[0] <= least + NEAR), key=lambda d: d[0])[:NEAREST]
    found = [seconds for _, seconds in similar]
    return Seconds(min(found) / (1 + least), max(found) * (1 + least))


def _of_another_kind(known: Sequence[Seconds]) -> Seconds:
    """The time of a result that nothing is known of but how long those of other kinds take."""
    least = min(known, key=lambda seconds: seconds.low)
    return Seconds(least.low, least.high * (1 + ADDED))


class StageClock:
    """Tells by the events of a run how long its stages take.

    Args:
        pace: Where that is recorded.
        result: The stage that each of the results takes, see `Pace.seconds`.
        megapixels: Of a result.
        passes: Network evaluations of a step, see `ccsr.inference.cost.passes`.
    """

    def __init__(self, pace: Pace, result: str, megapixels: float, passes: int = 1) -> None:
        self.pace, self.result, self.megapixels, self.passes = pace, result, megapixels, passes
        self.start()

    def start(self) -> None:
        """Begin to count."""
        self.started = self._last = time.perf_counter()
        self._first: tuple[int, float] | None = None
        self._is_begun = False
        self._evaluations, self._evaluating = 0, 0.0
        self._decodes, self._decoding = 0, 0.0

    def evaluated(self, num_seeds: int) -> None:
        """A step of so many seeds has ended."""
        count, seconds = num_seeds * self.passes, self._lap()
        if self._is_begun:
            self._evaluations += count
            self._evaluating += seconds
        else:
            # The encoding is in it.
            self._is_begun, self._first = True, (count, seconds)

    def decoded(self) -> None:
        """An estimate is decoded, of several for one result."""
        self._decodes += 1
        self._decoding += self._lap()

    def made(self) -> None:
        """A result is there, of one estimate, or of those that were decoded since the last."""
        self._decoding += self._lap()
        self._record(self.result, self._decoding / max(self._decodes, 1))
        self._decodes, self._decoding = 0, 0.0
        self._record_evaluations()

    def _record_evaluations(self) -> None:
        count, seconds = self._first or (0, 0.0)
        if self._evaluations:
            each = self._evaluating / self._evaluations
        elif count:
            each = seconds / (ENCODING + count)
        else:
            return
        self._record(EVALUATED, each)
        encoding = seconds - count * each
        # Otherwise it was kept from an earlier run.
        if encoding > each / 2:
            self._record(ENCODED, encoding)
        self._first, self._evaluations, self._evaluating = None, 0, 0.0

    def _record(self, stage: str, seconds: float) -> None:
        self.pace.record(stage, self.megapixels, seconds)

    def _lap(self) -> float:
        last, self._last = self._last, time.perf_counter()
        return self._last - last


def warm_up(engine: Engine, pace: Pace) -> None:
    """Make small results of noise, so that times are known before the first visitor comes.

    The first run of a process takes longer than others, and is not recorded.
    """
    config, loop_start = engine.info.defaults, engine.info.loop_start
    for number, side in enumerate((FIRST_SIDE, *SIDES)):
        picture = noise_picture(side)
        cost = cost_of(config, 1, target_size(picture, config), loop_start)
        clock = StageClock(pace if number else Pace(), BARE, cost.megapixels, passes(config))
        for event in engine.run(picture, config, (0,)):
            if isinstance(event, Progress):
                clock.evaluated(len(event.seeds))
            else:
                clock.made()
