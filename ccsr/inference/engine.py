"""Where a model comes from: the compact one that ships, a folder, or the Hugging Face hub."""

import dataclasses
import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from diffusers import AutoencoderDC
from diffusers.utils import is_xformers_available
from huggingface_hub import snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from ccsr.config import (
    COMPACT,
    VARIANTS,
    LoadingConfig,
    SamplingConfig,
    TilingConfig,
    Variant,
)
from ccsr.images.picture import Picture
from ccsr.inference.estimate_cache import EstimateCache, PictureEstimates
from ccsr.inference.events import ModelInfo, Progress, Restored
from ccsr.inference.pipeline import CCSRPipeline
from ccsr.inference.session import ConditionCache, PictureSession
from ccsr.models.autoencoder import tile_within
from ccsr.models.fusion import fuse_autoencoder

COMPACT_FOLDER = Path(__file__).resolve().parents[2] / "assets" / "compact"
COMPILERS = ("g++", "clang++", "cl")
"""What torch.compile looks for."""
# Weights as safetensors only: pickles can run code when they are loaded.
HUB_FILES = ("*.json", "*.safetensors")
SEPARATE_FILES = {"ccsr": "unet/*.safetensors", "v2": "vae/*.v2.*", "v1": "unet/*.v1.*"}
"""What a model folder has of each variant."""


class ModelNotFound(ValueError):
    """There is no model where one was asked for."""


def load_engine(model: str = COMPACT, loading: LoadingConfig | None = None) -> "ModelEngine":
    """Load a model.

    Args:
        model: "compact", a folder in diffusers layout, or a repository of the hub ("owner/name",
            or "owner/name@revision").
        loading: How to put it on this machine.

    Raises:
        ModelNotFound: If there is no such model.
        ValueError: If something that `loading` asks for is not available.
    """
    return ModelEngine(model, model_folder(model), loading or LoadingConfig())


def model_folder(model: str) -> Path:
    """The folder that holds `model`, fetched from the hub if that is where it is.

    Raises:
        ModelNotFound: If there is none, or what is there is something else.
    """
    folder = COMPACT_FOLDER if model == COMPACT else Path(model).expanduser()
    if folder.is_file():
        raise ModelNotFound(
            f"{folder} is a file, not a model folder; of the authors' checkpoint "
            "`python -m ccsr convert` makes one"
        )
    if model == COMPACT and not folder.is_dir():
        raise ModelNotFound(f"the compact model is not in {folder}; get the whole repository")
    if not folder.is_dir():
        folder = from_hub(model)
    _refuse_other_layout(folder)
    return folder


def from_hub(model: str, files: Sequence[str] = HUB_FILES) -> Path:
    """Fetch a repository, "owner/name" or "owner/name@revision"; the folder that it is in now.

    Args:
        model: The repository.
        files: Patterns of the names of those that are wanted.

    Raises:
        ModelNotFound: If it cannot be had.
    """
    repository, _, revision = model.partition("@")
    try:
        return Path(
            snapshot_download(repository, revision=revision or None, allow_patterns=list(files))
        )
    except (HFValidationError, HfHubHTTPError, OSError) as error:
        raise ModelNotFound(_told_by_hub(error, model, repository, revision)) from error


def _told_by_hub(error: Exception, model: str, repository: str, revision: str) -> str:
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
    reason = str(error).strip().partition("\n")[0]
    return f"{model!r} could not be fetched from the hub ({reason}); try again"


def _refuse_other_layout(folder: Path) -> None:
    index = folder / "model_index.json"
    if not index.is_file():
        raise ModelNotFound(
            f"{folder} holds no model_index.json; give a model folder in diffusers layout. Of the "
            "authors' checkpoint `python -m ccsr convert` makes one"
        )
    kind = json.loads(index.read_text()).get("_class_name")
    if kind != CCSRPipeline.__name__:
        raise ModelNotFound(
            f"{folder} holds a {kind}, not a {CCSRPipeline.__name__}; give a model of CCSR"
        )


