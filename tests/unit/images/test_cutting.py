"""Pictures made smaller before they are upscaled."""

import numpy as np
import pytest

from ccsr.images.cutting import Box, cut_out, fitting_size, shrunk
from ccsr.images.picture import Picture, Size


@pytest.mark.parametrize(
    ("size", "most"), [(Size(3000, 4000), 2**22), (Size(999, 1001), 77_777), (Size(60, 40), 9999)]
)
def test_fitting_size_is_the_largest_of_the_same_shape(size: Size, most: int) -> None:
    found = fitting_size(size, most)
    assert found.height * found.width <= most
    if size.height * size.width <= most:
        assert found == size
    else:
        assert found.height / found.width == pytest.approx(size.height / size.width, rel=0.01)
        assert (found.height + 1) * (found.width + 1) > most


def test_a_strip_that_would_become_too_narrow_is_to_be_cut() -> None:
    with pytest.raises(ValueError, match="cut out a part"):
        fitting_size(Size(20, 20_000), 1000)


def picture() -> Picture:
    rgb = np.random.default_rng(0).random((40, 60, 3), np.float32)
    return Picture(rgb, np.linspace(0.5, 1, 2400, dtype=np.float32).reshape(40, 60), bits=16)


def test_part_is_that_of_the_box() -> None:
    whole = picture()
    part = cut_out(whole, Box(left=10, top=5, width=30, height=20))
    np.testing.assert_array_equal(part.rgb, whole.rgb[5:25, 10:40])
    assert part.alpha is not None
    assert whole.alpha is not None
    np.testing.assert_array_equal(part.alpha, whole.alpha[5:25, 10:40])
    assert part.bits == 16


@pytest.mark.parametrize(
    "box", [Box(-1, 0, 20, 20), Box(50, 0, 20, 20), Box(0, 30, 20, 20), Box(0, 0, 60, 9)]
)
def test_part_outside_or_too_small_is_refused(box: Box) -> None:
    with pytest.raises(ValueError, match="the part must"):
        cut_out(picture(), box)


def test_shrunk_picture_keeps_alpha_and_bits() -> None:
    small = shrunk(picture(), Size(20, 30))
    assert small.size == Size(20, 30)
    assert small.bits == 16
    assert small.alpha is not None
    assert small.alpha.mean() == pytest.approx(0.75, abs=0.01)
