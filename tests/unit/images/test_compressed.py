"""Pictures written as JPEG and WEBP."""

from pathlib import Path

import numpy as np
import pytest

from ccsr.images.picture import Picture
from ccsr.images.reading import load_picture, read_texts
from ccsr.images.writing import save_compressed

COMMENT = '{"seed": 3}'


@pytest.mark.parametrize("name", ["a.jpg", "a.webp"])
def test_comment_and_pixels_come_back(tmp_path: Path, name: str, photograph: np.ndarray) -> None:
    path = tmp_path / name
    save_compressed(path, Picture(photograph), COMMENT, 95)
    assert read_texts(path)["UserComment"] == COMMENT
    assert np.abs(load_picture(path).rgb - photograph).mean() < 0.03
    large = path.stat().st_size
    save_compressed(path, Picture(photograph), COMMENT, 40)
    assert path.stat().st_size < 0.7 * large


def test_transparency_stays_in_a_webp_and_is_white_in_a_jpeg(tmp_path: Path) -> None:
    picture = Picture(np.zeros((32, 32, 3), np.float32), np.zeros((32, 32), np.float32))
    save_compressed(tmp_path / "a.webp", picture, COMMENT, 90)
    save_compressed(tmp_path / "a.jpg", picture, COMMENT, 90)
    found = load_picture(tmp_path / "a.webp").alpha
    assert found is not None
    assert found.max() < 0.01
    assert load_picture(tmp_path / "a.jpg").rgb.min() > 0.98


def test_another_suffix_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"end it in one of \.jpg, \.webp"):
        save_compressed(tmp_path / "a.png", Picture(np.zeros((16, 16, 3), np.float32)), "", 90)
