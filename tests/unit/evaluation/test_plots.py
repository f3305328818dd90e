import dataclasses
import itertools
import re
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from ccsr.config import SamplingConfig
from ccsr.evaluation.heatmap import with_color_bar
from ccsr.evaluation.plots import (
    focusable,
    fraction_at,
    svg,
    timestep_at,
    tradeoff_figure,
    trajectory_figure,
    write_png,
    zoomed_limits,
)
from ccsr.evaluation.tradeoff import Point

PSNR_LPIPS = [{"psnr": 27.0, "lpips": 0.3}, {"psnr": 26.0, "lpips": 0.25}]
CONFIGS = [SamplingConfig(), SamplingConfig(t_max=0.9)]
POINTS = [
    Point(config, 16, (0, 1), scores, 0.01)
    for config, scores in zip(CONFIGS, PSNR_LPIPS, strict=True)
]


def test_every_point_can_be_clicked_and_those_of_the_paper_are_named() -> None:
    text = svg(tradeoff_figure(POINTS), "a plot")
    assert re.findall(r'id="(point-\d+)"', text) == ["point-0", "point-1"]
    assert ">CCSR<" in text
    assert ">0.9, 0.3333<" in text


def drawn(points: list[Point], bicubic: dict[str, float] | None = None) -> Figure:
    figure = tradeoff_figure(points, bicubic)
    figure.draw_without_rendering()
    return figure


def test_up_and_right_is_better_and_the_enlargement_is_a_point() -> None:
    axes = drawn(POINTS, {"psnr": 26.5, "lpips": 0.35}).axes[0]
    better, worse = axes.transData.transform([(27, 0.2), (25, 0.4)])
    assert (better > worse).all()
    assert "turned" in axes.get_ylabel()
    (label,) = (text for text in axes.texts if text.get_text() == "Bicubic")
    assert label.xy == (26.5, 0.35)
    sharpness = Point(SamplingConfig(), 16, (0,), {"consistency": 40.0, "sharpness": 4.0}, None)
    assert not drawn([sharpness]).axes[0].yaxis_inverted()


@pytest.mark.parametrize(
    ("lpips", "is_above"), [(0.9, False), (-0.4, True)], ids=["far below", "far above"]
)
def test_a_far_enlargement_stands_at_the_edge_and_leaves_room_for_the_settings(
    lpips: float, is_above: bool
) -> None:
    axes = drawn(POINTS, {"psnr": 26.5, "lpips": lpips}).axes[0]
    (label,) = (text for text in axes.texts if text.get_text().startswith("Bicubic"))
    assert label.get_text() == f"Bicubic, LPIPS {lpips:g}"
    across, upwards = axes.transAxes.inverted().transform(axes.transData.transform(label.xy))
    assert 0 < across < 1
    assert upwards == pytest.approx(0.95 if is_above else 0.05)
    settings = axes.transAxes.inverted().transform(
        axes.transData.transform([(27, 0.3), (26, 0.25)])
    )
    assert np.ptp(settings[:, 1]) > 0.5


def test_a_single_setting_is_drawn_with_the_enlargement_however_far_that_is() -> None:
    axes = drawn(POINTS[:1], {"psnr": 20.0, "lpips": 0.9}).axes[0]
    (label,) = (text for text in axes.texts if text.get_text() == "Bicubic")
    assert label.xy == (20.0, 0.9)


@pytest.mark.parametrize(
    ("limits", "value", "zoomed"),
    [
        ((1.0, 2.0), 1.5, None),
        ((1.0, 2.0), 4.0, None),
        ((1.0, 2.0), 4.1, (1.0, 2.0)),
        ((2.0, 1.0), -1.1, (2.0, 1.0)),
        ((1.0, 1.001), 11.001, (0.7505, 1.2505)),
        ((1.001, 1.0), 11.001, (1.2505, 0.7505)),
    ],
    ids=["between", "near", "far", "far on a turned axis", "spans little", "turned, spans little"],
)
def test_limits_without_what_is_far(
    limits: tuple[float, float], value: float, zoomed: tuple[float, float] | None
) -> None:
    assert zoomed_limits(limits, value) == (zoomed and pytest.approx(zoomed))


