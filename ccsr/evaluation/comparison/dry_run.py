"""How much work a comparison is, before it is done."""

import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import numpy as np

from ccsr.evaluation.comparison.methods import Method, OurMethod, num_evaluations
from ccsr.evaluation.comparison.plan import Plan
from ccsr.evaluation.comparison.test_set import Sample, size_of
from ccsr.evaluation.comparison.timing import TIMED_SIDE
from ccsr.images.picture import noise_picture
from ccsr.inference.events import Progress


def dry_run(plan: Plan) -> str:
    """Pictures, jobs, network evaluations and time of a plan, as lines to read.

    Times are measured with one picture of 128x128 pixels, and taken to grow with the pixels.
    """
    scale, count = plan.request.config.scale, len(plan.samples)
    seeds = {method.name: len(method.seeds(plan.seeds)) for method in plan.methods}
    ours = [method for method in plan.methods if isinstance(method, OurMethod)]
    evaluations = _evaluations(plan, ours)
    sizes = [size_of(sample.hr_path) for sample in plan.samples]
    pixels = sum(size.height * size.width for size in sizes if size is not None)
    pictures = pixels / (TIMED_SIDE * scale) ** 2
    spent = sum(
        seeds[method.name] * _seconds(method, scale) for method in plan.methods if method.runs_here
    )
    spent -= _shared(plan, ours, scale)
    scoring = _scoring_seconds(plan, scale) * sum(seeds.values())
    total = timedelta(seconds=round(pictures * (spent + scoring)))
    return "\n".join(
        (
            f"{count} pictures, test sets: {len(plan.test_sets)}, methods: {len(plan.methods)}; "
            f"{count * sum(seeds.values())} jobs",
            f"{count * evaluations} network evaluations of the model",
            f"about {total} (h:mm:ss) of one process on {plan.device}",
        )
    )


def _evaluations(plan: Plan, ours: Sequence[OurMethod]) -> int:
    """Network evaluations of the model for one picture, chains shared."""
    if plan.engine is None:
        return 0
    configs = [method.setting.config for method in ours]
    return len(plan.seeds) * num_evaluations(configs, plan.engine.info.loop_start)


def _seconds(method: Method, scale: int) -> float:
    """Seconds of one picture, after one that pays for the set-up."""
    lr, seconds = noise_picture(TIMED_SIDE), 0.0
    for number in range(2):
        sample = Sample("timing", number, method.name, Path(), "bicubic", scale)
        started = time.perf_counter()
        method.restore(sample, lr, 0)
        seconds = time.perf_counter() - started
    return seconds


def _shared(plan: Plan, ours: Sequence[OurMethod], scale: int) -> float:
    """Seconds a picture that settings save by sharing chains."""
    if plan.engine is None:
        return 0.0
    loop_start = plan.engine.info.loop_start
    alone = sum(num_evaluations([method.setting.config], loop_start) for method in ours)
    together = num_evaluations([method.setting.config for method in ours], loop_start)
    saved = len(plan.seeds) * (alone - together)
    return saved * _evaluation_seconds(ours[0]) if saved else 0.0


def _evaluation_seconds(method: OurMethod) -> float:
    """Seconds of a network evaluation, the mean of a run without its first."""
    session = method.sessions.engine.session(noise_picture(TIMED_SIDE))
    times = [
        time.perf_counter()
        for event in session.run(method.setting.config, 0)
        if isinstance(event, Progress)
    ]
    return (times[-1] - times[0]) / max(len(times) - 1, 1)


def _scoring_seconds(plan: Plan, scale: int) -> float:
    side = TIMED_SIDE * scale
    pictures = np.random.default_rng(0).random((2, side, side, 3), np.float32)
    plan.scorer(*pictures)
    started = time.perf_counter()
    plan.scorer(*pictures)
    return time.perf_counter() - started
