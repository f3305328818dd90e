"""Plots of the trade-off and of a trajectory, for the page (SVG) and for files (PNG).

An SVG takes the colour of the text around it, so it is readable on light and dark pages; a PNG has
a white background. Pages draw in several threads at once: everything is set on the figures, and
matplotlib's settings, which all threads share, are left as they are.
"""

import hashlib
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_mixed import MixedModeRenderer
from matplotlib.backends.backend_svg import RendererSVG
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.markers import MarkerStyle
from matplotlib.text import Annotation
from matplotlib.transforms import Bbox

from ccsr.config import PRESETS, TABLE_5
from ccsr.evaluation.heatmap import COLORMAP, GREY_LEVELS
from ccsr.evaluation.metrics import METRICS
from ccsr.evaluation.tradeoff import Point
from ccsr.whole_file import whole_file

TRADEOFF_PLOT = "tradeoff.png"

TEXT_COLOR = "#010203"
"""Stands for the colour of the text, and is replaced by `currentColor` in SVGs."""
ACCENT = "#7c3aed"
HALO = (0.5, 0.5, 0.5)
SIZE_INCHES = (6.4, 4.2)
SVG_DPI = 72
PNG_DPI = 160
LABEL_OFFSETS = tuple((x, y * up) for up in (1, 3, 5, 7) for x in (1, -1) for y in (1, -1))
"""Where a label may stand about its dot, in steps to the right and upwards; the preferred first."""
LABEL_MARGIN = 2
"""Between a label and dots or other labels, in points."""
DOT_RADIUS = 5
"""Of the dots, in points."""
HALO_RADIUS = 18
"""Of what can be touched about a dot, in points: large enough for a finger."""
SAME_PLACE = 0.012
"""Share of the width and height of a plot within which two dots cover each other."""
FAR = 2
"""The bicubic enlargement stays outside a plot of settings that it is further away from than so
many times their span: they would be one spot there."""
LARGEST_ZOOM = 20
"""A plot shows at least this part of their distance from it, so that differences that nobody sees
do not look large."""
EDGE = 0.05
"""Where a mark at the edge of a plot stands, as a share of its width and height."""
BICUBIC = "Bicubic"
"""Name of the bicubic enlargement in plots, tables and among pictures."""


@dataclass(frozen=True)
class PlotAxis:
    """A score as an axis of a plot."""

    score: str
    label: str
    is_turned: bool = False
    """Whether lower values, which are better, are drawn further up."""


SCORE_LABELS = {
    "consistency": "PSNR to input (dB)",
    "sharpness": "Sharpness",
    "niqe": "NIQE",
} | {
    name: f"{metric.label}{f' ({metric.unit})' if metric.unit else ''}"
    for name, metric in METRICS.items()
}
"""Names of the scores in tables and plots."""
DISTORTION = {
    "psnr": PlotAxis("psnr", "PSNR in dB (higher is more faithful)"),
    "consistency": PlotAxis("consistency", "PSNR to the input in dB (higher is more faithful)"),
}
"""Horizontal axes; the first that was measured is taken."""
PERCEPTION = {
    "lpips": PlotAxis("lpips", "LPIPS, axis turned (upwards looks more alike)", is_turned=True),
    "niqe": PlotAxis("niqe", "NIQE, axis turned (upwards is more natural)", is_turned=True),
    "sharpness": PlotAxis("sharpness", "Sharpness in grey levels (mean absolute Laplacian)"),
}
"""Vertical axes; the first that was measured is taken."""


def tradeoff_axes(points: Sequence[Point]) -> tuple[PlotAxis, PlotAxis]:
    """Horizontal axis (distortion) and vertical axis (perception) for the scores of the points."""
    scores = points[0].scores
    horizontal = next(axis for name, axis in DISTORTION.items() if name in scores)
    return horizontal, next(axis for name, axis in PERCEPTION.items() if name in scores)


def preset_label(point: Point) -> str | None:
    """Label of the preset of Table 5 that a point has, on whatever grid; None for others."""
    for preset in (PRESETS[name] for name in TABLE_5):
        if preset.apply(point.config) == point.config:
            return preset.label
    return None


