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
"""Most runs by which another one is estimated."""
NEAR = 0.1
"""Of how much more doubt than the most similar run they are at most."""
SIZE_DOUBT, MIX_DOUBT = 0.12, 0.3
"""By what share an estimate is less certain on each side for results that are e times as large, and
for e times as many evaluations and decodes of one. The compact model took within a quarter of the
time at one rate for 512x512 to 2000x1600 pixels, 1 to 31 evaluations and 1 to 8 seeds."""

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
        doubts = [(_doubt(run, cost), seconds / run.effort) for run, seconds in runs]
        least, _ = min(doubts)
        # Of equally similar ones the latest.
        similar = sorted((d for d in doubts if d[0] <= least + NEAR), key=lambda d: d[0])[:NEAREST]
        rates = [rate for _, rate in similar]
        return Seconds(
            cost.effort * min(rates) / (1 + least), cost.effort * max(rates) * (1 + least)
        )


def _doubt(known: Cost, cost: Cost) -> float:
    """By what share the time of a run may differ from that of a known one at the same rate."""
    size = abs(math.log(known.megapixels / cost.megapixels))
    mix = abs(math.log(known.effort / known.megapixels) - math.log(cost.effort / cost.megapixels))
    return SIZE_DOUBT * size + MIX_DOUBT * mix


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
