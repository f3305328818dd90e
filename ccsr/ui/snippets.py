"""Small pieces of HTML: text lines, progress, facts, the curve of L-STD."""

import dataclasses
import math
import shlex
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from ccsr.config import COMPACT, DEFAULT_SEED, SamplingConfig
from ccsr.diffusion.timesteps import timestep_plan
from ccsr.images.picture import Picture, Size
from ccsr.inference.events import Decoded, ModelInfo, Progress


def counted(number: int, noun: str) -> str:
    """A number and its noun: "1 step", "2 steps"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def line(text: str, kind: str = "") -> str:
    """A line of text; kind "error" or "quiet"."""
    role = ' role="alert"' if kind == "error" else ""
    return f'<p class="line {kind}"{role}>{escape(text)}</p>'


def nfe_line(config: SamplingConfig) -> str:
    """What a setting costs."""
    plan = timestep_plan(config)
    evaluations = counted(plan.num_evaluations, "network evaluation")
    if config.guidance_scale != 1:
        evaluations += ", each with and without the prompt"
    if config.variant == "v1":
        return line(f"Uniform diffusion: {evaluations}")
    if not plan.indices:
        return line(f"First estimate only, no refinement: {evaluations}")
    return line(f"{counted(len(plan.indices), 'refinement step')}, {evaluations}")


def picture_line(picture: Picture, result: Size) -> str:
    """What was read, and how large the result will be."""
    parts = [f"{picture.size} pixels, result {result}"]
    if picture.bits == 16:
        parts.append("16 bits a channel")
    if picture.alpha is not None:
        parts.append("with transparency")
    return line(", ".join(parts), "quiet") + "".join(
        line(f"Note: {note}.", "quiet") for note in picture.notes
    )


def model_line(info: ModelInfo) -> str:
    """What is loaded."""
    parts = [info.name, f"{info.parameters / 1e6:,.1f} M parameters", info.device, info.dtype]
    # The compact model has no attention to tell of.
    parts += [] if info.attention == "none" else [f"attention by {info.attention}"]
    return " · ".join(escape(part) for part in parts)


def progress(
    event: Progress, elapsed: float, done: str = "", share_done: float | None = None
) -> str:
    """A bar and a line for a run that has come to `event` after `elapsed` seconds.

    Args:
        event: The last evaluation.
        elapsed: Seconds.
        done: What is there, in words.
        share_done: The share of results that are there, by which the time left is estimated: they
            need more than evaluations. None for a run with one result.
    """
    share = event.evaluation / event.total
    # The first evaluation also carries what is done once only, so it foretells nothing.
    known = share_done if share_done is not None else share * (event.evaluation > 1)
    seeds = ", ".join(map(str, event.seeds))
    words = [
        f"Evaluation {event.evaluation} of {event.total}",
        f"t = {event.timestep}",
        f"seed {seeds}",
    ]
    if 0 < known < 1:
        words.append(f"about {duration(elapsed * (1 - known) / known)} left")
    text = " · ".join(words) + (f" · {done}" if done else "")
    return _bar(share, text)


def decoding(event: Decoded, done: str) -> str:
    """A bar and a line for a run that has come to `event`, with what is there in words."""
    text = f"Decoded {event.number} of {event.total}"
    return _bar(event.number / event.total, f"{text} · {done}" if done else text)


def waiting() -> str:
    """The bar of a run that has not begun."""
    return _bar(0, "Waiting for the model")


def _bar(share: float, text: str) -> str:
    percent = f"{100 * share:.1f}"
    return (
        f'<div class="run"><div class="bar" role="progressbar" aria-valuemin="0" '
        f'aria-valuemax="100" aria-valuenow="{percent}" aria-label="Progress">'
        f'<div style="width:{percent}%"></div></div>'
        f'<p class="line" aria-live="polite">{escape(text)}</p></div>'
    )


def duration(seconds: float) -> str:
    """Seconds as people say them."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{math.ceil(seconds / 60)} min"


