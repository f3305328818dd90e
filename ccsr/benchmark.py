"""Where the time goes: python -m ccsr.benchmark.

Prints the time of one picture after loading, with the share of each part, and what other jobs of
the page cost as multiples of it. Jobs alternate, so that a busy machine slows all of them alike.
"""

import argparse
import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

import numpy as np
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import nn

from ccsr.cli import add_model, config_of
from ccsr.config import (
    COMPACT,
    DEFAULT_SWEEP_SEEDS,
    DEFAULT_T_MAXS,
    DEFAULT_T_MINS,
    LoadingConfig,
    SamplingConfig,
)
from ccsr.diffusion.scheduler import NonUniformScheduler
from ccsr.diffusion.timesteps import timestep_plan
from ccsr.evaluation.tradeoff import grid, longest_of, sweep
from ccsr.images.picture import Picture, noise_picture
from ccsr.inference.engine import ModelEngine, load_engine
from ccsr.inference.memory import keep_freed, peak_memory
from ccsr.inference.pipeline import CCSRPipeline
from ccsr.inference.sizes import target_size
from ccsr.models.controlnet import LatentControlNetModel
from ccsr.models.prompt_embeds import EmptyPrompt
from ccsr.models.sd21 import (
    TEXT_WIDTH,
    UNET_CHANNELS,
    VAE_CHANNELS,
    WORKING_SIZE,
    unet_config,
    vae_config,
)
from ccsr.program import exit_code, positive_int, program

PARTS: tuple[str, ...] = ("encode", "condition", "network", "decode", "rest")
NUM_SEEDS = 10
LARGE_SIDES = (256, 1024)
"""Of inputs, to compare what small and large results take."""
RANDOM_STD = 0.02
"""Of random weights: small enough for finite activations in every number format."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; exit code 0, or 2 after bad input."""
    keep_freed()
    parser = program("python -m ccsr.benchmark", __doc__)
    add_model(parser, COMPACT)
    parser.add_argument(
        "--side", type=positive_int, default=128, help="of the input; default: %(default)s"
    )
    parser.add_argument("--repeats", type=positive_int, default=5, help="default: %(default)s")
    others = parser.add_mutually_exclusive_group()
    others.add_argument("--full-size", action="store_true", help="instead: parameters, memory and "
                        "time of one run at full size, with random weights, in float32 and "
                        "bfloat16 on the CPU; takes minutes and 8 GB")  # fmt: skip
    others.add_argument("--large", action="store_true", help="instead: memory and time of one run "
                        "that makes 1024x1024 pixels, and of one that makes 4096x4096, on the "
                        "CPU")  # fmt: skip
    options = parser.parse_args(arguments)
    return exit_code(parser.prog, lambda: measure(options))


def measure(options: argparse.Namespace) -> None:
    """Print what the options ask for."""
    if options.full_size:
        for dtype in ("float32", "bfloat16"):
            _in_own_process(print_full_size, dtype, options.side)
    elif options.large:
        for side in LARGE_SIDES:
            _in_own_process(print_large, options.model, side)
    else:
        print_jobs(load_engine(options.model, config_of(LoadingConfig, options)), options)


def print_jobs(engine: ModelEngine, options: argparse.Namespace) -> None:
    """Print the time of one run by its parts, and that of other jobs as multiples of it."""
    pipeline = engine.pipeline("ccsr")
    picture, config = noise_picture(options.side), pipeline.defaults
    pipeline.upscale(picture, config)  # the first run pays for setting up

    runs: list[dict[str, float]] = []
    spent: dict[str, list[float]] = {}
    for _ in range(options.repeats):
        runs.append(parts_of_a_run(pipeline, picture, config))
        for name, seconds in jobs(engine, picture, config).items():
            spent.setdefault(name, []).append(seconds / sum(runs[-1].values()))

    print(f"{engine.info.device} {engine.info.dtype}, median of {options.repeats}")
    print_parts(picture, config, runs)
    print("\nas multiples of one run:")
    for name, ratios in spent.items():
        print(f"{name:45} {statistics.median(ratios):6.2f}")


def print_parts(
    picture: Picture, config: SamplingConfig, runs: Sequence[Mapping[str, float]]
) -> None:
    """Print how long each part takes, the median of runs."""
    evaluations = timestep_plan(config).num_evaluations
    print(f"{picture.size} -> {target_size(picture, config)}, {evaluations} network evaluations")
    total = statistics.median(sum(run.values()) for run in runs)
    for part in PARTS:
        seconds = statistics.median(run[part] for run in runs)
        print(f"{part:9} {seconds:7.3f} s {100 * seconds / total:4.0f} %")
    print(f"{'total':9} {total:7.3f} s")


