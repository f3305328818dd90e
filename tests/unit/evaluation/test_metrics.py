import numpy as np
import pytest
import torch
from skimage import data

from ccsr.evaluation.metrics import (
    BORDER,
    LPIPS,
    METRICS,
    MIN_MEASURED_SIDE,
    check_measurable,
    consistency,
    lpips,
    luma,
    make_scorer,
    measure,
    psnr,
    sharpness,
    ssim,
)
from ccsr.images.picture import Picture, PictureError, Size, picture_from_array

RECORDED_LPIPS = 0.04311446100473404


def astronaut() -> np.ndarray:
    return data.astronaut()[:128, 160:288].astype(np.float32) / 255


def test_psnr_of_a_known_error() -> None:
    """A grey step of d changes the luma by 219/255 of it."""
    one = np.full((64, 64, 3), 0.5, np.float32)
    expected = -20 * np.log10(0.1 * 219 / 255)
    assert psnr(one + np.float32(0.1), one) == pytest.approx(expected, abs=1e-3)


def test_luma_is_that_of_video() -> None:
    corners = luma(np.array([[[0.0, 0, 0], [1, 1, 1]]]))
    np.testing.assert_allclose(corners * 255, [[16, 235]], atol=1e-3)


def test_equal_pictures_score_best() -> None:
    picture = astronaut()
    assert psnr(picture, picture) == np.inf
    assert ssim(picture, picture) == pytest.approx(1)
    assert lpips(picture, picture) == 0


def test_all_scores_get_worse_with_noise() -> None:
    picture = astronaut()
    rng = np.random.default_rng(0)
    noises = [rng.normal(0, sigma, picture.shape).astype(np.float32) for sigma in (0.02, 0.1)]
    little, much = (measure((picture + noise).clip(0, 1), picture) for noise in noises)
    for name, metric in METRICS.items():
        assert (little[name] > much[name]) == metric.higher_is_better


def test_lpips_is_symmetric_and_takes_batches() -> None:
    network = LPIPS.alex()
    a, b = torch.rand(2, 3, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(network(a, b), network(b, a))
    assert network(a, b).shape == (3,)


def test_lpips_has_a_gradient_where_pictures_are_flat() -> None:
    flat = torch.zeros(1, 3, 64, 64, requires_grad=True)
    LPIPS.alex()(flat, torch.rand(1, 3, 64, 64)).sum().backward()
    assert flat.grad is not None
    assert flat.grad.isfinite().all()


def test_lpips_of_fixed_pictures_does_not_move() -> None:
    """Recorded with the published weights; float16 storage moves it by less than 1 %."""
    picture = astronaut()
    blurred = np.stack([picture, np.roll(picture, 1, 0), np.roll(picture, 1, 1)]).mean(0)
    assert lpips(blurred.astype(np.float32), picture) == pytest.approx(RECORDED_LPIPS, rel=0.01)


def test_border_does_not_count() -> None:
    picture = astronaut()
    framed = picture.copy()
    framed[:BORDER] = framed[-BORDER:] = framed[:, :BORDER] = framed[:, -BORDER:] = 0
    assert measure(framed, picture)["psnr"] == np.inf


def test_sizes_must_agree() -> None:
    with pytest.raises(ValueError, match="the size of the result, 128x128, got 128x100"):
        measure(astronaut(), astronaut()[:100])


@pytest.mark.parametrize("size", [Size(39, 128), Size(128, 39)], ids=str)
def test_pictures_too_small_to_measure_are_refused(size: Size) -> None:
    with pytest.raises(PictureError, match=f"at least 40 pixels a side .* got {size}; raise"):
        check_measurable(size)
    picture = astronaut()[: size.height, : size.width]
    with pytest.raises(PictureError, match="at least 40 pixels"):
        measure(picture, picture)


def test_pictures_of_the_least_size_are_measured() -> None:
    check_measurable(Size(MIN_MEASURED_SIDE, MIN_MEASURED_SIDE))
    hr = astronaut()[:MIN_MEASURED_SIDE, :MIN_MEASURED_SIDE]
    assert np.isfinite(list(measure(1 - hr, hr).values())).all()


def test_consistency_is_high_for_what_reduces_to_the_input() -> None:
    lr = astronaut()[::4, ::4]
    faithful = np.kron(lr, np.ones((4, 4, 1), np.float32))
    assert consistency(faithful, lr) > 30
    assert consistency(np.roll(faithful, 16, 0), lr) < 20


def test_sharpness_falls_with_blur_and_is_zero_where_nothing_changes() -> None:
    picture = astronaut()
    blurred = np.stack([picture, np.roll(picture, 1, 0), np.roll(picture, 1, 1)]).mean(0)
    assert sharpness(blurred) < sharpness(picture)
    assert sharpness(np.full((8, 8, 3), 0.3)) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("of", ["reference", "input"])
def test_colours_hidden_under_transparency_do_not_count(of: str) -> None:
    result, rgb = np.random.default_rng(0).random((2, 64, 64, 3), np.float32)
    alpha = np.ones((64, 64), np.float32)
    alpha[20:40, 20:40] = 0

    def scores(hidden: float) -> dict[str, float]:
        picture = Picture(np.where(alpha[..., None] == 0, np.float32(hidden), rgb), alpha)
        lr, hr = (picture, None) if of == "input" else (Picture(rgb), picture)
        return make_scorer(lr, hr)(result)

    assert scores(0) == scores(1)


def test_scorer_without_reference_has_niqe_for_large_pictures_only() -> None:
    lr = picture_from_array(data.astronaut()[:64, :64])
    small, large = data.astronaut()[:128, :128] / 255, data.astronaut()[:256, :256] / 255
    scorer = make_scorer(lr, None)
    assert set(scorer(small)) == {"consistency", "sharpness"}
    assert set(scorer(large)) == {"consistency", "sharpness", "niqe"}
    hr = picture_from_array(data.astronaut()[:256, :256])
    assert set(make_scorer(lr, hr)(hr.rgb)) == set(METRICS)
