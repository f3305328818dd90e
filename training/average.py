"""Average the weights of two models of one architecture.

Interpolated weights of a model before and after fine-tuning can keep more of the first model's
quality at the same gain: https://arxiv.org/abs/2109.01903.

    python -m training.average BEFORE AFTER OUTPUT --share 0.6
"""

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file

from ccsr.errors import InputError
from ccsr.inference.weights import read_weights, write_checksums
from ccsr.program import exit_code, program
from ccsr.whole_file import whole_folder


def average(before: Path, after: Path, output: Path, share: float) -> None:
    """Write a model with the weights (1 - share) * before + share * after.

    Args:
        before: Model folder.
        after: Model folder with the same weight files; configs are copied from it.
        output: New folder.
        share: In [0,1].

    Raises:
        InputError: If the share is out of range, or weight files or their shapes differ.
        FileExistsError: If `output` exists.
    """
    if not 0 <= share <= 1:
        raise InputError(f"share must be from 0 to 1, got {share}")
    found = [{p.relative_to(m) for p in m.rglob("*.safetensors")} for m in (before, after)]
    if found[0] != found[1] or not found[0]:
        names = ", ".join(sorted(map(str, found[0] ^ found[1]))) or "no weights"
        raise InputError(f"{before} and {after} do not hold the same files: {names}")
    averaged = {
        name: _between(read_weights(before / name), read_weights(after / name), share, name)
        for name in sorted(found[0])
    }
    with whole_folder(output) as folder:
        shutil.copytree(after, folder, dirs_exist_ok=True)
        for name, weights in averaged.items():
            save_file(weights, folder / name, metadata={"format": "pt"})
        write_checksums(folder)


def _between(
    before: dict[str, torch.Tensor], after: dict[str, torch.Tensor], share: float, name: Path
) -> dict[str, torch.Tensor]:
    """Interpolated weights of one file, in the dtype of `after`."""
    shapes = [{k: w.shape for k, w in weights.items()} for weights in (before, after)]
    if shapes[0] != shapes[1]:
        raise InputError(f"{name}: the two models are of different architectures")
    return {
        key: torch.lerp(before[key].float(), weight.float(), share).to(weight.dtype)
        for key, weight in after.items()
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Average; the exit code is 0, or 2 after a bad input."""
    parser = program("python -m training.average", __doc__)
    parser.add_argument("before", type=Path, metavar="BEFORE", help="model folder")
    parser.add_argument("after", type=Path, metavar="AFTER", help="model folder")
    parser.add_argument("output", type=Path, metavar="OUTPUT", help="new folder")
    parser.add_argument("--share", type=float, required=True, help="weight of AFTER, from 0 to 1")
    options = parser.parse_args(arguments)
    return exit_code(
        parser.prog, lambda: average(options.before, options.after, options.output, options.share)
    )


if __name__ == "__main__":
    sys.exit(main())
