"""Train a model on a folder of pictures: python -m training STEP..."""

import argparse
import logging
import signal
import sys
import tempfile
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import FrameType
from typing import NoReturn

import torch
from tqdm import tqdm

from ccsr.cli import config_of
from ccsr.errors import InputError, failure_of, print_tracebacks_if_asked
from ccsr.whole_file import lacks_space, remove_unfinished
from training.cli import parser
from training.config import MachineConfig, load_recipe
from training.dry_run import dry_run
from training.loop import TrainStep
from training.origin import find_origin
from training.processes import any_process, join_processes, locked
from training.run import Run
from training.sources import Source, source_of
from training.steps import (
    Event,
    Notice,
    require_checkpoints,
    require_steps,
    run_step,
    steps_of,
)

logger = logging.getLogger(__name__)


def main(arguments: list[str] | None = None) -> int:
    """Run the given steps in order; exit code 0, 2 after bad input, 130 after Ctrl-C or SIGTERM."""
    options = parser().parse_args(arguments)
    print_tracebacks_if_asked()
    try:
        with interruption() as asked:
            run_steps(options, asked)
    except Exception as error:  # users get a sentence, whatever it was
        logger.debug("training failed", exc_info=True)
        message = failure_of("training", error)
        if lacks_space(error):
            message = "the disk is full; free some space, and the same command continues from here"
        print(f"error: {message}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; the same command continues from here", file=sys.stderr)
        return 130
    return 0


@contextmanager
def interruption() -> Generator[Callable[[], bool]]:
    """A function that says whether SIGINT or SIGTERM has come; a second one ends at once.

    Within an optimiser step there is nothing to save, so a run ends between two. Schedulers send
    SIGTERM before they kill, and a shell has programs in the background ignore SIGINT.
    """
    asked: list[int] = []

    def ask(number: int, frame: FrameType | None) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)
        print("stopping after this step; once more stops at once", file=sys.stderr)

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def run_steps(options: argparse.Namespace, asked: Callable[[], bool]) -> None:
    """Do what a command line asks for, until it is asked to end.

    Raises:
        KeyboardInterrupt: If it was asked to end.
        InputError: If it, the recipe or a folder cannot be worked with.
        OSError: If a file cannot be read or written.
    """
    recipe = load_recipe(options.recipe)
    steps = steps_of(recipe) if "all" in options.steps else options.steps
    require_steps(recipe, steps)
    machine = config_of(MachineConfig, options)
    if machine.threads is not None:
        torch.set_num_threads(machine.threads)
    paired = [Source(hr, lr=lr) for hr, lr in options.paired]
    sources = (*map(source_of, options.data), *paired)
    if not sources:
        raise InputError("there are no pictures; give folders of them by --data or --paired")
    held_out = tuple(map(source_of, options.held_out))
    require_checkpoints(
        recipe, steps, options.run_folder, options.checkpoint, held_out=bool(held_out)
    )
    processes = join_processes()
    if options.dry_run:
        with tempfile.TemporaryDirectory() as folder:
            origin = find_origin(options.init, Path(folder)) if options.init else None
            run = Run(recipe, sources, options.run_folder, origin, machine, held_out)
            for text in dry_run(run, steps):
                print(text, end="\n\n")
        return
    with locked(options.run_folder):
        with processes.main_process_first():
            if processes.is_main_process:
                # The folder is locked: nobody is at work on what killed trainings left.
                remove_unfinished(options.run_folder, 0)
            origin = find_origin(options.init, options.run_folder) if options.init else None
        run = Run(
            recipe, sources, options.run_folder, origin, machine, held_out, options.checkpoint
        )
        for step in steps:
            with closing(run_step(run, step, options.output or run.folder / "model")) as events:
                for event in shown(step, events):
                    # Processes get the signal at different moments, and stop after the same step.
                    stops = any_process(asked()) if isinstance(event, TrainStep) else asked()
                    if stops:
                        raise KeyboardInterrupt


def shown(step: str, events: Iterable[Event]) -> Iterator[Event]:
    """The events of a step, with a progress bar, which the first of several processes shows."""
    hidden = not join_processes().is_main_process
    with tqdm(desc=step, unit="", disable=hidden) as bar:
        for event in events:
            if not hidden:
                show_event(bar, event)
            yield event


def show_event(bar: "tqdm[NoReturn]", event: Event) -> None:
    """One event of a step on its progress bar."""
    if isinstance(event, TrainStep):
        show_step(bar, event)
    elif isinstance(event, Notice):
        bar.write(event.text, file=sys.stderr)
    else:
        bar.total = event.total
        bar.update(event.done - bar.n)


def show_step(bar: "tqdm[NoReturn]", event: TrainStep) -> None:
    """Steps, time left, losses; and sentences on scores and residual blocks where there are any."""
    if bar.total is None:
        # The time left is by the steps of this call, not by those of an earlier one.
        bar.total, bar.initial, bar.n = event.total, event.step - 1, event.step - 1
    bar.set_postfix({k: f"{v:.4f}" for k, v in event.losses.items()}, refresh=False)
    bar.update(event.step - bar.n)
    if event.scores:
        scores = ", ".join(f"{name} {value:.4g}" for name, value in event.scores.items())
        bar.write(f"step {event.step}, held-out pictures: {scores}", file=sys.stderr)
    if event.branch_shares:
        bar.write(weakest_block(event), file=sys.stderr)


def weakest_block(event: TrainStep) -> str:
    """A sentence on the residual block that adds least to its stream."""
    name, share = min(event.branch_shares.items(), key=lambda item: item[1])
    return f"step {event.step}: of the residual blocks {name} adds least, {share:.1%} of its stream"


if __name__ == "__main__":
    sys.exit(main())
