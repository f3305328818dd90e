"""Checks of samples against the distributions they are drawn from."""

import math
from collections.abc import Iterable

from scipy.stats import kstest

from ccsr.config import DegradationModel
from ccsr.degradation.draws import generator_for
from ccsr.degradation.models import draw
from ccsr.degradation.operations import Degradation


def drawn(model: DegradationModel, count: int = 3000, scale: int = 4) -> list[Degradation]:
    return [draw(model, scale, generator_for(7, i)) for i in range(count)]


def assert_share(outcomes: Iterable[bool], expected: float) -> None:
    """The share of true outcomes is within four standard errors of the expected one."""
    values = list(outcomes)
    found = sum(values) / len(values)
    error = math.sqrt(expected * (1 - expected) / len(values))
    assert abs(found - expected) < 4 * error, f"{found:.3f} of {len(values)}, expected {expected}"


def assert_uniform(values: Iterable[float], low: float, high: float) -> None:
    """A Kolmogorov-Smirnov test does not reject the uniform distribution."""
    sample = list(values)
    assert len(sample) >= 50
    assert low <= min(sample) <= max(sample) <= high
    assert kstest(sample, "uniform", (low, high - low)).pvalue > 1e-3
