"""How long a run takes on this machine, from how long earlier ones took."""

import math
import threading
import time
from collections import deque
from dataclasses import dataclass

from ccsr.images.picture import noise_picture
from ccsr.inference.cost import Cost, cost_of
from ccsr.inference.events import Engine
from ccsr.inference.sizes import target_size

KEPT_RUNS = 60
NEAREST = 5
"""Runs of the most similar cost, by which another one is estimated."""
WIDENED = 0.15
"""By what share an estimate is less certain on each side for a run that is e times as large."""


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


class Pace:
    """The times of the latest runs against what they cost. Thread-safe."""

    def __init__(self) -> None:
        self._runs: deque[tuple[Cost, float]] = deque(maxlen=KEPT_RUNS)
        self._lock = threading.Lock()

    def record(self, cost: Cost, seconds: float) -> None:
        """Note that a run of this cost took so many seconds."""
        if cost.effort > 0 and seconds > 0:
            with self._lock:
                self._runs.append((cost, seconds))

    def seconds(self, cost: Cost) -> Seconds | None:
        """The time of a run; None before any was recorded, or if there is nothing to do."""
        with self._lock:
            runs = list(reversed(self._runs))
        if not runs or cost.effort <= 0:
            return None
        # Of equally similar ones the latest.
        nearest = sorted(runs, key=lambda run: _distance(run[0], cost))[:NEAREST]
        rates = [seconds / run.effort for run, seconds in nearest]
        doubt = 1 + WIDENED * _distance(nearest[0][0], cost)
        return Seconds(cost.effort * min(rates) / doubt, cost.effort * max(rates) * doubt)


def _distance(first: Cost, second: Cost) -> float:
    """How different two costs are: in effort, and in the size of a result."""
    effort = abs(math.log(first.effort / second.effort))
    return effort + abs(math.log(first.megapixels / second.megapixels))


def warm_up(engine: Engine, pace: Pace) -> None:
    """Make small results of noise, so that times are known before the first visitor comes.

    The first run of a process takes longer than others, and is not recorded.
    """
    config, loop_start = engine.info.defaults, engine.info.loop_start
    for number, side in enumerate((FIRST_SIDE, *SIDES)):
        picture = noise_picture(side)
        started = time.perf_counter()
        for _ in engine.run(picture, config, (0,)):
            pass
        if number:
            cost = cost_of(config, 1, target_size(picture, config), loop_start)
            pace.record(cost, time.perf_counter() - started)
