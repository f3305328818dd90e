import math
from pathlib import Path

import pytest

from ccsr.config import SamplingConfig
from ccsr.diffusion.timesteps import timestep_plan
from ccsr.evaluation.report import read_settings
from ccsr.ui.sessions import open_picture
from ccsr.ui.tab_run import Job
from ccsr.ui.tabs.trajectory import Trajectory, decode_estimates, marked_timesteps
from tests.fakes import FakeEngine


def test_empty_boxes_have_no_mark() -> None:
    config = SamplingConfig()
    assert marked_timesteps(config, math.nan, 0.2) == {"t_min": 200}
    assert marked_timesteps(config.replace(variant="v1"), 0.5, 0.2) == {}
    assert marked_timesteps(config.replace(t_min=config.t_max), 0.5, 0.2) == {}


def test_a_run_without_refinement_for_the_model_has_no_marks() -> None:
    # One step, from the index of the jump; the authors' code starts one below it.
    config = SamplingConfig(t_max=0.5, t_min=0.49)
    assert timestep_plan(config, "paper").indices
    assert not timestep_plan(config, "official").indices
    assert marked_timesteps(config, 0.5, 0.2, "paper")
    assert marked_timesteps(config, 0.5, 0.2, "official") == {}


def test_estimates_of_a_model_that_starts_lower_carry_its_settings(
    picture_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    engine, config = FakeEngine(loop_start="official"), SamplingConfig(t_max=0.5)
    job = Job(engine, open_picture(engine, str(picture_file)), (config, 0))
    (*_, trajectory) = decode_estimates(job)
    assert isinstance(trajectory, Trajectory)
    assert len(trajectory) == engine.evaluations == 8
    ends = [read_settings(path).config for path in trajectory.pictures]
    assert [timestep_plan(c, "official").num_evaluations for c in ends] == list(range(1, 9))