def tradeoff_figure(points: Sequence[Point], bicubic: Mapping[str, float] | None = None) -> Figure:
    """Perception against distortion: one dot per setting, coloured by its L-STD.

    Up and right is better on both axes. Error bars are one G-STD over the seeds to each side. The
    dot of points[i] has the group id "point-i" in the SVG, and what can be touched about it
    "halo-i", for clicks on a page.

    Args:
        points: The settings.
        bicubic: Scores of the bicubic enlargement, to be drawn, too: by a cross, or by a triangle
            at the edge that points to where it would be.
    """
    horizontal, vertical = tradeoff_axes(points)
    l_stds = [GREY_LEVELS * (point.l_std or 0.0) for point in points]
    shades = ScalarMappable(Normalize(0, max(l_stds) or 1), COLORMAP)
    figure = page_figure()
    axes = styled(figure.add_subplot())
    places = [(p.scores[horizontal.score], p.scores[vertical.score]) for p in points]
    for index, (point, place) in enumerate(zip(points, places, strict=True)):
        _draw_spread(axes, place, [point.g_std.get(a.score) for a in (horizontal, vertical)])
        halo = axes.scatter(*place, s=(2 * HALO_RADIUS) ** 2, color=(*HALO, 0.004), linewidths=0)
        halo.set_gid(f"halo-{index}")
    labels = [
        annotation(axes, preset_label(p) or f"{p.config.t_max:g}, {p.config.t_min:g}", place)
        for p, place in zip(points, places, strict=True)
    ]
    colors = [shades.to_rgba(np.array(l_std)) for l_std in l_stds]
    for index, (place, size, color) in enumerate(
        zip(places, _dot_sizes(places), colors, strict=True)
    ):
        dot = axes.scatter(*place, s=size, color=color, edgecolors=TEXT_COLOR, zorder=3)
        dot.set_gid(f"point-{index}")
    name_axes(axes, horizontal.label, vertical.label)
    axes.margins(0.12)
    if vertical.is_turned:
        axes.invert_yaxis()
    if bicubic is not None:
        labels.append(_draw_bicubic(axes, (horizontal, vertical), bicubic, len(points) > 1))
    if any(point.l_std is not None for point in points):
        _add_color_bar(figure, axes, shades)
    separate_labels(figure, labels)
    return figure


def _draw_bicubic(
    axes: Axes, names: tuple[PlotAxis, PlotAxis], scores: Mapping[str, float], may_leave_out: bool
) -> Annotation:
    """Draw the bicubic enlargement into a plot of settings, or at its edge; its label."""
    text, place, direction = BICUBIC, [], []
    for name, limits, set_limits in zip(
        names, (axes.get_xlim(), axes.get_ylim()), (axes.set_xlim, axes.set_ylim), strict=True
    ):
        value = scores[name.score]
        zoomed = zoomed_limits(limits, value) if may_leave_out else None
        if zoomed is None:
            place.append(value)
            direction.append(0)
            continue
        start, end = zoomed
        is_beyond_end = (value > end) == (end > start)
        set_limits(start, end)
        place.append(start + (end - start) * (1 - EDGE if is_beyond_end else EDGE))
        direction.append(1 if is_beyond_end else -1)
        text += f", {SCORE_LABELS[name.score]} {value:.4g}"
    right, up = direction
    turn = math.degrees(math.atan2(-right, up))
    marker = MarkerStyle("^").scaled(0.7, 1.2).rotated(deg=turn) if any(direction) else "x"
    axes.scatter(*place, s=60, color=TEXT_COLOR, marker=marker)
    return annotation(axes, text, (place[0], place[1]))


def zoomed_limits(limits: tuple[float, float], value: float) -> tuple[float, float] | None:
    """Limits of an axis without a value that is `FAR` from what they span; None if it is not.

    Args:
        limits: From left to right or from below upwards; the first may be the higher.
        value: What is to be drawn, too.
    """
    start, end = limits
    distance = max(min(limits) - value, value - max(limits), 0)
    span = max(abs(end - start), distance / LARGEST_ZOOM)
    if distance <= FAR * span:
        return None
    middle, half = (start + end) / 2, math.copysign(span / 2, end - start)
    return middle - half, middle + half


def _draw_spread(axes: Axes, place: tuple[float, float], g_std: Sequence[float | None]) -> None:
    """Error bars of one G-STD to each side; none for a single seed."""
    across, upwards = g_std
    axes.errorbar(*place, yerr=upwards, xerr=across, color=TEXT_COLOR, alpha=0.45, linewidth=1)