def print_full_size(dtype: str, side: int) -> None:
    """Print what one run at full size costs in this process."""
    pipeline = random_pipeline(getattr(torch, dtype))
    count = pipeline.num_parameters
    picture, config = noise_picture(side), pipeline.defaults
    run = parts_of_a_run(pipeline, picture, config)
    size = count * pipeline.unet.dtype.itemsize
    print(f"full size, cpu {dtype}: {count / 1e6:,.0f} M parameters loaded ({size / 1e9:.1f} GB), "
          f"peak memory {peak_memory() / 1e9:.1f} GB")  # fmt: skip
    print_parts(picture, config, [run])


def random_pipeline(
    dtype: torch.dtype, channels: int = UNET_CHANNELS, vae_channels: int = VAE_CHANNELS
) -> CCSRPipeline:
    """A full-size pipeline with random weights, to measure its cost without the real ones.

    Args:
        dtype: Number format of the weights.
        channels: Of UNet and ControlNet, at the finest resolution.
        vae_channels: Of the autoencoder, at the finest resolution.
    """
    with torch.device("meta"):
        unet = UNet2DConditionModel(**unet_config(channels))
        controlnet = LatentControlNetModel.from_unet(
            unet, conditioning_channels=4, load_weights_from_unet=False
        )
        vae = AutoencoderKL(**vae_config(vae_channels))
    prompt = EmptyPrompt(width=TEXT_WIDTH)
    for network in (unet, controlnet, vae, prompt):
        _fill(network, dtype)
    pipeline = CCSRPipeline(
        unet, controlnet, vae, NonUniformScheduler(), prompt, working_size=WORKING_SIZE
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def _fill(network: nn.Module, dtype: torch.dtype) -> None:
    """Give a network, which may be on the meta device, random weights on the CPU."""
    # Not diffusers' own `to`, which warns that a number format is best chosen at loading.
    nn.Module.to(network, dtype)
    network.to_empty(device="cpu").eval().requires_grad_(False)
    for weight in network.parameters():
        weight.normal_(std=RANDOM_STD)


def print_large(model: str, side: int) -> None:
    """Print what one run of a square input costs in this process, loading included in memory."""
    keep_freed()
    engine = load_engine(model, LoadingConfig(device="cpu"))
    pipeline = engine.pipeline("ccsr")
    picture, config = noise_picture(side), pipeline.defaults
    seconds = _seconds(lambda: pipeline.upscale(picture, config))
    size = target_size(picture, config)
    each = seconds / (size.height * size.width / 1e6)
    print(f"{size}, cpu {engine.info.dtype}: peak memory {peak_memory() / 1e9:.2f} GB, "
          f"{seconds:.1f} s, {each:.2f} s a megapixel")  # fmt: skip


def _in_own_process(work: Callable[..., None], *arguments: object) -> None:
    """Call `work` in a new process: peak memory is counted from the start of a process."""
    process = multiprocessing.get_context("spawn").Process(target=work, args=arguments)
    process.start()
    process.join()
    if process.exitcode != 0:
        raise SystemExit(f"{work.__name__} ended with {process.exitcode}; was memory short?")


def jobs(engine: ModelEngine, picture: Picture, config: SamplingConfig) -> dict[str, float]:
    """Seconds of what the page does besides one run."""
    upscale, seeds = engine.pipeline(config.variant).upscale, range(NUM_SEEDS)
    session = engine.session(picture)
    list(session.run(config, 0))
    kept, longer = (config.replace(t_min=t_min) for t_min in (0.5, 0.2))
    configs = grid(config, DEFAULT_T_MAXS, DEFAULT_T_MINS)
    seeds_swept, loop_start = range(DEFAULT_SWEEP_SEEDS), engine.info.loop_start
    swept = engine.session(picture), configs, seeds_swept, _unscored, loop_start
    return {
        f"{NUM_SEEDS} runs": _seconds(lambda: [upscale(picture, config, (s,)) for s in seeds]),
        f"{NUM_SEEDS} seeds in one run": _seconds(lambda: upscale(picture, config, seeds)),
        "t_min raised after a run": _seconds(lambda: list(session.run(kept, 0))),
        "t_min lowered to 0.2 after a run": _seconds(lambda: list(session.run(longer, 0))),
        f"{len(configs)} settings with {DEFAULT_SWEEP_SEEDS} seeds": _seconds(
            lambda: list(sweep(*swept))
        ),
        "the longest run of that sweep": _seconds(
            lambda: upscale(picture, longest_of(configs), (0,))
        ),
    }


def _unscored(rgb: np.ndarray) -> dict[str, float]:
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
        total = _seconds(lambda: pipeline.upscale(picture, config))
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
    sys.exit(main())
