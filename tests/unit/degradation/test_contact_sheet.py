from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFont

from ccsr.config import DegradationModel
from ccsr.degradation.contact_sheet import CELL_PX, FONT_PX, LINES, draws, main
from ccsr.degradation.draws import generator_for
from ccsr.degradation.models import draw


@pytest.mark.parametrize("model", ["real-esrgan", "bsrgan"])
def test_sheet_shows_the_draws_of_a_test_set(model: DegradationModel) -> None:
    shown = draws(model, 4, 3, 60)
    assert shown[0].model == "bicubic"
    assert shown[5] == draw(model, 4, generator_for(3, 4))
    assert max(len(d.operations) for d in shown) < LINES
    for text in (str(op) for d in shown for op in d.operations):
        assert 0 < ImageFont.load_default(size=FONT_PX).getlength(text) < CELL_PX


def test_sheet_holds_one_cell_a_draw(picture_file: Path, tmp_path: Path) -> None:
    path = tmp_path / "sheet.png"
    assert main([str(picture_file), str(path), "--count", "4"]) == 0
    pixels = np.asarray(Image.open(path))
    heights = round(CELL_PX * 40 / 60)
    # Five cells: the first of the second row holds a picture, the second none.
    second_row = pixels[len(pixels) // 2 : len(pixels) // 2 + heights]
    assert second_row[:, :CELL_PX].std() > 10
    assert (second_row[:, CELL_PX + 10 :] == 255).all()
    assert main([str(tmp_path / "nothing.png"), str(path)]) == 2