def _dot_sizes(places: Sequence[tuple[float, float]]) -> list[float]:
    """Areas of dots: smaller above those at the same place, so that each is seen."""
    spans = [max(max(values) - min(values), 1e-12) for values in zip(*places, strict=True)]
    sizes: list[float] = []
    for index, place in enumerate(places):
        covered = sum(
            all(
                abs(a - b) <= SAME_PLACE * span
                for a, b, span in zip(place, other, spans, strict=True)
            )
            for other in places[:index]
        )
        sizes.append(90 * 0.4**covered)
    return sizes


def _add_color_bar(figure: Figure, axes: Axes, shades: ScalarMappable) -> None:
    bar = figure.colorbar(shades, ax=axes, fraction=0.05)
    bar.set_label("L-STD in grey levels", color=TEXT_COLOR)
    bar.outline.set_edgecolor(TEXT_COLOR)
    bar.ax.tick_params(colors=TEXT_COLOR)


def separate_labels(figure: Figure, labels: Sequence[Annotation]) -> None:
    """Move each label to the first of `LABEL_OFFSETS` where it is free and nearest to its dot.

    Free is a label that overlaps no dot and no other label.
    """
    figure.draw_without_rendering()
    dots = [label.axes.transData.transform(label.xy) for label in labels if label.axes]
    taken = [Bbox([dot, dot]).padded(DOT_RADIUS) for dot in dots]
    for label, dot in zip(labels, dots, strict=True):

        def faults(offset: tuple[int, int], label: Annotation = label, dot: Any = dot) -> Any:  # noqa: ANN401
            box = _moved(label, offset)
            nearest = min(_distance(box, other) for other in dots)
            return any(box.overlaps(other) for other in taken), _distance(box, dot) > nearest

        taken.append(_moved(label, min(LABEL_OFFSETS, key=faults)).padded(LABEL_MARGIN))


def _moved(label: Annotation, offset: tuple[int, int]) -> Bbox:
    """Move a label about its dot; where it is then."""
    right, up = offset
    label.set_position((right * 7, up * 5))
    label.set_horizontalalignment("left" if right > 0 else "right")
    label.set_verticalalignment("bottom" if up > 0 else "top")
    return label.get_window_extent()


def _distance(box: Bbox, dot: np.ndarray) -> float:
    """From a point to the nearest one of a box."""
    return float(np.hypot(*(dot - np.clip(dot, box.min, box.max))))


def trajectory_figure(
    timesteps: Sequence[int],
    scores: Mapping[str, Sequence[float]],
    marks: Mapping[str, int],
) -> Figure:
    """Scores of the estimates against the timestep, from T on the left down to 0.

    Args:
        timesteps: Train timesteps of the estimates.
        scores: By label, one value per estimate; each gets a panel of its own.
        marks: Labels and timesteps of vertical lines; that of t_max in the first panel has the
            group id "mark-t_max-0" in the SVG, for dragging it on a page.
    """
    figure = page_figure()
    panels = figure.subplots(len(scores), 1, sharex=True, squeeze=False)[:, 0]
    for number, (axes, (label, values)) in enumerate(zip(panels, scores.items(), strict=True)):
        styled(axes).plot(timesteps, values, color=ACCENT, marker="o", markersize=4)
        axes.set_ylabel(label, color=TEXT_COLOR)
        for text, timestep in marks.items():
            axes.axvline(timestep, color=TEXT_COLOR, alpha=0.5, linestyle=":")
            # Wide enough to be dragged.
            handle = axes.axvline(timestep, color=ACCENT, alpha=0.15, linewidth=12)
            handle.set_gid(f"mark-{text}-{number}")
            mark = annotation(axes, text, (timestep, 1), xycoords=("data", "axes fraction"))
            mark.set_position((4, -10))
    panels[-1].set_xlabel("timestep t", color=TEXT_COLOR)
    # All of T to 0 whatever the marks are, so that the axis does not move while one is dragged.
    panels[-1].set_xlim(1020, -20)
    return figure


@dataclass(frozen=True)
class Sparsification:
    """What error is left when squares are left out, as multiples of the error of all."""

    curve: Sequence[float]
    """In the order of their disagreement."""
    oracle: Sequence[float]
    """In the order of their errors: no curve lies below."""
    color: Any = ACCENT


def sparsification_figure(
    fractions: Sequence[float], curves: Mapping[str, Sparsification]
) -> Figure:
    """Error that is left against the share of squares left out, by name; oracles are dotted."""
    figure = page_figure()
    axes = styled(figure.add_subplot())
    for name, drawn in curves.items():
        axes.plot(fractions, drawn.curve, color=drawn.color, label=name)
        axes.plot(fractions, drawn.oracle, color=drawn.color, linestyle=":", alpha=0.7)
    axes.set_ylim(bottom=0)
    name_axes(axes, "share of squares left out", "error, as a multiple of that of all")
    add_legend(axes)
    return figure


