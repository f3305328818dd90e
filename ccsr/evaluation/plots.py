"""Plots of the trade-off and of a trajectory, for the page (SVG) and for files (PNG).

Both have one style. An SVG takes the colour of the text around it, so it is readable in light and
in dark; a PNG has a white ground.
"""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.text import Annotation
from matplotlib.transforms import Bbox

from ccsr.config import PRESETS, TABLE_5
from ccsr.evaluation.heatmap import GREY_LEVELS, color_table
from ccsr.evaluation.metrics import METRICS
from ccsr.evaluation.tradeoff import Point

TRADEOFF_PLOT = "tradeoff.png"

INK = "#010203"
"""Stands for the colour of the text, and is replaced by it in SVGs."""
STYLE: Any = {
    "font.family": "sans-serif",
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.15,
    "grid.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "svg.fonttype": "none",
    "svg.hashsalt": "ccsr",
}
SIZE_INCHES = (6.4, 4.2)
PNG_DPI = 160
ACCENT = "#7c3aed"


@dataclass(frozen=True)
class Axis:
    """A score as an axis of a plot."""

    score: str
    label: str


SCORE_LABELS = {
    "consistency": "PSNR to input (dB)",
    "sharpness": "Sharpness",
    "niqe": "NIQE",
} | {
    name: f"{metric.label}{f' ({metric.unit})' if metric.unit else ''}"
    for name, metric in METRICS.items()
}
"""What scores are called in tables and plots."""
PLACES = ((1, 1), (1, -1), (-1, 1), (-1, -1), (1, 3), (1, -3), (-1, 3), (-1, -3))
"""Where a label may stand about its dot, the preferred place first."""
DOT = 6
"""Half the side of a dot, in pixels of the figure."""
DISTORTION = {
    "psnr": Axis("psnr", "PSNR in dB (higher is more faithful)"),
    "consistency": Axis("consistency", "PSNR to the input in dB (higher is more faithful)"),
}
"""Axes across; the first that was measured is taken."""
PERCEPTION = {
    "lpips": Axis("lpips", "LPIPS (lower looks more alike)"),
    "niqe": Axis("niqe", "NIQE (lower is more natural)"),
    "sharpness": Axis("sharpness", "Sharpness in grey levels (mean absolute Laplacian)"),
}
"""Axes upwards; the first that was measured is taken."""


def axes_of(points: Sequence[Point]) -> tuple[Axis, Axis]:
    """What to draw points by: distortion across, perception upwards."""
    scores = points[0].scores
    across = next(axis for name, axis in DISTORTION.items() if name in scores)
    return across, next(axis for name, axis in PERCEPTION.items() if name in scores)


def preset_of(point: Point) -> str | None:
    """Label of the paper's setting that a point is, if it is one."""
    for preset in (PRESETS[name] for name in TABLE_5):
        if preset.apply(point.config) == point.config:
            return preset.label
    return None


def tradeoff_figure(points: Sequence[Point]) -> Figure:
    """Distortion against perception, a dot a setting, its colour the L-STD.

    Dot number i has the group id "point-i", for pages that want to know of clicks.
    """
    across, upwards = axes_of(points)
    l_stds = [GREY_LEVELS * (point.l_std or 0.0) for point in points]
    shades = ScalarMappable(Normalize(0, max(l_stds) or 1), ListedColormap(color_table()))
    with rc_context(STYLE):
        figure = Figure(SIZE_INCHES, layout="constrained")
        axes = figure.add_subplot()
        labels: list[Annotation] = []
        for index, (point, l_std) in enumerate(zip(points, l_stds, strict=True)):
            x, y = point.scores[across.score], point.scores[upwards.score]
            dot = axes.scatter(
                [x], [y], s=90, color=shades.to_rgba(np.array(l_std)), edgecolors=INK
            )
            dot.set_gid(f"point-{index}")
            text = preset_of(point) or f"{point.config.t_max:g}, {point.config.t_min:g}"
            labels.append(
                axes.annotate(text, (x, y), xytext=(0, 0), textcoords="offset points", fontsize=9)
            )
        axes.set_xlabel(across.label)
        axes.set_ylabel(upwards.label)
        axes.margins(0.12)
        if any(point.l_std is not None for point in points):
            figure.colorbar(shades, ax=axes, label="L-STD in grey levels", fraction=0.05)
        _keep_apart(figure, labels)
    return figure


