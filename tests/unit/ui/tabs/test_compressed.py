"""The download of a result as JPEG or WEBP."""

import itertools
from pathlib import Path

import pytest
from PIL import Image
from skimage import data

from ccsr.ui.tabs.compressed import SUFFIXES, compressed


@pytest.mark.parametrize("kind", SUFFIXES)
def test_the_quality_decides_how_much_is_written(kind: str, tmp_path: Path) -> None:
    result = tmp_path / "cat.png"
    Image.fromarray(data.chelsea()).save(result)
    sizes = [compressed(result, kind, quality).stat().st_size for quality in (30, 60, 90, 100)]
    for smaller, larger in itertools.pairwise(sizes):
        assert smaller < 0.8 * larger
