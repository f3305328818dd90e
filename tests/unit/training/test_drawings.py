from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ccsr.degradation.draws import generator_for
from training.drawings import (
    KINDS,
    SIDE,
    drawing,
    main,
    random_colour,
    random_text,
    two_colours,
    write_drawings,
)


@pytest.fixture(scope="module")
def drawings() -> list[np.ndarray]:
    return [np.asarray(drawing(3, index, side=128)).astype(int) for index in range(60)]


def colours(picture: np.ndarray) -> int:
    return len(np.unique(picture.reshape(-1, 3), axis=0))


def test_drawing_is_a_function_of_seed_and_index() -> None:
    first, again, other_seed, other_index = (
        np.asarray(drawing(*key, side=64)) for key in ((1, 2), (1, 2), (2, 2), (1, 3))
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other_seed)
    assert not np.array_equal(first, other_index)


def test_drawings_are_of_all_kinds_and_hold_something(
    drawings: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert sum(colours(picture) > 1 for picture in drawings) >= 55
    asked: set[str] = set()
    recorded = tuple(
        lambda draw, side, generator, kind=kind: asked.add(kind.__name__) for kind in KINDS
    )
    monkeypatch.setattr("training.drawings.KINDS", recorded)
    for index in range(60):
        drawing(3, index, side=32)
    assert asked == {kind.__name__ for kind in KINDS}


def test_some_are_pure_black_on_white_and_edges_are_smooth(drawings: list[np.ndarray]) -> None:
    grey = [picture for picture in drawings if np.ptp(picture, axis=2).max() == 0]
    two = [p for p in grey if np.mean(p == 255) > 0.5 and np.mean(p == 0) > 0.01]
    assert two
    between = np.mean([np.mean((p > 0) & (p < 255)) for p in two])
    assert 0.01 < between < 0.3


def test_half_of_the_pairs_of_colours_are_black_and_white() -> None:
    pairs = [two_colours(generator_for(i)) for i in range(400)]
    white_paper = sum(pair == ((0, 0, 0), (255, 255, 255)) for pair in pairs)
    black_paper = sum(pair == ((255, 255, 255), (0, 0, 0)) for pair in pairs)
    assert 130 < white_paper < 190
    assert 20 < black_paper < 65


def test_a_fifth_of_the_colours_is_grey() -> None:
    drawn = [random_colour(generator_for(i)) for i in range(400)]
    assert 50 < sum(len(set(colour)) == 1 for colour in drawn) < 110
    assert (255, 255, 255) in drawn
    assert (0, 0, 0) in drawn


def test_text_has_the_length_asked_for() -> None:
    text = random_text(generator_for(1), 500)
    assert len(text) == 500
    assert len(set(text)) > 40
    assert len(text.split()) > 20


def test_command_writes_a_new_folder_and_spares_an_old_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "drawn"
    assert main([str(folder), "--count", "2", "--seed", "5"]) == 0
    first, second = sorted(folder.iterdir())
    assert capsys.readouterr().out.split() == [str(first), str(second)]
    with Image.open(second) as image:
        assert image.size == (SIDE, SIDE)
        assert np.array_equal(np.asarray(image), np.asarray(drawing(5, 1)))
    assert main([str(folder)]) == 2
    assert f"{folder} is there and not empty; give a new folder" in capsys.readouterr().err


def test_paths_come_as_they_are_written(tmp_path: Path) -> None:
    written = write_drawings(tmp_path / "a", 3, 0)
    assert next(written).exists()
    assert len(list((tmp_path / "a").iterdir())) == 1
