import numpy as np
import pytest
from skimage.color import rgb2gray, rgb2lab

from ccsr.evaluation import heatmap


def test_every_step_of_the_value_is_a_step_of_lightness() -> None:
    """All 256 colours differ in grey, and equal differences stay about equal."""
    lightness = rgb2lab(heatmap.colors(np.linspace(0, 1, 256)))[:, 0]
    assert lightness[0] < 10
    assert lightness[-1] > 90
    assert np.diff(lightness).min() > 0
    tenths = np.diff(np.interp(np.linspace(0, 255, 11), np.arange(256), lightness))
    assert tenths.max() < 1.9 * tenths.min()


def test_differences_of_lightness_add_up_to_those_of_the_values() -> None:
    values = np.linspace(0, 1, 256)
    lightness = rgb2lab(heatmap.colors(values))[:, 0]
    np.testing.assert_allclose(lightness, 100 * values, atol=7)


def test_no_colour_is_clipped() -> None:
    colours = heatmap.colors(np.linspace(0, 1, 256))
    assert colours.dtype == np.float32
    assert colours.min() > 0
    assert colours.max() < 1


def test_colours_keep_the_shape_and_clamp_the_values() -> None:
    colours = heatmap.colors(np.array([[-1.0, 0.0], [1.0, 2.0]]))
    assert colours.shape == (2, 2, 3)
    np.testing.assert_array_equal(colours[0, 0], colours[0, 1])
    np.testing.assert_array_equal(colours[1, 0], colours[1, 1])


@pytest.mark.parametrize(
    ("grey_levels", "end"),
    [(0.03, 0.05), (0.9, 1), (1.0, 1), (1.1, 2), (3, 5), (5.0, 5), (7, 10), (12, 20), (127, 200)],
)
def test_the_scale_ends_at_a_round_number_of_grey_levels(grey_levels: float, end: float) -> None:
    l_std_map = np.full((20, 20), grey_levels / 255)
    assert heatmap.nice_maximum(l_std_map) * 255 == pytest.approx(end)


def test_the_scale_of_a_map_of_zeros_is_one_grey_level() -> None:
    assert heatmap.nice_maximum(np.zeros((8, 8))) * 255 == pytest.approx(1)


def test_a_few_outliers_do_not_stretch_the_scale() -> None:
    l_std_map = np.full((100, 100), 3 / 255)
    l_std_map[0, :20] = 0.4
    assert heatmap.nice_maximum(l_std_map) * 255 == pytest.approx(5)


def test_zero_is_dark_and_the_maximum_bright() -> None:
    coloured = heatmap.heatmap(np.array([[0.0, 0.1], [0.2, 0.1]]), maximum=0.2)
    assert coloured.shape == (2, 2, 3)
    assert coloured.dtype == np.float32
    assert coloured[0, 0].mean() < coloured[0, 1].mean() < coloured[1, 0].mean()


def test_a_map_of_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match=r"must be \[H,W\]"):
        heatmap.heatmap(np.zeros((4, 4, 3)), 1.0)


def test_a_scale_without_an_end_is_refused() -> None:
    with pytest.raises(ValueError, match="above 0"):
        heatmap.heatmap(np.zeros((4, 4)), 0.0)


@pytest.mark.parametrize("shape", [(64, 64), (64, 500), (500, 64), (300, 400), (2000, 1500)])
def test_the_scale_stands_below_the_map_and_fits(shape: tuple[int, int]) -> None:
    coloured = heatmap.with_color_bar(np.full(shape, 2.5 / 255), maximum=5 / 255)
    height, width, _ = coloured.shape
    assert coloured.dtype == np.float32
    assert width >= max(shape[1], 240)
    assert height > shape[0]
    assert coloured.min() >= 0
    assert coloured.max() <= 1
    # The colour bar runs from the darkest to the brightest colour, below the map.
    strip = coloured[-(height - shape[0]) :].mean(2)
    assert strip.min() < 0.1
    assert strip.max() > 0.9


def test_a_large_map_is_shown_as_it_is() -> None:
    l_std_map = np.random.default_rng(0).random((300, 400)) / 100
    coloured = heatmap.with_color_bar(l_std_map, 0.01)
    np.testing.assert_array_equal(coloured[:300], heatmap.heatmap(l_std_map, 0.01))


def test_an_overlay_mixes_the_grey_picture_and_the_map(photograph: np.ndarray) -> None:
    l_std_map = np.zeros(photograph.shape[:2])
    l_std_map[:, 50:] = 0.1
    mixed = heatmap.overlay(photograph, l_std_map, 0.1)
    assert mixed.shape == photograph.shape
    assert mixed.dtype == np.float32
    assert mixed[:, 50:].mean() > mixed[:, :50].mean()
    grey = (mixed - heatmap.OPACITY * heatmap.heatmap(l_std_map, 0.1)) / (1 - heatmap.OPACITY)
    np.testing.assert_allclose(grey, rgb2gray(photograph)[..., None].repeat(3, 2), atol=1e-5)


def test_an_overlay_of_another_size_is_refused(photograph: np.ndarray) -> None:
    with pytest.raises(ValueError, match="the map must be"):
        heatmap.overlay(photograph, np.zeros((5, 5)), 0.1)
