"""Figures of the report, as SVG in the colour of the text around them.

Scores are means over the pictures; error bars are G-STD, the deviation over the seeds.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from ccsr.evaluation.comparison.summary import Mean, MethodSummary
from ccsr.evaluation.comparison.uncertainty import FRACTIONS
from ccsr.evaluation.heatmap import COLORMAP, GREY_LEVELS, UNIT
from ccsr.evaluation.plots import (
    TEXT_COLOR,
    Sparsification,
    add_legend,
    annotation,
    name_axes,
    page_figure,
    separate_labels,
    sparsification_figure,
    styled,
    svg,
    trajectory_figure,
)

Summaries = Mapping[str, MethodSummary]
"""By method."""

COLORS: Sequence[Any] = colormaps["tab10"].colors  # type: ignore[attr-defined]
MARKERS = "os^Dv"
"""One for each ten methods: a color and a marker stand for a method in all figures."""
BAR_INCHES = (6.4, 0.75)
PSNR, LPIPS = "PSNR in dB (higher is more faithful)", "LPIPS (lower looks more alike)"


@dataclass(frozen=True)
class Drawing:
    """A figure with what it shows."""

    caption: str
    svg: str


@dataclass(frozen=True)
class Style:
    """How a method is drawn."""

    color: Any
    marker: str


def styles(methods: Sequence[str]) -> dict[str, Style]:
    """A style for each method."""
    return {
        name: Style(COLORS[i % len(COLORS)], MARKERS[i // len(COLORS) % len(MARKERS)])
        for i, name in enumerate(methods)
    }


def drawings(
    summaries: Summaries, settings: Sequence[str], trajectory: Mapping[int, Mapping[str, Mean]]
) -> Iterator[Drawing]:
    """The figures of a test set that there are numbers for.

    Args:
        summaries: Of all methods.
        settings: Methods that are compared in Table 5.
        trajectory: Mean scores of the estimates by timestep.
    """
    drawn = styles(list(summaries))
    both = {name: summary for name, summary in summaries.items() if _has_both(summary)}
    if len(both) > 1:
        yield _drawing(
            plane(both, settings, drawn),
            "Perception against distortion: means over the pictures, with the deviation over the "
            "seeds (G-STD) as error bars; settings of Table 5 are joined by a line.",
        )
        yield _drawing(scatter(both, drawn), "Each picture as a point.")
    certain = {n: s for n, s in summaries.items() if "uncertainty ause" in s.means}
    if certain:
        yield _drawing(
            sparsification(certain, drawn),
            "Sparsification: error of the mean over the seeds in the squares that are left when "
            "those of most disagreement are left out; dotted: when those of the largest errors "
            "are.",
        )
    if trajectory:
        yield _drawing(
            trajectories(trajectory),
            "The estimates of a run against the timestep, as in the paper's Figure 2: means over "
            "the first pictures.",
        )


def _drawing(figure: Figure, caption: str) -> Drawing:
    return Drawing(caption, svg(figure, caption))


def plane(summaries: Summaries, settings: Sequence[str], drawn: Mapping[str, Style]) -> Figure:
    """PSNR against LPIPS, a point for each method."""
    figure = page_figure()
    axes = styled(figure.add_subplot())
    joined = [name for name in settings if name in summaries]
    if len(joined) > 1:
        xs, ys = zip(*(_means(summaries[name]) for name in joined), strict=True)
        order = np.argsort(xs)
        axes.plot(np.array(xs)[order], np.array(ys)[order], color=TEXT_COLOR, alpha=0.3, zorder=0)
    labels: list[Any] = []
    for name, summary in summaries.items():
        x, y = _means(summary)
        bars: dict[str, Any] = {
            "xerr": summary.mean("g_std psnr"),
            "yerr": summary.mean("g_std lpips"),
        }
        axes.errorbar([x], [y], fmt=drawn[name].marker, color=drawn[name].color, capsize=3, **bars)
        labels.append(annotation(axes, name, (x, y)))
    name_axes(axes, PSNR, LPIPS)
    axes.margins(0.15)
    separate_labels(figure, labels)
    return figure


def scatter(summaries: Summaries, drawn: Mapping[str, Style]) -> Figure:
    """PSNR against LPIPS, a point for each picture and method."""
    figure = page_figure()
    axes = styled(figure.add_subplot())
    for name, summary in summaries.items():
        points = [p for p in summary.points.values() if np.isfinite(p["psnr"])]
        axes.scatter(
            [p["psnr"] for p in points], [p["lpips"] for p in points],
            color=[drawn[name].color], marker=drawn[name].marker, s=14, alpha=0.6, label=name,
            linewidths=0,
        )  # fmt: skip
    name_axes(axes, PSNR, LPIPS)
    add_legend(axes)
    return figure


def sparsification(summaries: Summaries, drawn: Mapping[str, Style]) -> Figure:
    """Error that is left against the share of squares left out."""
    curves = {
        name: Sparsification(
            summary.means_of("uncertainty curve"),
            summary.means_of("uncertainty oracle"),
            drawn[name].color,
        )
        for name, summary in summaries.items()
    }
    return sparsification_figure(FRACTIONS, curves)


def trajectories(trajectory: Mapping[int, Mapping[str, Mean]]) -> Figure:
    """PSNR and LPIPS of the estimates against the timestep."""
    timesteps = sorted(trajectory, reverse=True)
    names = [n for n in ("psnr", "lpips") if all(n in trajectory[t] for t in timesteps)]
    scores = {n.upper(): [trajectory[t][n].value for t in timesteps] for n in names}
    marks = {"t_max": timesteps[1], "t_min": timesteps[-1]} if len(timesteps) > 2 else {}
    return trajectory_figure(timesteps, scores, marks)


def scale_bar(maximum: float) -> Drawing:
    """The scale that all maps of the standard deviation are coloured on, up to `maximum`."""
    figure = page_figure(BAR_INCHES)
    axes = figure.add_subplot()
    shades = ScalarMappable(Normalize(0, GREY_LEVELS * maximum), COLORMAP)
    bar = figure.colorbar(shades, cax=axes, orientation="horizontal")
    bar.outline.set_edgecolor(TEXT_COLOR)
    axes.tick_params(colors=TEXT_COLOR)
    axes.set_xlabel(UNIT, color=TEXT_COLOR)
    return _drawing(figure, "Standard deviation over the seeds, one scale for all maps.")


def _has_both(summary: MethodSummary) -> bool:
    """Whether PSNR and LPIPS can be drawn; of equal pictures PSNR is infinite."""
    found = {"scores psnr", "scores lpips"} <= summary.means.keys()
    return found and bool(np.isfinite(_means(summary)).all())


def _means(summary: MethodSummary) -> tuple[float, float]:
    return summary.means["scores psnr"].value, summary.means["scores lpips"].value
