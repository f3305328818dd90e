from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data

from ccsr.config import DegradationModel
from ccsr.degradation.__main__ import main
from ccsr.degradation.draws import generator_for
from ccsr.degradation.manifest import MANIFEST, ManifestEntry
from ccsr.degradation.models import draw
from ccsr.images.tensors import to_array, to_tensor, to_uint8


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "hr" / "more").mkdir(parents=True)
    for name, pixels in (
        ("b.png", data.coffee()[:66, :101]),
        ("a.png", data.chelsea()[:64, :64]),
        ("more/c.png", data.coffee()[60:124, :64]),
    ):
        Image.fromarray(pixels).save(tmp_path / "hr" / name)
    return tmp_path / "hr"


def entries(output: Path) -> list[ManifestEntry]:
    lines = (output / MANIFEST).read_text().splitlines()
    return [ManifestEntry.model_validate_json(line) for line in lines]


@pytest.mark.parametrize("model", ["real-esrgan", "bsrgan"])
def test_manifest_is_enough_to_make_the_test_set_again(
    folder: Path, tmp_path: Path, model: DegradationModel
) -> None:
    output = tmp_path / "lr"
    assert main([str(folder), str(output), "--degradation", model, "--seed", "5"]) == 0
    found = entries(output)
    assert [(e.index, e.seed, e.hr, e.hr_size) for e in found] == [
        (0, 5, "a.png", (64, 64)),
        (1, 5, "b.png", (64, 100)),
        (2, 5, "more/c.png", (64, 64)),
    ]
    for entry in found:
        height, width = entry.hr_size
        hr = np.asarray(Image.open(folder / entry.hr))[:height, :width] / 255
        drawn = draw(model, 4, generator_for(5, entry.index))
        assert entry.degradation == drawn
        again = to_uint8(to_array(entry.degradation.apply(to_tensor(hr))))
        np.testing.assert_array_equal(again, np.asarray(Image.open(output / entry.lr)))


def test_test_set_depends_on_its_seed_alone(folder: Path, tmp_path: Path) -> None:
    for name, seed in (("one", "0"), ("again", "0"), ("other", "1")):
        assert main([str(folder), str(tmp_path / name), "--seed", seed]) == 0
    one, again, other = ((tmp_path / n / MANIFEST).read_text() for n in ("one", "again", "other"))
    assert one == again
    assert one != other


def test_bad_inputs_are_refused(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "lr"
    assert main([str(tmp_path / "nothing"), str(output)]) == 2
    assert "there is no folder" in capsys.readouterr().err
    assert main([str(folder), str(output), "--degradation", "bicubic"]) == 0
    capsys.readouterr()
    assert main([str(folder), str(output)]) == 2
    assert "is not empty; give a new folder" in capsys.readouterr().err
    Image.new("RGB", (9, 9)).save(folder / "a.jpg")
    assert main([str(folder), str(tmp_path / "two")]) == 2
    assert "more than one picture in" in capsys.readouterr().err
    (folder / "a.jpg").unlink()
    Image.new("RGB", (3, 9)).save(folder / "d.png")
    assert main([str(folder), str(tmp_path / "three")]) == 2
    assert "d.png is 3x9 pixels" in capsys.readouterr().err
