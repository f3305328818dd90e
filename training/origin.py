"""The model that training starts from: one of CCSR, or Stable Diffusion 2.1."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from ccsr.config import SamplingConfig, Variant
from ccsr.conversion.convert import write_components
from ccsr.conversion.sd21 import open_sd21
from ccsr.inference.hub import (
    MODEL_INDEX,
    PIPELINE_CLASS,
    Component,
    component_of,
    from_hub,
    json_object,
)
from ccsr.inference.weights import read_weights
from ccsr.models.prompt_embeds import EmptyPrompt
from ccsr.whole_file import whole_folder
from training.fingerprint import ensure_fingerprint

FILES = ("*.json", "*diffusion_pytorch_model*.safetensors", "text_encoder/model*.safetensors")
"""What is fetched from the hub: networks alone, not the files that hold all of them once more."""
VARIANTS_MADE: dict[str, Variant] = {
    "autoencoder": "v2",
    "uniform": "v1",
    "stage1": "ccsr",
    "stage2": "ccsr",
}
"""Training step -> the variant whose networks it makes."""


@dataclass(frozen=True)
class Origin:
    """Networks that training starts from, in a folder in diffusers layout."""

    folder: Path

    @property
    def is_model(self) -> bool:
        """Whether its networks are trained, and so stand for steps that are not run."""
        return (self.folder / MODEL_INDEX).is_file()

    def networks_of(self, step: str) -> Path | None:
        """Folder of the networks that a training step exports; None if it does not have them."""
        if not self.is_model:
            return self.folder / "vae" if step == "autoencoder" else None
        part = "vae" if step in ("autoencoder", "stage2") else "unet"
        component = component_of(self.folder, VARIANTS_MADE[step], part)
        if not component.weights():
            return None
        return component.folder if part == "vae" else component.folder.parent

    def weights_of(self, part: str, variant: Variant = "ccsr") -> dict[str, torch.Tensor]:
        """The weights of one network."""
        component = Component(self.folder / part)
        if self.is_model:
            component = component_of(self.folder, variant, part)
        return {k: w for file in component.weights() for k, w in read_weights(file).items()}

    def hash_of(self, parts: Sequence[str], variant: Variant = "ccsr") -> str:
        """Hash of the weights of some networks."""
        total = hashlib.sha256()
        for part in parts:
            for name, x in sorted(self.weights_of(part, variant).items()):
                total.update(name.encode())
                total.update(x.contiguous().flatten().view(torch.uint8).numpy().tobytes())
        return total.hexdigest()

    @property
    def num_steps(self) -> int:
        """The size S of the grid that it samples with by default."""
        index = json_object(self.folder / MODEL_INDEX) if self.is_model else {}
        return index.get("num_steps", SamplingConfig().num_steps)

    def empty_prompt(self) -> EmptyPrompt | None:
        """Embeddings of the empty prompt; None for a UNet without cross-attention."""
        folder = self.folder / "empty_prompt"
        return EmptyPrompt.from_pretrained(folder) if folder.is_dir() else None


def find_origin(source: str, run: Path) -> Origin:
    """The origin that a folder or a repository of the hub is.

    Networks of Stable Diffusion are converted once, to the subfolder "start" of the run.

    Args:
        source: A model folder of CCSR, a folder of Stable Diffusion 2.1 in diffusers layout, or a
            repository of the hub ("owner/name" or "owner/name@revision") with one of them.
        run: The run folder.

    Raises:
        InputError: If it is neither, or `run` has the start of another one.
    """
    folder = Path(source).expanduser()
    if not folder.is_dir():
        folder = from_hub(source, FILES)
    index = folder / MODEL_INDEX
    if index.is_file() and json_object(index).get("_class_name") == PIPELINE_CLASS:
        return Origin(folder)
    start = run / "start"
    if not start.exists():
        plan, weights = open_sd21(folder)
        with whole_folder(start) as part:
            write_components(plan, weights, part, dtype=torch.float32)
            ensure_fingerprint(part, {"start": source})
    ensure_fingerprint(start, {"start": source})
    return Origin(start)
