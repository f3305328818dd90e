"""Where a model comes from: the compact one that ships, a folder, or the Hugging Face hub.

A model folder has the layout of diffusers. Its main components are those of variant "ccsr"; in
subfolders lie the components that other variants have of their own:

    model_index.json  pipeline.py  scheduler/  unet/  controlnet/  vae/
    v1/unet/  v1/controlnet/  v2/vae/
"""

import importlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from ccsr.config import COMPACT, VARIANTS, Variant
from ccsr.errors import InputError, reason_of
from ccsr.whole_file import write_whole

COMPACT_FOLDER = Path(__file__).resolve().parents[2] / "assets" / "compact"
MODEL_INDEX, PIPELINE_CLASS = "model_index.json", "CCSRPipeline"
NETWORKS = ("unet", "controlnet", "vae")
"""The components that every model has weights of."""
# Weights as safetensors only: pickles can run code when they are loaded.
HUB_FILES = ("*.json", "*.safetensors")

OWN_COMPONENTS: Mapping[Variant, Mapping[str, str]] = {
    "ccsr": {},
    "v2": {"vae": "v2"},
    "v1": {"unet": "v1", "controlnet": "v1", "vae": "v2"},
}
"""The components that a variant has of its own, and the subfolders they lie in; V1 decodes with the
decoder of V2."""

FORMER_MODULES = {
    ("ccsr.controlnet", "LatentControlNetModel"): (
        "ccsr.models.controlnet",
        "LatentControlNetModel",
    ),
    ("ccsr.controlnet", "PictureControlNetModel"): ("ccsr.models.lr_adapter", "LRAdapter"),
    ("ccsr.schedule", "NonUniformScheduler"): ("ccsr.diffusion.scheduler", "NonUniformScheduler"),
    ("ccsr.prompt", "EmptyPrompt"): ("ccsr.models.prompt_embeds", "EmptyPrompt"),
}
"""Modules and classes in the model_index.json of earlier versions, and what they are now."""


CUSTOM_PIPELINE = '''"""The pipeline class of this folder, for diffusers; it needs the package ccsr.

DiffusionPipeline.from_pretrained(FOLDER, custom_pipeline=FOLDER, trust_remote_code=True)
"""

from ccsr.inference.pipeline import CCSRPipeline

__all__ = ["CCSRPipeline"]
'''


class ModelError(InputError):
    """A model is missing, incomplete or damaged; the message says what to do."""


@dataclass(frozen=True)
class Component:
    """Files of one component of a model folder."""

    folder: Path
    file_variant: str | None = None
    """diffusers' `variant`: an infix of the weights' file name. Models of earlier versions have the
    components of V1 and V2 beside those of CCSR, as file variants."""

    def weights(self) -> list[Path]:
        """The files of the weights, more than one if they are sharded; empty if there are none."""
        infix = f".{self.file_variant}" if self.file_variant else ""
        return sorted(self.folder.glob(f"diffusion_pytorch_model{infix}[.-]*safetensors"))


def saved_variant(folder: Path) -> Variant:
    """The variant of the main components: "ccsr" but for a folder that another was saved to."""
    variant = json_object(folder / MODEL_INDEX).get("variant", "ccsr")
    if variant not in VARIANTS:
        raise ModelError(
            f"{folder / MODEL_INDEX} names no variant of {', '.join(VARIANTS)}; get the file again"
        )
    return variant


def json_object(path: Path) -> dict[str, Any]:
    """The object in a JSON file of a model.

    Raises:
        ModelError: If there is none in it.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path} is no JSON; get the file again") from error
    if not isinstance(content, dict):
        raise ModelError(f"{path} holds no JSON object; get the file again")
    return content


def component_of(folder: Path, variant: Variant, name: str) -> Component:
    """Where a variant's component lies in a model folder."""
    if variant == saved_variant(folder) or name not in OWN_COMPONENTS[variant]:
        return Component(folder / name)
    subfolder = OWN_COMPONENTS[variant][name]
    former = Component(folder / name, file_variant=subfolder)
    return former if former.weights() else Component(folder / subfolder / name)


def variants_in(folder: Path) -> tuple[Variant, ...]:
    """The variants that a model folder holds.

    Raises:
        ModelError: If the weights of the main one are missing.
    """
    for name in NETWORKS:
        if not Component(folder / name).weights():
            raise ModelError(f"{folder / name} holds no *.safetensors; its weights are missing")
        if (folder / name / "config.json").is_file():
            json_object(folder / name / "config.json")
    main = saved_variant(folder)
    if main != "ccsr":
        return (main,)
    return tuple(
        variant
        for variant in VARIANTS
        if all(component_of(folder, variant, name).weights() for name in OWN_COMPONENTS[variant])
    )


