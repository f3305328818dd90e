"""The report as a file: complete, small, and nothing in it is fetched."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from ccsr.evaluation.comparison.figures import drawings, plane, scatter, sparsification, styles
from ccsr.evaluation.comparison.html_report import MAX_PICTURE_BYTES, html_report
from ccsr.evaluation.comparison.jobs import Work, run
from ccsr.evaluation.comparison.manifest import Manifest, Progress, read_rows
from ccsr.evaluation.comparison.methods import Bicubic, Method
from ccsr.evaluation.comparison.results import Results, tables
from ccsr.evaluation.comparison.scores import make_scorer
from ccsr.evaluation.comparison.summary import MethodSummary, summarise
from ccsr.evaluation.comparison.test_set import Dataset
from tests.fakes import FakeEngine
from tests.unit.evaluation.comparison.pictures import Noisy, ours, write_hr


def results(folder: Path) -> Results:
    """Of a comparison of five methods on three pictures."""
    hr = write_hr(folder / "hr", 3)
    methods: list[Method] = [
        Bicubic(4),
        Noisy("<Noisy>"),
        *ours(FakeEngine(), presets=("ccsr", "a1", "a3")),
    ]
    scorer = make_scorer(("psnr", "lpips"), "paper", torch.device("cpu"))
    families = [(methods[0],), (methods[1],), methods[2:]]
    work = Work(families, (0, 1), scorer, folder, num_illustrated=2, num_trajectories=2)
    test_set = Dataset("set", hr, "bicubic", 4)
    manifest = Manifest(folder, 0, {})
    assert all(run(work, test_set.check(), manifest, Progress(iter(()))))
    manifest.close()
    summary = summarise(lambda: read_rows(folder))
    seconds = {method.name: 1.0 + number for number, method in enumerate(methods)}
    return Results(
        summary, methods, [test_set], scorer, "a machine", seconds, {}, {"set": "DIV2K"}, 4
    )


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("comparison")
    found = results(folder)
    return html_report(found, tables(found), folder)


def test_report_has_tables_figures_and_pictures(report: str) -> None:
    for title in ("Table 2. Seconds", "Table 3. set", "Table 5. set", "set: what the seeds"):
        assert f"<h3>{title}" in report
    assert report.count("<svg") == 5
    assert report.count('<tr class="published">') == 4 + 6
    # Of two pictures HR, LR, one of Bicubic, and best, worst and map of four methods.
    assert report.count("data:image/jpeg;base64,") == 2 * (2 + 1 + 4 * 3)


def test_names_are_no_markup(report: str) -> None:
    assert "&lt;Noisy&gt;" in report
    assert "<Noisy>" not in report


def test_nothing_is_fetched(report: str) -> None:
    assert not re.search(r'(src|href)="(?!data:|#)', report)
    assert "@import" not in report
    assert "url(" not in re.sub(r"url\(#\w+\)", "", report)


def test_report_of_a_hundred_pictures_stays_small(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Small pictures of noise, larger than any photograph; each is the extreme of a method."""
    found = results(tmp_path)
    summaries = found.summary.methods
    row = tmp_path / "illustrations" / "set" / "picture0"
    rng = np.random.default_rng(0)
    for path in row.glob("*.jpg"):
        path.write_bytes(rng.bytes(30_000))
    for number in range(100):
        folder = row.with_name(f"other{number}")
        folder.symlink_to(row)
        for summary in summaries.values():
            summary.points[folder.name] = {"psnr": 20.0 + number, "lpips": 0.1, "l_std": 0.01}
    chosen = {f"other{number}": ("it is one of many",) for number in range(100)}
    monkeypatch.setattr("ccsr.evaluation.comparison.html_report._chosen", lambda *_: chosen)
    text = html_report(found, tables(found), tmp_path)
    assert 0.8 * MAX_PICTURE_BYTES < len(text) < 10_000_000


def test_method_has_one_style_in_all_figures() -> None:
    drawn = styles([str(number) for number in range(25)])
    assert len({(style.color, style.marker) for style in drawn.values()}) == 25


def summary(psnr: float, lpips: float) -> MethodSummary:
    made = MethodSummary()
    deviation = {
        "g_std": {"psnr": 0.5, "lpips": 0.02}, "l_std": 0.01,
        "uncertainty": {"ause": 0.1, "curve": [1.0] * 20, "oracle": [0.5] * 20},
    }  # fmt: skip
    for name in ("a", "b"):
        scores = {"psnr": psnr, "lpips": lpips}
        made.add({"picture": name, "seeds": [0, 1], "scores": scores, **deviation})
    return made


def test_plane_has_a_point_with_error_bars_for_each_method() -> None:
    summaries = {"One": summary(25, 0.3), "Two": summary(26, 0.2)}
    (axes,) = plane(summaries, ["One", "Two"], styles(list(summaries))).axes
    line, *points = axes.lines
    np.testing.assert_array_equal(line.get_xydata(), [[25, 0.3], [26, 0.2]])
    assert [text.get_text() for text in axes.texts] == ["One", "Two"]
    segments = [c.get_segments()[0] for container in axes.containers for c in container[2]]
    np.testing.assert_allclose(segments[0], [[24.5, 0.3], [25.5, 0.3]])
    np.testing.assert_allclose(segments[1], [[25, 0.28], [25, 0.32]])
    assert points


def test_scatter_has_a_point_for_each_picture() -> None:
    (axes,) = scatter({"One": summary(25, 0.3)}, styles(["One"])).axes
    assert len(axes.collections[0].get_offsets()) == 2


def test_method_that_returns_the_true_pictures_is_left_out_of_the_plane() -> None:
    summaries = {"One": summary(25, 0.3), "Two": summary(26, 0.2), "HR": summary(np.inf, 0.0)}
    first, *_ = drawings(summaries, [], {})
    assert "Two" in first.svg
    assert "HR" not in first.svg


def test_sparsification_has_a_curve_and_its_oracle() -> None:
    (axes,) = sparsification({"One": summary(25, 0.3)}, styles(["One"])).axes
    curve, oracle = (np.asarray(line.get_ydata()) for line in axes.lines)
    np.testing.assert_allclose(curve, 1)
    np.testing.assert_allclose(oracle, 0.5)
