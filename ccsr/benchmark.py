"""Where the time goes: python -m ccsr.benchmark.

Prints the time of one picture after loading, with the share of each part, and what other jobs of
the page cost as multiples of it. Jobs alternate, so that a busy machine slows all of them alike.
"""

import argparse
import dataclasses
import statistics
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager

import numpy as np
from torch import nn

from ccsr.config import (
    COMPACT,
    DEFAULT_SWEEP_SEEDS,
    DEFAULT_T_MAXS,
    DEFAULT_T_MINS,
    LoadingConfig,
    SamplingConfig,
)
from ccsr.images import Picture, picture_from_array
from ccsr.pipeline import CCSRPipeline, target_size
from ccsr.schedule import path_for
from ccsr.tradeoff import grid, longest_of, sweep
from ccsr.weights import ModelEngine, load_engine

PARTS: tuple[str, ...] = ("encode", "condition", "network", "decode", "rest")
NUM_SEEDS = 10


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m ccsr.benchmark", description=__doc__)
    parser.add_argument("--model", default=COMPACT, help="default: %(default)s")
    parser.add_argument("--device", default="auto", help="default: %(default)s")
    parser.add_argument("--side", type=int, default=128, help="of the input; default: %(default)s")
    parser.add_argument("--repeats", type=int, default=5, help="default: %(default)s")
    options = parser.parse_args(arguments)
    engine = load_engine(options.model, LoadingConfig(device=options.device))
    pipeline = engine.pipeline("ccsr")
    noise = np.random.default_rng(0).integers(0, 256, (options.side, options.side, 3), np.uint8)
    picture, config = picture_from_array(noise), SamplingConfig()
    pipeline(picture, config)  # the first run pays for setting up

    runs: list[dict[str, float]] = []
    spent: dict[str, list[float]] = {}
    for _ in range(options.repeats):
        runs.append(parts_of_a_run(pipeline, picture, config))
        for name, seconds in jobs(engine, picture, config).items():
            spent.setdefault(name, []).append(seconds / sum(runs[-1].values()))

    evaluations = path_for(config).num_evaluations
    print(f"{picture.size} -> {target_size(picture, config)}, {evaluations} network evaluations, "
          f"{engine.info.device} {engine.info.dtype}, median of {options.repeats}")  # fmt: skip
    total = statistics.median(sum(run.values()) for run in runs)
    for part in PARTS:
        seconds = statistics.median(run[part] for run in runs)
        print(f"{part:9} {seconds:7.3f} s {100 * seconds / total:4.0f} %")
    print(f"{'total':9} {total:7.3f} s\n\nas multiples of one run:")
    for name, ratios in spent.items():
        print(f"{name:45} {statistics.median(ratios):6.2f}")


def jobs(engine: ModelEngine, picture: Picture, config: SamplingConfig) -> dict[str, float]:
    """Seconds of what the page does besides one run."""
    pipeline, seeds = engine.pipeline(config.variant), range(NUM_SEEDS)
    explorer = engine.explore(picture)
    list(explorer.run(config, 0))
    kept, longer = (dataclasses.replace(config, t_min=t_min) for t_min in (0.5, 0.2))
    configs = grid(config, DEFAULT_T_MAXS, DEFAULT_T_MINS)
    swept = engine.explore(picture), configs, range(DEFAULT_SWEEP_SEEDS), _unjudged
    return {
        f"{NUM_SEEDS} runs": _seconds(lambda: [pipeline(picture, config, (s,)) for s in seeds]),
        f"{NUM_SEEDS} seeds in one run": _seconds(lambda: pipeline(picture, config, seeds)),
        "t_min raised after a run": _seconds(lambda: list(explorer.run(kept, 0))),
        "t_min lowered to 0.2 after a run": _seconds(lambda: list(explorer.run(longer, 0))),
        f"{len(configs)} settings with {DEFAULT_SWEEP_SEEDS} seeds": _seconds(
            lambda: list(sweep(*swept))
        ),
        "the longest run of that sweep": _seconds(
            lambda: pipeline(picture, longest_of(configs), (0,))
        ),
    }


def _unjudged(rgb: np.ndarray) -> dict[str, float]:
    return {}


def parts_of_a_run(
    pipeline: CCSRPipeline, picture: Picture, config: SamplingConfig
) -> dict[str, float]:
    """Seconds that one run spends in each of PARTS."""
    spent = dict.fromkeys(PARTS, 0.0)
    calls = [
        (pipeline.vae, "encode", "encode"),
        (pipeline.controlnet, "condition_features", "condition"),
        (pipeline.controlnet, "forward", "network"),
        (pipeline.unet, "forward", "network"),
        (pipeline.vae, "decode", "decode"),
    ]
    with ExitStack() as stack:
        for network, method, part in calls:
            stack.enter_context(_timed(network, method, part, spent))
        total = _seconds(lambda: pipeline(picture, config))
    spent["rest"] = total - sum(spent.values())
    return spent


@contextmanager
def _timed(network: nn.Module, method: str, part: str, spent: dict[str, float]) -> Generator[None]:
    """Add the time inside a method of a network to its part."""
    original: Callable[..., object] = getattr(network, method)

    def timed(*args: object, **kwargs: object) -> object:
        started = time.perf_counter()
        result = original(*args, **kwargs)
        spent[part] += time.perf_counter() - started
        return result

    # On the instance, in front of the method of its class.
    setattr(network, method, timed)
    try:
        yield
    finally:
        delattr(network, method)


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
