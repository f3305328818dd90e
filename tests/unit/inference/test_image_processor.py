import numpy as np
import pytest
import torch
from PIL import Image

from ccsr.images.picture import Picture
from ccsr.inference.image_processor import to_images, to_picture

LEVELS = np.random.default_rng(0).integers(0, 256, (20, 24, 3), dtype=np.uint8)
UNIT = LEVELS.astype(np.float32) / 255
CHANNELS_FIRST = torch.from_numpy(UNIT).movedim(-1, 0)


@pytest.mark.parametrize(
    "image",
    [
        Image.fromarray(LEVELS),
        LEVELS,
        UNIT,
        CHANNELS_FIRST,
        CHANNELS_FIRST[None],
        CHANNELS_FIRST.double(),
        Picture(UNIT),
    ],
    ids=["pillow", "bytes", "floats", "tensor", "batch of one", "doubles", "picture"],
)
def test_images_of_every_kind_are_the_same_picture(image: object) -> None:
    np.testing.assert_allclose(to_picture(image).rgb, UNIT, atol=1e-6)


def test_pillow_images_of_other_modes_are_read() -> None:
    image = Image.fromarray(LEVELS)
    grey = to_picture(image.convert("L")).rgb
    np.testing.assert_array_equal(grey[..., 0], grey[..., 2])
    alpha = np.full((20, 24), 128, np.uint8)
    transparent = image.copy()
    transparent.putalpha(Image.fromarray(alpha))
    found = to_picture(transparent)
    assert found.alpha is not None
    np.testing.assert_allclose(found.alpha, 128 / 255, atol=1e-6)
    deep = Image.fromarray(np.full((20, 24), 257, np.uint16))
    assert to_picture(deep).bits == 16
    np.testing.assert_allclose(to_picture(deep).rgb, 257 / 65535, atol=1e-6)


def test_pillow_image_is_turned_upright() -> None:
    image = Image.fromarray(LEVELS)
    image.getexif()[0x0112] = 6
    assert to_picture(image).size == (24, 20)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        ("photo.jpg", "must be one Pillow image, array, tensor or Picture, got str"),
        ([Image.fromarray(LEVELS)], "call the pipeline once for each image"),
        (torch.zeros(2, 3, 20, 24), r"must be \[3,H,W\] or \[1,3,H,W\]"),
        (torch.zeros(20, 24, 3), r"got \[20, 24, 3\]"),
        (torch.zeros(3, 20, 24, dtype=torch.uint8), "of floats"),
        (2 * CHANNELS_FIRST, r"\[0, ?1\]"),
    ],
)
def test_anything_else_is_refused(image: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        to_picture(image)


def test_results_come_in_the_kind_that_is_asked_for() -> None:
    alpha = np.linspace(0, 1, 20 * 24, dtype=np.float32).reshape(20, 24)
    pictures = [Picture(UNIT), Picture(UNIT / 2, alpha)]
    opaque, transparent = to_images(pictures, "pil")
    assert np.array_equal(np.asarray(opaque), LEVELS)
    assert transparent.mode == "RGBA"
    array = to_images(pictures, "np")
    assert array.shape == (2, 20, 24, 3)
    np.testing.assert_array_equal(array[1], UNIT / 2)
    tensor = to_images(pictures, "pt")
    assert tensor.shape == (2, 3, 20, 24)
    torch.testing.assert_close(tensor[0], CHANNELS_FIRST)
