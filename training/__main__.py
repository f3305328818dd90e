"""Train a model on a folder of pictures: python -m training STEP..."""

import argparse
import sys
from pathlib import Path

import torch
from tqdm import tqdm

from ccsr.option import field_names, option
from ccsr.whole_file import lacks_space
from training.config import RECIPES, MachineConfig, Recipe, load_recipe, recipe_path
from training.loop import TrainStep
from training.origin import find_origin
from training.processes import join_processes, locked
from training.run import Run
from training.steps import STEPS, require_steps, run_step, steps_of


def main(arguments: list[str] | None = None) -> int:
    """Run the given steps in order; exit code 0, 2 after bad input, 130 after Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__)
    parser.add_argument("steps", nargs="+", choices=(*STEPS, "all"), metavar="STEP",
                        help=f"all, or some of: {', '.join(STEPS)}")  # fmt: skip
    parser.add_argument("--data", type=Path, required=True, help="folder of pictures")
    parser.add_argument("--run-folder", type=Path, required=True, metavar="RUN",
                        help="folder that training writes to")  # fmt: skip
    parser.add_argument("--recipe", type=recipe_path, default="compact", help="TOML file, or one "
                        "that ships: "
                        f"{', '.join(sorted(path.stem for path in RECIPES.glob('*.toml')))}; "
                        "default: %(default)s")  # fmt: skip
    parser.add_argument("--init", metavar="MODEL", help="folder, or repository of the hub, whose "
                        "networks training starts from, as far as shapes agree: of a model, which "
                        "also stands for steps that are not run, or of Stable Diffusion "
                        "2.1")  # fmt: skip
    parser.add_argument("--output", type=Path, help="for export; default: RUN/model")
    parser.add_argument("--dry-run", action="store_true", help="print the recipe and stop")
    for name in field_names(MachineConfig):
        about = option(MachineConfig, name)
        parser.add_argument(about.flag, type=about.from_text, default=about.default,
                            help=about.help)  # fmt: skip
    options = parser.parse_args(arguments)
    try:
        recipe = load_recipe(options.recipe)
        if options.dry_run:
            print(describe(recipe))
            return 0
        steps = steps_of(recipe) if "all" in options.steps else options.steps
        require_steps(recipe, steps)
        machine = MachineConfig(**{n: getattr(options, n) for n in field_names(MachineConfig)})
        if machine.threads is not None:
            torch.set_num_threads(machine.threads)
        processes = join_processes()
        with locked(options.run_folder):
            with processes.main_process_first():
                origin = find_origin(options.init, options.run_folder) if options.init else None
            run = Run(recipe, options.data, options.run_folder, origin, machine)
            for step in steps:
                show(run, step, options.output or run.folder / "model")
    except Exception as error:
        message = str(error)
        if lacks_space(error):
            message = "the disk is full; free some space, and the same command continues from here"
        elif not isinstance(error, ValueError | OSError):
            raise
        print(f"error: {message}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; the same command continues from here", file=sys.stderr)
        return 130
    return 0


def describe(recipe: Recipe) -> str:
    """The whole recipe, defaults included, as JSON."""
    return recipe.model_dump_json(indent=2)


def show(run: Run, step: str, output: Path) -> None:
    """Run a step with a progress bar."""
    with tqdm(desc=step, unit="", disable=not join_processes().is_main_process) as bar:
        for event in run_step(run, step, output):
            if isinstance(event, TrainStep):
                bar.set_postfix({k: f"{v:.4f}" for k, v in event.losses.items()}, refresh=False)
                bar.update(event.step - bar.n)
                if event.branch_shares:
                    bar.write(weakest_block(event), file=sys.stderr)
            else:
                bar.total = event.total
                bar.update(event.done - bar.n)


def weakest_block(event: TrainStep) -> str:
    """A sentence on the residual block that adds least to its stream."""
    name, share = min(event.branch_shares.items(), key=lambda item: item[1])
    return f"step {event.step}: of the residual blocks {name} adds least, {share:.1%} of its stream"


if __name__ == "__main__":
    sys.exit(main())