def _keep_apart(figure: Figure, labels: Sequence[Annotation]) -> None:
    """Put each label beside its dot where it hides neither dots nor labels, if there is room."""
    figure.draw_without_rendering()
    dots = [label.axes.transData.transform(label.xy) for label in labels if label.axes]
    taken = [Bbox.from_bounds(x - DOT, y - DOT, 2 * DOT, 2 * DOT) for x, y in dots]
    for label in labels:
        for across, upwards in PLACES:
            label.set_position((across * 7, upwards * 5))
            label.set_horizontalalignment("left" if across > 0 else "right")
            label.set_verticalalignment("bottom" if upwards > 0 else "top")
            box = label.get_window_extent()
            if not any(box.overlaps(other) for other in taken):
                break
        taken.append(label.get_window_extent())


def trajectory_figure(
    timesteps: Sequence[int],
    scores: Mapping[str, Sequence[float]],
    marks: Mapping[str, int],
) -> Figure:
    """Scores of the estimates against the timestep, from T on the left down to 0.

    Args:
        timesteps: Train timesteps of the estimates.
        scores: By label, one value an estimate; each gets a panel of its own.
        marks: Labels and timesteps of vertical lines; that of t_max in the first panel has the
            group id "mark-t_max-0", for pages on which it can be dragged.
    """
    with rc_context(STYLE):
        figure = Figure(SIZE_INCHES, layout="constrained")
        panels = figure.subplots(len(scores), 1, sharex=True, squeeze=False)[:, 0]
        for axes, (label, values) in zip(panels, scores.items(), strict=True):
            axes.plot(timesteps, values, color=ACCENT, marker="o", markersize=4)
            axes.set_ylabel(label)
            for text, timestep in marks.items():
                axes.axvline(timestep, color=INK, alpha=0.5, linestyle=":")
                # Wide enough to be taken hold of.
                handle = axes.axvline(timestep, color=ACCENT, alpha=0.15, linewidth=12)
                handle.set_gid(f"mark-{text}-{list(panels).index(axes)}")
                axes.annotate(text, (timestep, 1), xycoords=("data", "axes fraction"),
                              xytext=(4, -10), textcoords="offset points", fontsize=9)  # fmt: skip
        panels[-1].set_xlabel("timestep t")
        # The whole process, whatever is marked: what is dragged keeps its place.
        panels[-1].set_xlim(1020, -20)
    return figure


def timesteps_across(figure: Figure, fraction: float) -> float:
    """The timestep at a fraction of the width of a trajectory's figure."""
    figure.draw_without_rendering()
    x = fraction * figure.bbox.width
    return float(figure.axes[0].transData.inverted().transform((x, 0))[0])


def fraction_across(figure: Figure, timestep: float) -> float:
    """Where a timestep is, as a fraction of the width of a trajectory's figure."""
    figure.draw_without_rendering()
    return float(figure.axes[0].transData.transform((timestep, 0))[0] / figure.bbox.width)


def svg(figure: Figure, alt: str) -> str:
    """The figure as an element of a page, in the colour of its text.

    Args:
        figure: What to draw.
        alt: What it shows, for those who do not see it.
    """
    file = io.StringIO()
    with rc_context(STYLE):
        metadata = {"Date": None, "Title": alt}
        figure.savefig(file, format="svg", metadata=metadata, transparent=True)
    text = file.getvalue()
    return (
        text[text.index("<svg") :]
        .replace(INK, "currentColor")
        .replace("<svg ", '<svg role="figure" class="plot" ', 1)
    )


def reachable(drawing: str, group: str, role: str, label: str, value: float | None = None) -> str:
    """An SVG in which the keyboard reaches a group of elements.

    Args:
        drawing: The SVG.
        group: Id of the group.
        role: What it is for, as ARIA names it.
        label: What it is called.
        value: Where it stands, if that can change.
    """
    attributes = f'tabindex="0" role="{role}" aria-label="{escape(label)}"'
    if value is not None:
        attributes += f' aria-valuenow="{value:g}"'
    return drawing.replace(f'<g id="{group}">', f'<g id="{group}" {attributes}>')


def write_png(figure: Figure, path: Path) -> Path:
    """Write the figure as a picture, black on white."""
    figure.savefig(path, dpi=PNG_DPI, facecolor="white")
    return path
