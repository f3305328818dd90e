"""Scoring of the tabs within the memory that a run may take."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ccsr.config import SamplingConfig
from ccsr.inference.memory import OutOfMemoryError
from ccsr.ui.sessions import open_picture
from ccsr.ui.tab_run import Job
from ccsr.ui.tabs.seeds import run_seeds
from ccsr.ui.tabs.tradeoff import sweep_settings
from ccsr.ui.tabs.trajectory import decode_estimates
from ccsr.ui.tabs.variants import compare_variants
from tests.fakes import FakeEngine

CONFIG = SamplingConfig()
RUNS: dict[Callable[..., Iterator[Any]], tuple[Any, Any]] = {
    run_seeds: (CONFIG, [0, 1]),
    sweep_settings: ([CONFIG], range(2)),
    decode_estimates: (CONFIG, 0),
    compare_variants: ([CONFIG], range(2)),
}
"""The run of a tab -> its query."""


@pytest.mark.parametrize("run", RUNS)
def test_scoring_beyond_the_memory_of_a_run_is_refused_before_the_work(
    run: Callable[..., Iterator[Any]],
    picture_file: Path,
    reference_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    engine = FakeEngine(max_memory=0.001)
    job = Job(engine, open_picture(engine, str(picture_file)), RUNS[run], str(reference_file))
    with pytest.raises(OutOfMemoryError, match="scoring 240x160 pixels by psnr, ssim, lpips"):
        next(run(job))
    assert engine.evaluations == 0
