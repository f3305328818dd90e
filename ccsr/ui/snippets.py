"""Small pieces of HTML: text lines, progress, facts, the curve of L-STD."""

import math
import shlex
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from ccsr.config import COMPACT, DEFAULT_SEED, SamplingConfig
from ccsr.diffusion.timesteps import LoopStart, timestep_plan
from ccsr.images.picture import Size
from ccsr.images.reader_pool import PictureFacts
from ccsr.inference.events import ModelInfo, Progress
from ccsr.inference.pace import Seconds


def counted(number: int, noun: str) -> str:
    """A number and its noun: "1 step", "2 steps"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def line(text: str, kind: str = "") -> str:
    """A line of text; kind "error" or "quiet"."""
    role = ' role="alert"' if kind == "error" else ""
    return f'<p class="line {kind}"{role}>{escape(text)}</p>'


def message(html: str) -> str:
    """A line that says why something failed or was refused, as `errors_shown` words it."""
    return f'<p class="line error" role="alert">{html}</p>'


def link(text: str, address: str) -> str:
    """A line with a link."""
    return f'<p class="line quiet"><a href="{escape(address)}">{escape(text)}</a></p>'


def origin(caption: str, difference: str | None = None) -> str:
    """A line of what results are of, after a mark if that is not what is chosen now."""
    mark = "" if difference is None else f"<strong>{escape(difference)}</strong>: "
    kind = "line quiet" if difference is None else "line stale"
    return f'<p class="{kind}">{mark}{escape(caption)}</p>'


def cost_line(config: SamplingConfig, loop_start: LoopStart = "paper") -> str:
    """The refinement steps and network evaluations (NFE) of a setting."""
    plan = timestep_plan(config, loop_start)
    evaluations = counted(plan.num_evaluations, "network evaluation")
    if config.guidance_scale != 1:
        evaluations += ", each with and without the prompt"
    if config.variant == "v1":
        return line(f"Uniform diffusion: {evaluations}")
    if not plan.indices:
        return line(f"First estimate only, no refinement: {evaluations}")
    return line(f"{counted(len(plan.indices), 'refinement step')}, {evaluations}")


def picture_line(picture: PictureFacts, result: Size) -> str:
    """The size of a picture and of its result, and notes about its file."""
    parts = [f"{picture.size} pixels, result {result}"]
    if picture.bits == 16:
        parts.append("16 bits a channel")
    if picture.has_alpha:
        parts.append("with transparency")
    return line(", ".join(parts), "quiet") + "".join(
        line(f"Note: {note}.", "quiet") for note in picture.notes
    )


def model_line(info: ModelInfo) -> str:
    """Name, size, device and precision of the model."""
    parts = [info.name, f"{info.parameters / 1e6:,.1f} M parameters", info.device, info.dtype]
    parts += [] if info.attention == "none" else [f"attention by {info.attention}"]
    return " · ".join(escape(part) for part in parts)


STAGES = {"encoding": "Reading the picture", "refining": "Sharpening", "decoding": "Finishing"}
"""What a run does, in words for visitors."""


def progress(stage: str, share: float, left: float | None, figures: Sequence[str]) -> str:
    """A bar and a line for a run that is under way.

    Args:
        stage: One of `STAGES`.
        share: Share of its time that has passed.
        left: Seconds that are left; None if that is not known.
        figures: What else is told, for those who know the method.
    """
    known = "" if left is None else f", {rough(left)} left"
    return _bar(share, " · ".join([STAGES[stage] + known, *filter(None, figures)]))


def evaluation(event: Progress) -> str:
    """Number, timestep and seeds of a network evaluation."""
    seeds = ", ".join(map(str, event.seeds))
    return (
        f"Network evaluation {event.evaluation} of {event.total} · t = {event.timestep} · "
        f"seed {seeds}"
    )


def rough(seconds: float) -> str:
    """An estimated time: "less than 1 s", "about 5 s", "about 3 min"."""
    return "less than 1 s" if seconds < 1 else f"about {_rounded(seconds)}"


def _rounded(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else duration(seconds)


def expected(seconds: Seconds | None) -> str:
    """A line of how long a run will take; empty if that is not known."""
    if seconds is None:
        return ""
    is_wide = seconds.high > 1.5 * seconds.middle and seconds.high - seconds.low > 1
    time = _range(seconds) if is_wide else rough(seconds.middle)
    return line(f"Takes {time} on this machine.", "quiet")


def _range(seconds: Seconds) -> str:
    """A range of time: "3 to 9 s", "40 s to 2 min", "2 to 4 min"."""
    low, high = max(round(seconds.low), 1), math.ceil(seconds.high)
    if high < 100:
        return f"{low} to {high} s"
    return f"{f'{low} s' if low < 60 else round(low / 60)} to {duration(high)}"


def waiting(ahead: int = 0) -> str:
    """The bar of a run that has not begun, with how many come before it."""
    return _bar(0, f"Waiting for the model{f', {ahead} ahead' if ahead else ''}")


def _bar(share: float, text: str) -> str:
    percent = f"{100 * share:.1f}"
    return (
        f'<div class="run"><div class="bar" role="progressbar" aria-valuemin="0" '
        f'aria-valuemax="100" aria-valuenow="{percent}" aria-label="Progress">'
        f'<div style="width:{percent}%"></div></div>'
        f'<p class="line" aria-live="polite">{escape(text)}</p></div>'
    )


def duration(seconds: float) -> str:
    """Seconds for people: "4.2 s", "42 s", "3 min"."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{math.ceil(seconds / 60)} min"