def load_own_components(
    folder: Path, variant: Variant, given: Mapping[str, Any]
) -> dict[str, torch.nn.Module]:
    """Load the components that a variant has of its own, but for those that are given."""
    main = saved_variant(folder)
    if variant == main:
        return {}
    if main != "ccsr":
        raise InputError(f"{folder} holds variant {main!r} alone, and {variant!r} was asked for")
    index = with_present_modules(json_object(folder / MODEL_INDEX))
    options = {name: given[name] for name in ("use_safetensors",) if name in given}
    options["torch_dtype"] = given.get("dtype", given.get("torch_dtype"))
    components: dict[str, torch.nn.Module] = {}
    for name in OWN_COMPONENTS[variant]:
        if name not in given:
            module, class_name = index[name]
            kind = getattr(importlib.import_module(module), class_name)
            component = component_of(folder, variant, name)
            components[name] = kind.from_pretrained(
                component.folder, variant=component.file_variant, **options
            )
    return components


def write_custom_pipeline(folder: Path) -> None:
    """Write the pipeline.py by which diffusers loads a model folder."""
    write_whole(folder / "pipeline.py", CUSTOM_PIPELINE, overwrite=True)


def with_present_modules(index: Mapping[str, Any]) -> dict[str, Any]:
    """A model_index.json with the names of modules and classes that they have now."""
    return {
        key: list(FORMER_MODULES.get(tuple(value), value)) if isinstance(value, list) else value
        for key, value in index.items()
    }


def model_folder(model: str) -> Path:
    """The folder of a model, fetched from the hub if it is there.

    Args:
        model: "compact", a folder, or a repository of the hub ("owner/name" or
            "owner/name@revision").

    Raises:
        ModelError: If there is none, or the folder holds something else.
    """
    folder = COMPACT_FOLDER if model == COMPACT else Path(model).expanduser()
    if folder.is_file():
        raise ModelError(
            f"{folder} is a file, not a model folder; `python -m ccsr convert` makes one of the "
            "authors' checkpoint"
        )
    if model == COMPACT and not folder.is_dir():
        raise ModelError(f"the compact model is not in {folder}; get the whole repository")
    if not folder.is_dir():
        folder = from_hub(model)
    _refuse_other_layout(folder)
    return folder


def from_hub(model: str, files: Sequence[str] = HUB_FILES, **options: Any) -> Path:  # noqa: ANN401
    """Fetch a repository, "owner/name" or "owner/name@revision"; its folder in the cache.

    Args:
        model: The repository.
        files: Patterns of the names of the files that are fetched.
        options: Of `snapshot_download`, such as `token`.

    Raises:
        ModelError: If it cannot be fetched.
    """
    repository, _, revision = model.partition("@")
    options = {"revision": revision or None, **options}
    try:
        return Path(snapshot_download(repository, allow_patterns=list(files), **options))
    except (HFValidationError, HfHubHTTPError, OSError) as error:
        raise ModelError(_hub_message(error, model, repository, revision)) from error


def _hub_message(error: Exception, model: str, repository: str, revision: str) -> str:
    """What went wrong with the hub, and what to do."""
    page = f"https://huggingface.co/{repository}"
    if isinstance(error, HFValidationError):
        return (
            f"{model!r} is neither a folder here nor the name of a repository; give {COMPACT!r}, "
            "a model folder, or owner/name"
        )
    if isinstance(error, GatedRepoError):
        return (
            f"{repository} asks for consent: accept its terms at {page}, then log in with "
            "`hf auth login` or set HF_TOKEN"
        )
    if isinstance(error, RepositoryNotFoundError):
        return (
            f"{model!r} is neither a folder here nor a repository of the hub that you may see; "
            "check its name, or log in with `hf auth login` if it is private"
        )
    if isinstance(error, RevisionNotFoundError):
        return f"{repository} has no revision {revision!r}; see {page}/commits"
    if isinstance(error, LocalEntryNotFoundError | ConnectionError):
        return (
            f"{model!r} is no folder here, and the Hugging Face hub cannot be reached, nor was the "
            "model fetched before; connect to the internet once, or give a model folder"
        )
    return f"{model!r} could not be fetched from the hub ({reason_of(error)}); try again"


def _refuse_other_layout(folder: Path) -> None:
    index = folder / MODEL_INDEX
    if not index.is_file():
        raise ModelError(
            f"{folder} holds no {MODEL_INDEX}; give a model folder in diffusers layout. "
            "`python -m ccsr convert` makes one of the authors' checkpoint"
        )
    kind = json_object(index).get("_class_name")
    if kind != PIPELINE_CLASS:
        raise ModelError(f"{folder} holds a {kind}, not a {PIPELINE_CLASS}; give a model of CCSR")