def choose_device(name: str) -> torch.device:
    """The device of that name.

    Raises:
        ValueError: If it is unknown or not available.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
        if name == "cpu" and torch.backends.mps.is_available():
            name = "mps"
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise ValueError(f"device {name!r} cannot be used ({reason}); try auto or cpu") from error
    return device


def choose_dtype(name: str, device: torch.device) -> torch.dtype:
    """The number format of that name, or for "auto" the fastest that the device computes in."""
    if name == "auto" and device.type == "cpu":
        return torch.bfloat16 if cpu_computes_in_bfloat16() else torch.float32
    return torch.float16 if name == "auto" else getattr(torch, name)


def cpu_computes_in_bfloat16() -> bool:
    """Whether this CPU has instructions for bfloat16; elsewhere it would be slower than float32."""
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("amx_bf16") or capabilities.get("avx512_bf16"))


def variants_in(folder: Path) -> tuple[Variant, ...]:
    """The variants that a model folder holds.

    Raises:
        ModelNotFound: If the weights of the main one are missing.
    """
    found: list[Variant] = [v for v in VARIANTS if any(folder.glob(SEPARATE_FILES[v]))]
    if "ccsr" not in found:
        raise ModelNotFound(f"{folder} holds no {SEPARATE_FILES['ccsr']}; its weights are missing")
    # V1 decodes with the decoder of V2.
    return tuple(v for v in found if v != "v1" or "v2" in found)


class ModelEngine:
    """A model whose variants are loaded when they are first asked for; they share what is equal."""

    def __init__(self, name: str, folder: Path, loading: LoadingConfig) -> None:
        device = choose_device(loading.device)
        dtype = choose_dtype(loading.dtype, device)
        _refuse_unavailable(loading, device)
        self.folder, self.loading, self.device, self.dtype = folder, loading, device, dtype
        self._pipelines: dict[str, CCSRPipeline] = {}
        self._parameters: dict[str, int] = {}
        self._conditions = ConditionCache()
        self._variants = variants_in(folder)
        main = self.pipeline("ccsr")
        self.info = ModelInfo(
            name=name,
            variants=self._variants,
            device=str(device),
            dtype=str(dtype).removeprefix("torch."),
            attention=attention_of(main, device),
            parameters=self._parameters["ccsr"],
            start_point=main.scheduler.start_point,
            reads_text=main.text_encoder is not None,
            loop_start=main.scheduler.loop_start,
        )

    def pipeline(self, variant: Variant) -> CCSRPipeline:
        """The pipeline of a variant.

        Raises:
            ValueError: If the model has no such variant.
            ModelNotFound: If files of it are missing or damaged.
        """
        if variant not in self._variants:
            raise ValueError(
                f"this model has no variant {variant!r}; it has {', '.join(self._variants)}"
            )
        if variant not in self._pipelines:
            self._pipelines[variant] = self._load(variant)
        return self._pipelines[variant]

    def _load(self, variant: Variant) -> CCSRPipeline:
        shared = {}
        if variant == "v2":
            main = self.pipeline("ccsr")
            shared = {"unet": main.unet, "controlnet": main.controlnet}
            shared |= {"text_encoder": main.text_encoder, "tokenizer": main.tokenizer}
        elif variant == "v1":
            shared = {"vae": self.pipeline("v2").vae}
        try:
            pipeline = CCSRPipeline.from_pretrained(
                str(self.folder),
                variant=variant,
                dtype=self.dtype,
                use_safetensors=True,
                local_files_only=True,
                **shared,
            )
        except (OSError, ValueError, RuntimeError) as error:
            reason = str(error).strip().partition("\n")[0]
            raise ModelNotFound(
                f"variant {variant!r} cannot be loaded from {self.folder} ({reason}); "
                "get its files again"
            ) from error
        networks, vae = [pipeline.unet, pipeline.controlnet, pipeline.vae], pipeline.vae
        self._parameters[variant] = sum(network.num_parameters() for network in networks)
        if isinstance(vae, AutoencoderDC):
            fuse_autoencoder(vae)
        for network in networks:
            # A tenth or more faster on CPUs.
            network.to(memory_format=torch.channels_last)
        pipeline.set_progress_bar_config(disable=True)
        pipeline.tiling = tiling_of(self.loading, pipeline)
        if self.loading.compile:
            pipeline.unet.compile()
        if self.loading.offload:
            pipeline.enable_model_cpu_offload(device=self.device)
            return pipeline
        return pipeline.to(self.device)

    def session(
        self, picture: Picture, cache: EstimateCache | None = None, owner: str = ""
    ) -> PictureSession:
        """A session of one picture, which reuses estimates between settings."""
        estimates = PictureEstimates(picture, cache, owner, self.info.loop_start)
        return PictureSession(self.pipeline, picture, estimates, self._conditions)

    def run(
        self,
        picture: Picture,
        config: SamplingConfig,
        seeds: Sequence[int],
        *,
        preview: bool = False,
    ) -> Iterator[Progress | Restored]:
        """Upscale `picture` once for each seed; see `CCSRPipeline.run`.

        Raises:
            ValueError: If the model has no such variant.
        """
        yield from self.pipeline(config.variant).run(picture, config, seeds, preview=preview)


def _refuse_unavailable(loading: LoadingConfig, device: torch.device) -> None:
    if loading.offload and device.type == "cpu":
        raise ValueError("offload is for GPUs, and the model is on the CPU; leave it out")
    if loading.compile and device.type == "cpu" and not any(map(shutil.which, COMPILERS)):
        raise ValueError(
            f"torch.compile needs a C++ compiler, and none of {', '.join(COMPILERS)} is here; "
            "install one, or leave compile out"
        )


def tiling_of(loading: LoadingConfig, pipeline: CCSRPipeline) -> TilingConfig | None:
    """The pieces of large pictures, as small as memory asks for.

    Raises:
        ValueError: If not even small pieces would fit.
    """
    if not loading.tiling:
        return None
    if loading.max_memory is None:
        return TilingConfig()
    side = tile_within(pipeline.vae, loading.max_memory * 2**30)
    return dataclasses.replace(TilingConfig(), vae_tile=min(side, TilingConfig.vae_tile))


def attention_of(pipeline: CCSRPipeline, device: torch.device) -> str:
    """Switch to xformers' attention where it can work, and say what is in use."""
    if pipeline.empty_prompt is None:
        return "none"
    if device.type == "cuda" and is_xformers_available():
        pipeline.enable_xformers_memory_efficient_attention()
        return "xformers"
    return "torch SDPA"
