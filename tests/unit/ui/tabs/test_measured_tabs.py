"""What cannot be measured is refused before the model works."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from ccsr.config import SamplingConfig
from ccsr.images.picture import PictureError
from ccsr.ui.sessions import open_picture
from ccsr.ui.tab_run import Job
from ccsr.ui.tabs.seeds import run_seeds
from ccsr.ui.tabs.tradeoff import sweep_settings
from ccsr.ui.tabs.trajectory import decode_estimates
from ccsr.ui.tabs.variants import compare_variants
from tests.fakes import FakeEngine

CONFIG = SamplingConfig(scale=1.0)


@pytest.mark.parametrize(
    ("work", "query"),
    [
        (run_seeds, (CONFIG, [0, 1])),
        (sweep_settings, ([CONFIG], [0, 1])),
        (decode_estimates, (CONFIG, 0)),
        (compare_variants, ([CONFIG], [0, 1])),
    ],
)
def test_results_too_small_to_measure_cost_no_network_evaluation(
    work: Callable[[Job[Any, Any]], Iterator[Any]],
    query: Any,  # noqa: ANN401
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    path, engine = tmp_path / "small.png", FakeEngine()
    Image.new("RGB", (39, 60)).save(path)
    job = Job(engine, open_picture(engine, str(path)), query, str(path))
    with pytest.raises(PictureError, match="at least 40 pixels a side"):
        next(iter(work(job)))
    assert engine.evaluations == 0