def test_error_bars_are_one_g_std_to_each_side() -> None:
    point = dataclasses.replace(POINTS[0], g_std={"psnr": 0.2, "lpips": 0.01})
    axes = drawn([point]).axes[0]
    ends = [line.get_segments()[0] for line in axes.collections if hasattr(line, "get_segments")]
    across, upwards = (np.ptp(end, axis=0) for end in ends)
    assert across == pytest.approx((0.4, 0))
    assert upwards == pytest.approx((0, 0.02))
    assert not any(hasattr(line, "get_segments") for line in drawn(POINTS).axes[0].collections)


def test_dots_at_the_same_place_are_both_seen_and_can_be_touched() -> None:
    same = [POINTS[0], dataclasses.replace(POINTS[0], config=CONFIGS[1]), POINTS[1]]
    axes = drawn(same).axes[0]
    size = {dot.get_gid(): float(np.sqrt(dot.get_sizes()[0])) for dot in axes.collections}
    assert size["point-1"] < 0.7 * size["point-0"] == 0.7 * size["point-2"]
    # 460 points are drawn as 330 pixels on a phone.
    assert all(size[f"halo-{index}"] * 330 / 460 >= 24 for index in range(3))
    assert [dot.get_gid() for dot in axes.collections if dot.get_gid()] == [
        *(f"halo-{index}" for index in range(3)),
        *(f"point-{index}" for index in range(3)),
    ]


def test_plot_says_what_it_shows_and_takes_the_colour_of_the_text() -> None:
    text = svg(tradeoff_figure(POINTS), "trade-off of two settings")
    assert "<title>trade-off of two settings</title>" in text
    assert "currentColor" in text
    assert "#010203" not in text


def test_keyboard_reaches_what_is_made_reachable() -> None:
    drawing = focusable(svg(tradeoff_figure(POINTS), "alt"), "point-1", "button", 'A "1"')
    assert drawing.count("tabindex") == 1
    assert '<g id="point-1" tabindex="0" role="button" aria-label="A &quot;1&quot;">' in drawing


def test_without_reference_the_axes_are_those_that_need_none() -> None:
    point = Point(SamplingConfig(), 16, (0,), {"consistency": 40.0, "niqe": 4.0}, None)
    text = svg(tradeoff_figure([point]), "a plot")
    assert "PSNR to the input" in text
    assert "NIQE" in text
    assert "L-STD" not in text


def test_trajectory_marks_the_chosen_fractions() -> None:
    figure = trajectory_figure([999, 658, 341], {"PSNR": [25, 26, 27]}, {"t_max": 658})
    assert ">t_max<" in svg(figure, "a plot")
    axes = figure.axes[0]
    assert 'id="mark-t_max-0"' in svg(figure, "a plot")
    assert axes.get_xlim()[0] > axes.get_xlim()[1]


def test_file_is_a_picture_on_white(tmp_path: Path) -> None:
    image = Image.open(write_png(tradeoff_figure(POINTS), tmp_path / "plot.png")).convert("RGB")
    assert image.getpixel((2, 2)) == (255, 255, 255)
    assert image.width > 900


def test_place_in_a_trajectory_is_its_timestep() -> None:
    figure = trajectory_figure([999, 658, 341], {"PSNR": [25, 26, 27]}, {"t_max": 658})
    for timestep in (999, 658, 0):
        place = fraction_at(figure, timestep)
        assert timestep_at(figure, place) == pytest.approx(timestep)
    figure.draw_without_rendering()
    x, _ = figure.axes[0].transData.transform((500, 26))
    assert abs(timestep_at(figure, x / figure.bbox.width) - 500) < 1e-6


