"""The ZIP of a tab has all of its pictures, and the numbers."""

import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ccsr.config import SamplingConfig
from ccsr.ui.sessions import open_picture
from ccsr.ui.tab_run import Job
from ccsr.ui.tabs import seeds, tradeoff, trajectory, variants
from tests.fakes import FakeEngine

CONFIG = SamplingConfig(t_max=0.5, t_min=0.4)
CCSR, V2 = CONFIG, CONFIG.replace(variant="v2")


@pytest.mark.parametrize(
    ("work", "finish", "query", "names"),
    [
        (seeds.run_seeds, seeds.packed, (CONFIG, [0, 1]), {"seed-0.png", "seed-1.png", "mean.png"}),
        (
            tradeoff.sweep_settings,
            tradeoff.with_files,
            ([CONFIG], [0, 1]),
            {"t_max-0.5_t_min-0.4_seed-0.png", "bicubic.png", "tradeoff.csv", "tradeoff.png"},
        ),
        (
            trajectory.decode_estimates,
            trajectory.packed,
            (CONFIG, 0),
            {"t-999.png", "trajectory.csv"},
        ),
        (
            variants.compare_variants,
            variants.packed,
            ([CCSR, V2], [0, 1]),
            {"ccsr-seed-0.png", "ccsr-seed-1.png", "v2-seed-1.png", "variants.csv"},
        ),
    ],
)
def test_all_pictures_and_numbers_are_in_the_archive(
    work: Callable[[Job[Any, Any]], Iterator[Any]],
    finish: Callable[[Any], Any],
    query: Any,  # noqa: ANN401
    names: set[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    picture_file: Path,
) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    engine = FakeEngine()
    *_, made = work(Job(engine, open_picture(engine, str(picture_file)), query))
    finish(made)
    (path,) = made.folder.glob("cat_*.zip")
    with zipfile.ZipFile(path) as archive:
        packed = archive.namelist()
        numbers = next(n for n in packed if n.endswith((".csv", ".json")))
        assert archive.read(numbers)
    assert names <= set(packed)
    assert len(packed) == len(set(packed))
