import math

import pytest
import torch

from ccsr.degradation.operations import (
    Blur,
    CorrelatedNoise,
    Decimate,
    Degradation,
    GaussianNoise,
    Jpeg,
    Resize,
)
from tests.unit.degradation.counting import assert_share, assert_uniform, drawn


@pytest.fixture(scope="module")
def draws() -> list[Degradation]:
    return drawn("bsrgan")


def halved(draw: Degradation) -> bool:
    first = draw.operations[0]
    return isinstance(first, Resize) and first.factor == 0.5


def shuffled(draw: Degradation) -> list[str]:
    """The steps that were shuffled, by name."""
    names: list[str] = []
    for op in draw.operations[halved(draw) : -1]:
        if isinstance(op, Blur):
            names.append("blur" if op.shift == 0 else "reduce")
        elif isinstance(op, Resize):
            names.append("to LR" if op.factor == 0.25 and "reduce" in names else "reduce")
        elif not isinstance(op, Decimate):
            names.append("jpeg" if isinstance(op, Jpeg) else "noise")
    return names


def test_steps_come_in_every_order_but_for_the_two_reductions(draws: list[Degradation]) -> None:
    orders = [shuffled(d) for d in draws]
    assert_share(("jpeg" in order for order in orders), 0.9)
    whole = [order for order in orders if "jpeg" in order]
    for order in whole:
        assert sorted(order) == ["blur", "blur", "jpeg", "noise", "reduce", "to LR"]
        assert order.index("reduce") < order.index("to LR")
    assert all(order.index("reduce") < 5 for order in whole)
    for place in range(6):
        assert_share((order.index("noise") == place for order in whole), 1 / 6)
        assert_share((order.index("jpeg") == place for order in whole), 1 / 6)
    for place in range(5):
        # The earlier of two places out of six.
        assert_share((order.index("reduce") == place for order in whole), (5 - place) / 15)
    assert all(isinstance(d.operations[-1], Jpeg) for d in draws)


def test_a_quarter_of_the_pictures_is_halved_first_at_scale_4_only(
    draws: list[Degradation],
) -> None:
    assert_share((halved(d) for d in draws), 0.25)
    first = [d.operations[0] for d in draws if halved(d)]
    assert_share((op.mode == "antialiased" for op in first if isinstance(op, Resize)), 0.5)
    assert not any(halved(d) for d in drawn("bsrgan", 200, scale=2))


def test_blurs_are_gaussian_of_uniform_sigma_or_variances(draws: list[Degradation]) -> None:
    for scale in (4, 2):
        blurs = [
            op
            for d in draws
            if halved(d) == (scale == 2)
            for op in d.operations
            if isinstance(op, Blur) and op.shift == 0
        ]
        isotropic = [b for b in blurs if b.sigma_x == b.sigma_y]
        anisotropic = [b for b in blurs if b.sigma_x != b.sigma_y]
        assert_share((b.sigma_x == b.sigma_y for b in blurs), 0.5)
        assert_uniform((b.sigma_x for b in isotropic), 0, 2 + 0.2 * scale)
        assert_uniform((b.sigma_x**2 for b in anisotropic), 0, 4 + scale)
        assert_uniform((b.sigma_y**2 for b in anisotropic), 0, 4 + scale)
        assert_uniform((b.angle for b in anisotropic), 0, math.pi)
        for size in range(7, 26, 2):
            assert_share((b.size == size for b in blurs), 1 / 10)


def test_first_reduction_is_a_resize_or_a_decimation(draws: list[Degradation]) -> None:
    unhalved = [d.operations for d in draws if not halved(d)]
    assert_share((any(isinstance(op, Decimate) for op in ops) for ops in unhalved), 0.25)
    factors = [
        next(op for op in ops if isinstance(op, Resize)).factor
        for ops in unhalved
        if not any(isinstance(op, Decimate) for op in ops)
    ]
    assert_uniform((1 / factor for factor in factors), 1, 8)
    decimating = [op for ops in unhalved for op in ops if isinstance(op, Blur) and op.shift]
    assert {op.shift for op in decimating} == {1.5}
    assert {op.size for op in decimating} == {25}
    assert_uniform((op.sigma_x for op in decimating), 0.1, 2.4)


def test_noise_is_coloured_grey_or_correlated(draws: list[Degradation]) -> None:
    noises = [
        op for d in draws for op in d.operations if isinstance(op, GaussianNoise | CorrelatedNoise)
    ]
    assert_share((isinstance(n, GaussianNoise) and n.gray for n in noises), 0.4)
    assert_share((isinstance(n, GaussianNoise) and not n.gray for n in noises), 0.4)
    sigmas = [n.sigma for n in noises if isinstance(n, GaussianNoise)]
    assert set(sigmas) == set(range(2, 26))
    covariances = torch.tensor([n.covariance for n in noises if isinstance(n, CorrelatedNoise)])
    assert covariances.min() >= 0
    torch.testing.assert_close(covariances, covariances.mT)
    # The trace does not depend on the axes: it is 25^2 times the sum of three uniform numbers.
    traces = covariances.diagonal(dim1=1, dim2=2).sum(1) / 25**2
    assert float(traces.mean()) == pytest.approx(1.5, abs=4 * 0.5 / math.sqrt(len(traces)))
    assert float(traces.std()) == pytest.approx(0.5, rel=0.15)


def test_jpeg_quality_is_uniform(draws: list[Degradation]) -> None:
    qualities = [op.quality for d in draws for op in d.operations if isinstance(op, Jpeg)]
    assert set(qualities) == set(range(30, 96))
    assert_share((quality < 63 for quality in qualities), 0.5)