def test_labels_of_points_that_lie_close_do_not_cover_each_other() -> None:
    configs = [SamplingConfig(t_max=0.9, t_min=t) for t in (0.1, 0.2, 0.3, 0.4)]
    points = [
        Point(config, 16, (0, 1), {"psnr": 25 + 0.02 * i, "lpips": 0.3 + 0.001 * i}, 0.01)
        for i, config in enumerate(configs)
    ]
    far = Point(SamplingConfig(), 16, (0, 1), {"psnr": 27.0, "lpips": 0.4}, 0.01)
    figure = tradeoff_figure([*points, far])
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in figure.axes[0].texts]
    assert len(boxes) == 5
    assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))
    assert all(figure.bbox.x0 < box.x0 and box.x1 < figure.bbox.x1 for box in boxes)


def test_labels_touch_neither_each_other_nor_a_dot() -> None:
    """With six settings at nearly one place, as A3 and A4 are."""
    points = [
        Point(CONFIGS[1].replace(t_max=0.9 - 0.01 * i), 16, (0, 1), scores, 0.01)
        for i, scores in enumerate(
            {"psnr": 25 + 0.03 * (i % 3), "lpips": 0.3 + 0.002 * (i // 3)} for i in range(6)
        )
    ]
    far = Point(SamplingConfig(), 16, (0, 1), {"psnr": 27.0, "lpips": 0.4}, 0.01)
    figure = drawn([*points, far])
    boxes = [text.get_window_extent() for text in figure.axes[0].texts]
    dots = [figure.axes[0].transData.transform(text.xy) for text in figure.axes[0].texts]
    assert not any(a.padded(1).overlaps(b) for a, b in itertools.combinations(boxes, 2))
    assert all(np.hypot(*(d - np.clip(d, b.min, b.max))) >= 4 for d in dots for b in boxes)


def drawings() -> list[str]:
    """Everything that a page draws."""
    trajectory = trajectory_figure([999, 658, 341], {"PSNR": [25, 26, 27]}, {"t_max": 658})
    bar = with_color_bar(np.full((64, 64), 0.01))
    return [svg(tradeoff_figure(POINTS), "a"), svg(trajectory, "b"), str(bar.tobytes())]


def settings() -> dict[str, object]:
    return {name: matplotlib.rcParams[name] for name in matplotlib.rcParams if name != "backend"}


def test_threads_draw_the_same_and_leave_the_settings_of_matplotlib_alone() -> None:
    alone, before = drawings(), settings()
    with ThreadPoolExecutor(2) as threads:
        futures = [threads.submit(drawings) for _ in range(6)]
        while wait(futures, timeout=0.001).not_done:
            assert settings() == before
    assert all(future.result() == alone for future in futures)


def test_text_is_text_whatever_the_settings_of_matplotlib() -> None:
    expected = svg(tradeoff_figure(POINTS), "a plot")
    with matplotlib.rc_context({"svg.fonttype": "path", "svg.hashsalt": "another"}):
        assert svg(tradeoff_figure(POINTS), "a plot") == expected


def test_a_label_is_nearest_to_its_own_point() -> None:
    """Without that, the label below a point stands above the next point as if it were its own."""
    settings = {"a": (0.8, 32.0, 0.40), "b": (0.7, 32.0, 0.385)}
    points = [
        Point(SamplingConfig(t_max=t_max), 16, (0, 1), {"psnr": psnr, "lpips": lpips}, 0.01)
        for t_max, psnr, lpips in settings.values()
    ]
    far = Point(SamplingConfig(), 16, (0, 1), {"psnr": 30.0, "lpips": 0.2}, 0.01)
    figure = tradeoff_figure([*points, points[0], far])
    figure.draw_without_rendering()
    (axes, *_) = figure.axes
    dots = [axes.transData.transform(text.xy) for text in axes.texts]
    for text, dot in zip(axes.texts, dots, strict=True):
        box = text.get_window_extent()
        distances = [np.hypot(*(d - np.clip(d, box.min, box.max))) for d in dots]
        assert np.hypot(*(dot - np.clip(dot, box.min, box.max))) == min(distances)