def timestep_at(figure: Figure, fraction: float) -> float:
    """The timestep at a fraction of the width of a trajectory's figure."""
    figure.draw_without_rendering()
    x = fraction * figure.bbox.width
    return float(figure.axes[0].transData.inverted().transform((x, 0))[0])


def fraction_at(figure: Figure, timestep: float) -> float:
    """Position of a timestep as a fraction of the width of a trajectory's figure."""
    figure.draw_without_rendering()
    return float(figure.axes[0].transData.transform((timestep, 0))[0] / figure.bbox.width)


def page_figure(inches: tuple[float, float] = SIZE_INCHES) -> Figure:
    """An empty figure without a background, whose pixels are points."""
    return Figure(inches, dpi=SVG_DPI, facecolor="none", layout="constrained")


def styled(axes: Axes) -> Axes:
    """The axes in the colour of the text, with a faint grid and without a frame."""
    axes.set_facecolor("none")
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[:].set_edgecolor(TEXT_COLOR)
    axes.tick_params(colors=TEXT_COLOR)
    axes.grid(color=TEXT_COLOR, alpha=0.15)
    return axes


def name_axes(axes: Axes, horizontal: str, vertical: str) -> None:
    """Label both axes in the colour of the text."""
    axes.set_xlabel(horizontal, color=TEXT_COLOR)
    axes.set_ylabel(vertical, color=TEXT_COLOR)


def add_legend(axes: Axes) -> None:
    """A legend in the colour of the text, without a frame."""
    axes.legend(fontsize=8, frameon=False, labelcolor=TEXT_COLOR)


def annotation(
    axes: Axes,
    text: str,
    xy: tuple[float, float],
    xycoords: Any = "data",  # noqa: ANN401 - matplotlib has no public type for it
) -> Annotation:
    """A small label at an offset in points from xy."""
    return axes.annotate(
        text,
        xy,
        xytext=(0, 0),
        xycoords=xycoords,
        textcoords="offset points",
        fontsize=9,
        color=TEXT_COLOR,
    )


class _PageRenderer(RendererSVG):
    """Writes text as text and gives equal elements equal ids.

    matplotlib has settings for both, `svg.fonttype` and `svg.hashsalt`, but all threads share them.
    """

    def draw_text(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401
        self._draw_text_as_text(*args, **kwargs)

    def _make_id(self, type: str, content: object) -> str:
        return f"{type}{hashlib.sha256(str(content).encode()).hexdigest()[:10]}"


def svg(figure: Figure, alt: str) -> str:
    """The figure as an SVG element of a page, in the colour of the text around it.

    Args:
        figure: What to draw.
        alt: Description for screen readers.
    """
    file = io.StringIO()
    width, height = figure.bbox.size
    metadata = {"Date": None, "Title": alt}
    page = _PageRenderer(width, height, file, image_dpi=PNG_DPI, metadata=metadata)
    # The colours of a colour bar are drawn as pixels.
    wide, tall = figure.get_size_inches()
    renderer: Any = MixedModeRenderer(figure, wide, tall, PNG_DPI, page)
    figure.draw(renderer)
    renderer.finalize()
    text = file.getvalue()
    return (
        text[text.index("<svg") :]
        .replace(TEXT_COLOR, "currentColor")
        .replace("<svg ", '<svg role="figure" class="plot" ', 1)
    )


def focusable(drawing: str, group: str, role: str, label: str, value: float | None = None) -> str:
    """An SVG in which the keyboard can focus a group of elements.

    Args:
        drawing: The SVG.
        group: Id of the group.
        role: Its ARIA role.
        label: Its accessible name.
        value: Its current value, for sliders.
    """
    attributes = f'tabindex="0" role="{role}" aria-label="{escape(label)}"'
    if value is not None:
        attributes += f' aria-valuenow="{value:g}"'
    return drawing.replace(f'<g id="{group}">', f'<g id="{group}" {attributes}>')


def write_png(figure: Figure, path: Path, *, overwrite: bool = False) -> Path:
    """Write the figure as PNG, black on white."""
    with whole_file(path, overwrite=overwrite) as file:
        figure.savefig(file, format="png", dpi=PNG_DPI, facecolor="white")
    return path
