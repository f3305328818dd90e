import csv
import json
from pathlib import Path

import numpy as np
import pytest

from ccsr.config import SamplingConfig
from ccsr.diffusion.scheduler import NonUniformScheduler
from ccsr.diffusion.timesteps import LoopStart, timestep_plan
from ccsr.evaluation.tradeoff import PointResult, grid, num_evaluations, sweep, write_points
from ccsr.images.picture import picture_from_array
from ccsr.inference.events import Decoded, Progress
from ccsr.inference.session import PictureSession
from tests.tiny import tiny_pipeline

BASE = SamplingConfig(num_steps=9)
PICTURE = picture_from_array(np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8))


def brightness(rgb: np.ndarray) -> dict[str, float]:
    return {"brightness": float(rgb.mean())}


def swept(
    session: PictureSession, configs: list[SamplingConfig], seeds: tuple[int, ...]
) -> tuple[list[Progress], list[PointResult]]:
    events = list(sweep(session, configs, seeds, brightness, "paper"))
    return (
        [event for event in events if isinstance(event, Progress)],
        [event for event in events if isinstance(event, PointResult)],
    )


def test_grid_leaves_out_what_is_in_the_wrong_order() -> None:
    configs = grid(BASE, [0.5, 0.8], [0.3, 0.7, 0.5])
    pairs = [(c.t_max, c.t_min) for c in configs]
    assert pairs == [(0.5, 0.3), (0.5, 0.5), (0.8, 0.3), (0.8, 0.7), (0.8, 0.5)]
    assert {c.num_steps for c in configs} == {9}


def test_fraction_out_of_range_is_refused_though_others_are_in_order() -> None:
    with pytest.raises(ValueError, match=r"t_min must be .*33.33"):
        grid(BASE, [0.8], [0.3, 33.33])


def test_more_settings_than_memory_is_meant_for_are_refused() -> None:
    fractions = [i / 10 for i in range(10)]
    assert len(grid(BASE, [1.0], fractions)) == 10
    with pytest.raises(ValueError, match="at most 36 settings are compared at once, got 55"):
        grid(BASE, fractions, fractions)


def test_a_point_is_told_as_soon_as_its_last_seed_is_decoded() -> None:
    pipeline = tiny_pipeline()
    session, configs = PictureSession(lambda _: pipeline, PICTURE), grid(BASE, [0.6], [0.5, 0.2])
    events = sweep(session, configs, (0, 1), brightness, "paper")
    order = [type(e) for e in events if not isinstance(e, Progress)]
    assert order == [Decoded, Decoded, Decoded, PointResult, Decoded, PointResult]


def test_points_have_the_g_std_of_their_scores() -> None:
    pipeline = tiny_pipeline()
    session, configs = PictureSession(lambda _: pipeline, PICTURE), grid(BASE, [0.6], [0.5])
    _, (several,) = swept(session, configs, (0, 1))
    assert several.point.g_std["brightness"] > 0
    assert several.point.row()["brightness_g_std"] == several.point.g_std["brightness"]
    _, (single,) = swept(session, configs, (0,))
    assert single.point.g_std == {}


def test_every_decoding_is_an_event_at_which_a_sweep_can_be_stopped() -> None:
    pipeline = tiny_pipeline()
    session, configs = PictureSession(lambda _: pipeline, PICTURE), grid(BASE, [0.6], [0.5, 0.2])
    for _ in range(2):
        events = sweep(session, configs, (0, 1), brightness, "paper")
        decoded = [(e.number, e.total) for e in events if isinstance(e, Decoded)]
        assert decoded == [(1, 4), (2, 4), (3, 4), (4, 4)]


@pytest.mark.parametrize(
    ("variant", "t_max", "message"), [("ccsr", 0.2, "lower t_min"), ("v1", 0.8, "no t_max")]
)
def test_grid_without_settings_is_refused(variant: str, t_max: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        grid(SamplingConfig(variant=variant), [t_max], [0.3])  # type: ignore[arg-type]


def test_sweep_costs_its_longest_chains_and_one_extraction_a_seed() -> None:
    configs = grid(BASE, [0.9, 0.6], [0.5, 0.2, 0.6])
    pipeline = tiny_pipeline()
    session = PictureSession(lambda _: pipeline, PICTURE)
    progress, points = swept(session, configs, (0, 1))
    longest = sum(len(timestep_plan(SamplingConfig(num_steps=9, t_max=high, t_min=0.2)).indices)
                  for high in (0.9, 0.6))  # fmt: skip
    assert len(progress) == 2 * (1 + longest) == num_evaluations(configs, 2, "paper")
    assert [event.evaluation for event in progress] == list(range(1, len(progress) + 1))
    assert {event.total for event in progress} == {len(progress)}
    assert [result.point.config for result in points] == configs
    again, _ = swept(session, configs, (0, 1))
    assert again == []


@pytest.mark.parametrize("loop_start", ["paper", "official"])
def test_evaluations_are_counted_from_where_the_model_starts(loop_start: LoopStart) -> None:
    """At S = 10 and both t_max the authors' code starts one grid point lower."""
    configs = grid(SamplingConfig(num_steps=10), [0.52, 0.84], [0.2, 0.4])
    pipeline = tiny_pipeline()
    pipeline.scheduler = NonUniformScheduler.from_config(
        pipeline.scheduler.config, loop_start=loop_start
    )
    session = PictureSession(lambda _: pipeline, PICTURE)
    events = list(sweep(session, configs, (0, 1), brightness, loop_start))
    progress = [event for event in events if isinstance(event, Progress)]
    assert len(progress) == num_evaluations(configs, 2, loop_start)
    assert {event.total for event in progress} == {len(progress)}
    counts = [e.point.network_evaluations for e in events if isinstance(e, PointResult)]
    assert counts == [timestep_plan(config, loop_start).num_evaluations for config in configs]


def test_points_are_those_of_separate_runs() -> None:
    pipeline = tiny_pipeline()
    configs = grid(BASE, [0.9, 0.6], [0.2, 0.5])
    _, points = swept(PictureSession(lambda _: pipeline, PICTURE), configs, (3, 4))
    for config, done in zip(configs, points, strict=True):
        point = done.point
        results = [picture.rgb for picture in pipeline.upscale(PICTURE, config, (3, 4))]
        np.testing.assert_allclose(done.picture.rgb, results[0], atol=1 / 255)
        expected = np.mean([rgb.mean() for rgb in results])
        assert point.scores["brightness"] == pytest.approx(expected, abs=1e-3)
        assert point.l_std is not None
        assert point.l_std > 0


def test_files_hold_every_point(tmp_path: Path) -> None:
    pipeline = tiny_pipeline()
    _, points = swept(
        PictureSession(lambda _: pipeline, PICTURE), grid(BASE, [0.6], [0.5, 0.2]), (7,)
    )
    table, tree = write_points(tmp_path, [done.point for done in points])
    with table.open() as file:
        rows = list(csv.DictReader(file))
    record = json.loads(tree.read_text())
    assert [float(row["t_min"]) for row in rows] == [0.5, 0.2]
    assert [row["l_std"] for row in rows] == ["", ""]
    expected = [str(timestep_plan(done.point.config).num_evaluations) for done in points]
    assert [row["network_evaluations"] for row in rows] == expected
    assert record["seeds"] == [7]
    assert [row["brightness"] for row in record["points"]] == [
        done.point.scores["brightness"] for done in points
    ]
