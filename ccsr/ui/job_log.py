"""One line of the log for each run at the model, and counters of all of them for a scrape."""

import json
import logging
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ccsr.stopping import StopFlag, Stopped

logger = logging.getLogger(__name__)

PROCESS = Path("/proc/self")
RESET_PEAK = "5"
"""What Linux takes to measure the peak of memory anew."""


@dataclass
class JobLog:
    """The runs so far."""

    finished: Counter[tuple[str, str]] = field(default_factory=Counter[tuple[str, str]])
    """Their number by kind and result: done, stopped or failed."""
    seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    """Their time at the model by kind."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def job(self, kind: str, stop: StopFlag, about: Mapping[str, Any]) -> Generator[None]:
        """Log and count the run inside; `about` has what else is told of it."""
        started, result = time.perf_counter(), "failed"
        reset_peak_memory()
        try:
            yield
            result = "stopped" if stop.is_set() else "done"
        except (GeneratorExit, Stopped):
            result = "stopped"
            raise
        finally:
            seconds = time.perf_counter() - started
            with self._lock:
                self.finished[kind, result] += 1
                self.seconds[kind] += seconds
            line = {"job": kind, **about, "seconds": round(seconds, 2), "result": result}
            peak = peak_memory()
            line |= {} if peak is None else {"peak_mib": round(peak / 2**20)}
            logger.info(json.dumps(line))

    def metrics(self) -> list[str]:
        """The counters in the text format of Prometheus."""
        with self._lock:
            finished, seconds = dict(self.finished), dict(self.seconds)
        return [
            "# TYPE ccsr_jobs_total counter",
            *(f'ccsr_jobs_total{{kind="{k}",result="{r}"}} {n}' for (k, r), n in finished.items()),
            "# TYPE ccsr_job_seconds_total counter",
            *(f'ccsr_job_seconds_total{{kind="{k}"}} {n:.2f}' for k, n in seconds.items()),
        ]


def reset_peak_memory() -> None:
    """Measure the peak of memory from now on, where the system can."""
    try:
        (PROCESS / "clear_refs").write_text(RESET_PEAK)
    except OSError:
        return


def peak_memory() -> int | None:
    """Bytes that this process had in memory at most; None where the system does not tell."""
    return _status("VmHWM:")


def memory() -> int | None:
    """Bytes that this process has in memory; None where the system does not tell."""
    return _status("VmRSS:")


def _status(name: str) -> int | None:
    try:
        lines = (PROCESS / "status").read_text().splitlines()
    except OSError:
        return None
    kibibytes = next((line.split()[1] for line in lines if line.startswith(name)), None)
    return None if kibibytes is None else int(kibibytes) * 1024
