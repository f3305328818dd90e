import math
from collections.abc import Iterator

import pytest

from ccsr.degradation.operations import (
    Blur,
    Degradation,
    GaussianNoise,
    Jpeg,
    Operation,
    PoissonNoise,
    Resize,
    SincFilter,
)
from ccsr.degradation.real_esrgan import FIRST, KERNELS, SECOND
from tests.unit.degradation.counting import assert_share, assert_uniform, drawn


@pytest.fixture(scope="module")
def draws() -> list[Degradation]:
    return drawn("real-esrgan")


def first_blurs(draws: list[Degradation]) -> Iterator[Blur]:
    return (d.operations[0] for d in draws if isinstance(d.operations[0], Blur))


def second_round(draw: Degradation) -> tuple[Operation, ...]:
    """The operations between the first JPEG and the second noise, included."""
    return draw.operations[4 : 6 + has_second_blur(draw)]


def has_second_blur(draw: Degradation) -> bool:
    return not isinstance(draw.operations[4], Resize)


def final_filters(draws: list[Degradation]) -> list[SincFilter]:
    finals = [d.operations[6 + has_second_blur(d) :] for d in draws]
    return [op for final in finals for op in final if isinstance(op, SincFilter)]


def test_operations_are_two_rounds_and_a_final_reduction(draws: list[Degradation]) -> None:
    for d in draws:
        kinds = [type(op) for op in d.operations]
        assert kinds[0] in (Blur, SincFilter)
        assert kinds[1] is Resize
        assert kinds[2] in (GaussianNoise, PoissonNoise)
        assert kinds[3] is Jpeg
        final = kinds[6 + has_second_blur(d) :]
        unfiltered = [kind for kind in final if kind is not SincFilter]
        assert unfiltered in ([Jpeg, Resize], [Resize, Jpeg])
        assert SincFilter not in final or final[final.index(SincFilter) - 1] is Resize
    assert_share((isinstance(d.operations[-1], Jpeg) for d in draws), 0.5)
    assert_share((has_second_blur(d) for d in draws), 0.5)


def test_kernels_are_the_published_mixture(draws: list[Degradation]) -> None:
    assert sum(KERNELS.values()) == pytest.approx(1)
    assert_share((isinstance(d.operations[0], SincFilter) for d in draws), 0.1)
    blurs = list(first_blurs(draws))
    published = {"gaussian": (0.45, 0.25), "generalised": (0.12, 0.03), "plateau": (0.12, 0.03)}
    for shape, (isotropic, anisotropic) in published.items():
        for share, wanted in ((isotropic, True), (anisotropic, False)):
            found = (b.shape == shape and (b.sigma_x == b.sigma_y) == wanted for b in blurs)
            assert_share(found, share)
    for shape in ("generalised", "plateau"):
        assert_share((b.sigma_x == b.sigma_y for b in blurs if b.shape == shape), 0.8)
    assert_uniform((b.sigma_x for b in blurs), *FIRST.blur_sigma)
    anisotropic = [b for b in blurs if b.sigma_x != b.sigma_y]
    assert_uniform((b.sigma_y for b in anisotropic), *FIRST.blur_sigma)
    assert_uniform((b.angle for b in anisotropic), -math.pi, math.pi)
    for size in range(7, 22, 2):
        assert_share((b.size == size for b in blurs), 1 / 8)


def test_half_of_the_exponents_of_generalised_kernels_are_below_1(
    draws: list[Degradation],
) -> None:
    betas = [b.beta for b in first_blurs(draws) if b.shape == "generalised"]
    assert_share((beta < 1 for beta in betas), 0.5)
    assert_uniform((beta for beta in betas if beta < 1), 0.5, 1)
    assert_uniform((beta for beta in betas if beta >= 1), 1, 2)


def test_half_of_the_exponents_of_plateau_kernels_are_1(draws: list[Degradation]) -> None:
    betas = [b.beta for b in first_blurs(draws) if b.shape == "plateau"]
    assert_share((beta == 1 for beta in betas), 0.5)
    assert_uniform((beta for beta in betas if beta != 1), 1, 1.5)


def test_cut_off_of_the_final_filter_is_uniform_for_every_kernel_size(
    draws: list[Degradation],
) -> None:
    finals = final_filters(draws)
    assert_share((bool(final_filters([d])) for d in draws), 0.8)
    for small in (True, False):
        cutoffs = (f.cutoff for f in finals if (f.size < 13) == small)
        assert_uniform(cutoffs, math.pi / 3, math.pi)


def test_cut_off_of_the_other_filters_is_lower_for_large_kernels(draws: list[Degradation]) -> None:
    filters = [d.operations[0] for d in draws if isinstance(d.operations[0], SincFilter)]
    assert_uniform((f.cutoff for f in filters if f.size < 13), math.pi / 3, math.pi)
    assert_uniform((f.cutoff for f in filters if f.size >= 13), math.pi / 5, math.pi)


@pytest.mark.parametrize("order", ["first", "second"])
def test_factors_of_resizing(draws: list[Degradation], order: str) -> None:
    ranges, base = (FIRST, 1.0) if order == "first" else (SECOND, 1 / 4)
    resizes = [
        next(op for op in ops if isinstance(op, Resize))
        for ops in ((d.operations[:4] if order == "first" else second_round(d)) for d in draws)
    ]
    factors = [r.factor / base for r in resizes]
    enlarging, reducing, keeping = ranges.resize_shares
    assert_share((f > 1 for f in factors), enlarging)
    assert_share((f < 1 for f in factors), reducing)
    assert_share((f == 1 for f in factors), keeping)
    low, high = ranges.resize_range
    assert_uniform((f for f in factors if f > 1), 1, high)
    assert_uniform((f for f in factors if f < 1), low, 1)
    for mode in ("area", "bilinear", "bicubic"):
        assert_share((r.mode == mode for r in resizes), 1 / 3)


@pytest.mark.parametrize("order", ["first", "second"])
def test_noise_is_gaussian_or_poisson_grey_or_coloured(
    draws: list[Degradation], order: str
) -> None:
    ranges = FIRST if order == "first" else SECOND
    noises = [d.operations[2] if order == "first" else second_round(d)[-1] for d in draws]
    gaussian = [n for n in noises if isinstance(n, GaussianNoise)]
    poisson = [n for n in noises if isinstance(n, PoissonNoise)]
    assert_share((isinstance(n, GaussianNoise) for n in noises), 0.5)
    assert_share((n.gray for n in gaussian), 0.4)
    assert_share((n.gray for n in poisson), 0.4)
    assert_uniform((n.sigma for n in gaussian), *ranges.gaussian_sigma)
    assert_uniform((n.scale for n in poisson), *ranges.poisson_scale)
    assert len({n.seed for n in gaussian + poisson}) > 2990


def test_jpeg_quality_is_uniform(draws: list[Degradation]) -> None:
    for order, index in ((FIRST, 0), (SECOND, 1)):
        low, high = order.jpeg_quality
        jpegs = ([op for op in d.operations if isinstance(op, Jpeg)][index] for d in draws)
        qualities = [jpeg.quality for jpeg in jpegs]
        assert set(qualities) == set(range(low, high + 1))
        assert_share((quality < 75 for quality in qualities), (75 - low) / (high + 1 - low))