def command_line(source: str, config: SamplingConfig, seed: int, model: str) -> str:
    """The command that makes a result again."""
    flags = [
        f"--{name.replace('_', '-')} {shlex.quote(str(value))}"
        for name, value in _chosen(config).items()
    ]
    words = ["python -m ccsr upscale", shlex.quote(source), "--output results"]
    words += [f"--model {shlex.quote(model)}"] if model != COMPACT else []
    words += [f"--seed {seed}"] if seed != DEFAULT_SEED else []
    return " ".join([*words, *flags])


def python_code(source: str, config: SamplingConfig, seed: int, model: str) -> str:
    """The Python that makes a result again."""
    chosen = ", ".join(f"{name}={value!r}" for name, value in _chosen(config).items())
    return (
        "from ccsr import SamplingConfig, load_engine, load_picture, save_png\n\n"
        f"pipeline = load_engine({model!r}).pipeline({config.variant!r})\n"
        f"result = pipeline(load_picture({source!r}), SamplingConfig({chosen}), seeds=({seed},))\n"
        'save_png("result.png", result.pictures[0])'
    )


def _chosen(config: SamplingConfig) -> dict[str, Any]:
    """The fields that differ from their defaults."""
    default = dataclasses.asdict(SamplingConfig())
    return {k: v for k, v in dataclasses.asdict(config).items() if v != default[k]}


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
    """What stands where a result will be."""
    return f'<div class="hint"><p>{escape(title)}</p><p>{escape(text)}</p></div>'


def curve(values: Sequence[float]) -> str:
    """L-STD over the first 2, 3, ... seeds as a line, drawn from `values` over 1, 2, ... seeds."""
    shown = list(values[1:])
    if not shown:
        return ""
    width, height, left, top = 320, 96, 44, 10
    highest = max(max(shown), 1e-9)
    across = (width - left - 12) / max(len(shown) - 1, 1)
    points = [
        (left + index * across, top + (1 - value / highest) * (height - top))
        for index, value in enumerate(shown)
    ]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    dots = "".join(
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.6"><title>{n} seeds: {value:.5f}</title></circle>'
        for n, ((x, y), value) in enumerate(zip(points, shown, strict=True), start=2)
    )
    last = len(shown) + 1
    ends = f'<text x="{left}" y="{height + 16}" text-anchor="middle">2</text>'
    if last > 2:
        ends += (
            f'<text x="{points[-1][0]:.1f}" y="{height + 16}" text-anchor="middle">{last}</text>'
        )
    middle = (left + width - 12) / 2
    return (
        f'<figure class="curve"><svg viewBox="0 0 {width} {height + 22}" role="img" '
        f'aria-label="L-STD over {last} seeds: {shown[-1]:.4f}">'
        f'<line x1="{left}" y1="{height}" x2="{width - 12}" y2="{height}" class="axis"/>'
        f'<line x1="{left}" y1="{top}" x2="{width - 12}" y2="{top}" class="grid"/>'
        f'<text x="{left - 6}" y="{top + 4}" text-anchor="end">{highest:.4f}</text>'
        f'<text x="{left - 6}" y="{height + 4}" text-anchor="end">0</text>'
        f'<polyline points="{path}"/>{dots}{ends}'
        f'<text x="{middle}" y="{height + 16}" text-anchor="middle">number of seeds</text>'
        "</svg></figure>"
    )


def table(heads: Sequence[str], rows: Sequence[tuple[str, Sequence[float]]]) -> str:
    """A table of numbers; each row has a name."""
    head = "".join(f'<th scope="col">{escape(text)}</th>' for text in heads)
    body = "".join(
        f'<tr><th scope="row">{escape(name)}</th>'
        + "".join(f"<td>{value:.4f}</td>" for value in values)
        + "</tr>"
        for name, values in rows
    )
    return (
        f'<div class="scores"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )
