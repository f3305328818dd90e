"""Command line: `python -m ccsr upscale`, `seeds`, `sweep`, `evaluate`, `convert`, `doctor`.

Only its options are here, so that help and refusals come at once; `ccsr.commands` does the work.
"""

import argparse
import io
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from ccsr.config import (
    AGREEMENT,
    COMPACT,
    DEFAULT_NUM_SEEDS,
    DEFAULT_SEED,
    DEFAULT_SWEEP_SEEDS,
    DEFAULT_T_MAXS,
    DEFAULT_T_MINS,
    REFERENCE_HELP,
    SEED,
    EvaluationConfig,
    LoadingConfig,
    SamplingConfig,
)
from ccsr.option import Config, Option, field_names, option, plain, shown

C = TypeVar("C", bound=Config)


def read_options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The options of a command; ends the program if they are wrong, or ask for help."""
    for stream in (sys.stdout, sys.stderr):
        # Names that the terminal cannot show are shown by their codes.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    return parser().parse_args(arguments)


def parser() -> argparse.ArgumentParser:
    """All commands and their options, with the defaults and help texts of `SamplingConfig`."""
    top = argparse.ArgumentParser(prog="python -m ccsr", description="Stable super-resolution.")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_upscale(commands.add_parser("upscale", help="upscale pictures"))
    _add_seeds(commands.add_parser("seeds", help="measure how much results vary over seeds"))
    _add_sweep(commands.add_parser("sweep", help="compare settings of t_max and t_min"))
    _add_evaluate(commands.add_parser("evaluate", help="compare methods on test sets"))
    _add_convert(commands.add_parser("convert", help="make a model of the authors' weights"))
    doctor = commands.add_parser("doctor", help="test the installation and the model; prints what "
                                 "a report of a fault needs")  # fmt: skip
    add_model(doctor, COMPACT)
    return top


def _add_upscale(command: argparse.ArgumentParser) -> None:
    command.add_argument("inputs", nargs="+", type=Path, metavar="INPUT",
                         help="pictures, or folders of pictures")  # fmt: skip
    _add_common(command)
    _add_option(command, SEED)
    command.add_argument("--recursive", action="store_true",
                         help="take the pictures in subfolders too; results are in subfolders of "
                         "the same names")  # fmt: skip
    command.add_argument("--metadata", action=argparse.BooleanOptionalAction, default=True,
                         help="keep the date, camera, copyright and DPI that an input states. "
                         "Default: yes")  # fmt: skip


def _add_seeds(command: argparse.ArgumentParser) -> None:
    _add_input(command, DEFAULT_NUM_SEEDS)
    _add_common(command)
    command.add_argument("--agreement", type=AGREEMENT.from_text, metavar="LEVELS",
                         help=_text(AGREEMENT.help, None))  # fmt: skip


def _add_sweep(command: argparse.ArgumentParser) -> None:
    _add_input(command, DEFAULT_SWEEP_SEEDS)
    _add_common(command, without=("t_max", "t_min"))
    for name, values in (("t_max", DEFAULT_T_MAXS), ("t_min", DEFAULT_T_MINS)):
        swept = option(SamplingConfig, name)
        help = f"{swept.help} Several, with commas between."
        command.add_argument(swept.flag, dest=f"{name}s", type=_fractions, default=values,
                             metavar="LIST",
                             help=_text(help, ",".join(map(str, values))))  # fmt: skip


def _add_convert(command: argparse.ArgumentParser) -> None:
    command.add_argument("source", type=Path, metavar="SOURCE",
                         help="the authors' .ckpt or .safetensors of CCSR v1, or the folder of "
                         "CCSR v2 with controlnet, vae and, there or in "
                         "stable-diffusion-2-1-base, unet and text_encoder")  # fmt: skip
    command.add_argument("output", type=Path, metavar="OUTPUT",
                         help="model folder to make; --model OUTPUT takes it")  # fmt: skip
    command.add_argument("--keep-text-encoder", action="store_true",
                         help="write the text encoder too, for prompts; CCSR as published needs "
                         "its states of the empty prompt only, which are always "
                         "written")  # fmt: skip
    command.add_argument("--tokenizer", metavar="NAME",
                         help="with --keep-text-encoder: folder or hub name of CLIP's tokenizer, "
                         "if SOURCE has none; by default it is fetched from the hub")  # fmt: skip


def _add_evaluate(command: argparse.ArgumentParser) -> None:
    command.add_argument("--hr", type=Path, nargs="+", required=True, metavar="DIR",
                         help="folders of true pictures")  # fmt: skip
    command.add_argument("--lr", type=Path, metavar="DIR",
                         help="folder of their LR, under the same names; by default LR is made by "
                         "--degradation")  # fmt: skip
    command.add_argument("--output", type=Path, required=True, metavar="DIR",
                         help="folder to write into; the same command goes on with what is "
                         "there")  # fmt: skip
    command.add_argument("--dry-run", action="store_true",
                         help="only say how much work it is")  # fmt: skip
    for flag, value, help in (
        ("--restored", "NAME=DIR", "results of another program: one picture for each of HR, or "
         "such folders called sample0, sample1, ... for each seed"),
        ("--weights", "NAME=FILE", "a network that spandrel reads"),
        ("--diffusers", "NAME=MODEL", "a pipeline of diffusers that enlarges pictures, from a "
         "folder or the hub"),
        ("--published", "[TEST SET=]NAME", "show the paper's rows of its test set NAME (RealSR, "
         "DRealSR, DIV2K-StableSR, DIV2K-BSRGAN, DIV2K, ImageNet), marked as published"),
    ):  # fmt: skip
        command.add_argument(flag, action="append", default=[], metavar=value,
                             help=f"{help}; can be given several times")  # fmt: skip
    add_fields(command, EvaluationConfig)
    add_model(command, COMPACT)


def _add_input(command: argparse.ArgumentParser, num_seeds: int) -> None:
    """Options of the commands that run one picture with several seeds."""
    command.add_argument("input", type=Path, metavar="INPUT", help="a picture")
    default = f"{DEFAULT_SEED}-{DEFAULT_SEED + num_seeds - 1}"
    command.add_argument("--seeds", default=default, metavar="LIST",
                         help=_text('Seeds such as "0-9" or "3,5,8".', default))  # fmt: skip
    command.add_argument("--reference", type=Path, metavar="HR", help=REFERENCE_HELP)


def _add_common(command: argparse.ArgumentParser, without: Sequence[str] = ()) -> None:
    command.add_argument("--output", type=Path, required=True, metavar="DIR",
                         help="folder to write into; made if it is not there")  # fmt: skip
    command.add_argument("--overwrite", action="store_true", help="replace files that are there")
    add_model(command, COMPACT)
    add_fields(command, SamplingConfig, without)


def add_model(command: argparse.ArgumentParser, default: str) -> None:
    """The option --model, and those of `LoadingConfig`."""
    command.add_argument("--model", default=default,
                         help=_text(f"{COMPACT} (ships with the product), a model folder, or "
                                    "owner/name on the Hugging Face hub, or owner/name@revision.",
                                    default))  # fmt: skip
    add_fields(command, LoadingConfig)


def config_of(config_type: type[C], options: argparse.Namespace, base: C | None = None) -> C:
    """The config that the options of its fields make.

    Args:
        config_type: Its class.
        options: Those of a command.
        base: Has the fields that are no options, or were not given and have no default in the
            command; None: the default config.

    Raises:
        InputError: If one is out of its range, or they do not fit together.
    """
    given = vars(options)
    known = {n: given[n] for n in field_names(config_type) if n in given}
    return config_type(**known) if base is None else base.replace(**known)


def add_fields(
    command: argparse.ArgumentParser, config_type: type[Config], without: Sequence[str] = ()
) -> None:
    """An option for every field of a config class."""
    for name in field_names(config_type):
        if name not in without:
            _add_option(command, option(config_type, name))


def _add_option(command: argparse.ArgumentParser, about: Option) -> None:
    """An option whose value is checked by the config that it becomes a field of."""
    kind: dict[str, Any] = {"type": about.from_text}
    if about.value_type is bool:
        kind = {"action": argparse.BooleanOptionalAction}
    elif about.choices:
        kind["choices"] = about.choices
    elif about.minimum is not None and about.maximum is not None:
        kind["metavar"] = f"{plain(about.minimum)}..{plain(about.maximum)}"
    kind["default"] = argparse.SUPPRESS if about.has_default_of_model else about.default
    command.add_argument(about.flag, help=_text(about.help, about.shown_default), **kind)


def _text(help: str, default: object) -> str:
    # argparse formats help with %, so a literal one is doubled.
    shown = help if default is None else f"{help} Default: {default}"
    return shown.replace("%", "%%")


def _fractions(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f'fractions look like "0.5,0.6667", got {shown(text)}'
        ) from error