def command_line(source: str, config: SamplingConfig, seed: int, info: ModelInfo) -> str:
    """The command that makes a result of a model again."""
    flags = [
        f"--{name.replace('_', '-')} {shlex.quote(str(value))}"
        for name, value in _chosen(config, info.defaults).items()
    ]
    words = ["python -m ccsr upscale", shlex.quote(source), "--output results"]
    words += [f"--model {shlex.quote(info.name)}"] if info.name != COMPACT else []
    words += [f"--seed {seed}"] if seed != DEFAULT_SEED else []
    return " ".join([*words, *flags])


def python_code(source: str, config: SamplingConfig, seed: int, info: ModelInfo) -> str:
    """The Python that makes a result of a model again."""
    chosen = ", ".join(f"{n}={v!r}" for n, v in _chosen(config, SamplingConfig()).items())
    return (
        "from ccsr import SamplingConfig, load_engine, load_picture, save_png\n\n"
        f"pipeline = load_engine({info.name!r}).pipeline({config.variant!r})\n"
        f"(result,) = pipeline.upscale(\n"
        f"    load_picture({source!r}), SamplingConfig({chosen}), seeds=({seed},)\n)\n"
        'save_png("result.png", result)'
    )


def _chosen(config: SamplingConfig, defaults: SamplingConfig) -> dict[str, Any]:
    """The fields that differ from the defaults."""
    default = defaults.model_dump()
    return {k: v for k, v in config.model_dump().items() if v != default[k]}


def facts(values: Mapping[str, str], notes: Sequence[str] = ()) -> str:
    """Names and values in a row, and notes below."""
    items = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>"
        for name, value in values.items()
    )
    return f'<dl class="facts">{items}</dl>' + "".join(
        line(f"Note: {note}.", "quiet") for note in notes
    )


def hint(title: str, text: str) -> str:
    """Placeholder of a result: a title and a text."""
    return f'<div class="hint"><p>{escape(title)}</p><p>{escape(text)}</p></div>'


CURVE_WIDTH, CURVE_HEIGHT, CURVE_LEFT, CURVE_TOP, CURVE_RIGHT = 320, 96, 44, 10, 12
"""Width, height, and left, top and right margin of the curve of L-STD, in pixels."""


def curve(values: Sequence[float]) -> str:
    """L-STD over the first 2, 3, ... seeds as a line, drawn from `values` over 1, 2, ... seeds."""
    shown = list(values[1:])
    if not shown:
        return ""
    points, highest = _curve_points(shown), max(max(shown), 1e-9)
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    dots = "".join(
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.6"><title>{n} seeds: {value:.5f}</title></circle>'
        for n, ((x, y), value) in enumerate(zip(points, shown, strict=True), start=2)
    )
    last = len(shown) + 1
    return (
        f'<figure class="curve"><svg viewBox="0 0 {CURVE_WIDTH} {CURVE_HEIGHT + 22}" role="img" '
        f'aria-label="L-STD over {last} seeds: {shown[-1]:.4f}">'
        f'{_curve_axes(highest, last)}<polyline points="{path}"/>{dots}</svg></figure>'
    )


def _curve_points(values: Sequence[float]) -> list[tuple[float, float]]:
    """Places of the values, from left to right."""
    highest = max(max(values), 1e-9)
    step = (CURVE_WIDTH - CURVE_LEFT - CURVE_RIGHT) / max(len(values) - 1, 1)
    height = CURVE_HEIGHT - CURVE_TOP
    return [
        (CURVE_LEFT + index * step, CURVE_TOP + (1 - value / highest) * height)
        for index, value in enumerate(values)
    ]


def _curve_axes(highest: float, last: int) -> str:
    """Lines at 0 and at the highest value, and labels from 2 to `last` seeds."""
    left, right, below = CURVE_LEFT, CURVE_WIDTH - CURVE_RIGHT, CURVE_HEIGHT + 16
    labels = [
        ((left + right) / 2, below, "middle", "number of seeds"),
        (left, below, "middle", "2"),
    ]
    labels += [(right, below, "middle", str(last))] if last > 2 else []
    labels += [(left - 6, CURVE_TOP + 4, "end", f"{highest:.4f}")]
    labels += [(left - 6, CURVE_HEIGHT + 4, "end", "0")]
    lines = ((CURVE_HEIGHT, "axis"), (CURVE_TOP, "grid"))
    return "".join(
        [f'<line x1="{left}" y1="{y}" x2="{right}" y2="{y}" class="{kind}"/>' for y, kind in lines]
        + [f'<text x="{x}" y="{y}" text-anchor="{anchor}">{escape(text)}</text>'
           for x, y, anchor, text in labels]
    )  # fmt: skip


def number(value: float | None) -> str:
    """A score with four digits, or six where these would say nothing; "-" for none."""
    if value is None:
        return "-"
    return f"{value:.6f}" if 0 < abs(value) < 0.001 else f"{value:.4f}"


def table(heads: Sequence[str], rows: Sequence[tuple[str, Sequence[float | None]]]) -> str:
    """A table of numbers; each row has a name. It scrolls sideways where it is narrow."""
    head = "".join(f'<th scope="col">{escape(text)}</th>' for text in heads)
    body = "".join(
        f'<tr><th scope="row">{escape(name)}</th>'
        + "".join(f"<td>{number(value)}</td>" for value in values)
        + "</tr>"
        for name, values in rows
    )
    return (
        f'<div class="scores" tabindex="0"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )
