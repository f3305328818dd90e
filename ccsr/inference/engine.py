"""`ModelEngine`: the variants of one model on one device."""

import logging
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL

from ccsr.config import COMPACT, LoadingConfig, SamplingConfig, TilingConfig, Variant
from ccsr.errors import InputError, reason_of
from ccsr.images.picture import Picture
from ccsr.inference.device import can_use_xformers, choose_device, choose_dtype
from ccsr.inference.estimate_cache import EstimateCache, PictureEstimates
from ccsr.inference.events import ModelInfo, Progress, Restored
from ccsr.inference.hub import (
    NETWORKS,
    OWN_COMPONENTS,
    ModelError,
    component_of,
    model_folder,
    variants_in,
)
from ccsr.inference.memory import OutOfMemoryError, lacks_memory, memory_named
from ccsr.inference.pipeline import CCSRPipeline
from ccsr.inference.session import ConditionCache, PictureSession
from ccsr.inference.sizes import target_size
from ccsr.inference.weights import check_loaded
from ccsr.models.fusion import fuse_autoencoder
from ccsr.models.memory_format import lay_out_for_convolutions

logger = logging.getLogger(__name__)

COMPILERS = ("g++", "clang++", "cl")
"""One of them is needed by torch.compile on a CPU."""
COMPONENTS = (*NETWORKS, "scheduler", "empty_prompt", "text_encoder", "tokenizer")


def load_engine(
    model: str = COMPACT, loading: LoadingConfig | None = None, variant: Variant | None = None
) -> "ModelEngine":
    """Load a model.

    Args:
        model: "compact", a folder in diffusers layout, or a repository of the hub ("owner/name",
            or "owner/name@revision").
        loading: How to put it on this machine.
        variant: The variant that is loaded now, others when they are first used; None: the main
            one.

    Raises:
        ModelError: If there is no such model.
        InputError: If it has no such variant, or something that `loading` asks for is not
            available.
    """
    return ModelEngine(model, model_folder(model), loading or LoadingConfig(), variant)


class ModelEngine:
    """A model whose variants are loaded on first use; they share the components that are equal.

    See `load_engine`.
    """

    def __init__(
        self, name: str, folder: Path, loading: LoadingConfig, variant: Variant | None = None
    ) -> None:
        self.folder, self.loading = folder, loading
        self.device = choose_device(loading.device)
        _refuse_unavailable(loading, self.device)
        self._variants = variants_in(folder)
        self._pipelines: dict[Variant, CCSRPipeline] = {}
        # By their places in the folder.
        self._components: dict[tuple[str | None, str], Any] = {}
        self._conditions = ConditionCache()
        first = variant or self._variants[0]
        self.dtype = choose_dtype(
            loading.dtype, self.device, lambda dtype: self._is_finite_in(dtype, first)
        )
        pipeline = self.pipeline(first)
        self.info = ModelInfo(
            name=name,
            variants=self._variants,
            device=str(self.device),
            dtype=str(self.dtype).removeprefix("torch."),
            attention=attention_of(pipeline),
            parameters=pipeline.num_parameters,
            start_point=pipeline.scheduler.start_point,
            reads_text=pipeline.text_encoder is not None,
            loop_start=pipeline.scheduler.loop_start,
            num_steps=pipeline.defaults.num_steps,
            max_memory=loading.max_memory,
        )

    def pipeline(self, variant: Variant) -> CCSRPipeline:
        """The pipeline of a variant.

        Raises:
            InputError: If the model has no such variant.
            ModelError: If files of it are missing or damaged.
        """
        if variant not in self._variants:
            raise InputError(
                f"this model has no variant {variant!r}; it has {', '.join(self._variants)}"
            )
        if variant not in self._pipelines:
            self._pipelines[variant] = self._load(variant, self.dtype)
        return self._pipelines[variant]

    def _is_finite_in(self, dtype: torch.dtype, variant: Variant) -> bool:
        pipeline = self._load(variant, dtype)
        if pipeline.is_finite():
            self._pipelines[variant] = pipeline
            return True
        self._components.clear()
        return False

    def _load(self, variant: Variant, dtype: torch.dtype) -> CCSRPipeline:
        own = {} if variant == self._variants[0] else OWN_COMPONENTS[variant]
        places = {name: (own.get(name), name) for name in COMPONENTS}
        shared = {n: self._components[p] for n, p in places.items() if p in self._components}
        try:
            pipeline = CCSRPipeline.from_pretrained(
                self.folder, sr_variant=variant, dtype=dtype, use_safetensors=True, **shared
            )
            for name in NETWORKS:
                if name not in shared and dtype != torch.float16:
                    weights = component_of(self.folder, variant, name).weights()
                    check_loaded(pipeline.components[name], weights)
        except Exception as error:  # diffusers, safetensors and torch raise what they will
            logger.debug("%s cannot be loaded", self.folder, exc_info=True)
            if lacks_memory(error):
                raise OutOfMemoryError(
                    f"there is not enough memory to load {self.folder}; close other programs"
                ) from error
            raise ModelError(
                f"variant {variant!r} cannot be loaded from {self.folder} ({reason_of(error)}); "
                "get its files again"
            ) from error
        self._components |= {places[n]: part for n, part in pipeline.components.items()}
        self._set_up(pipeline, [n for n in COMPONENTS if n not in shared])
        return pipeline

    def _set_up(self, pipeline: CCSRPipeline, new: Sequence[str]) -> None:
        """Put a pipeline on the device; `new` are its components that no other one has set up."""
        if "vae" in new and not isinstance(pipeline.vae, AutoencoderKL):
            fuse_autoencoder(pipeline.vae)
        for name in set(NETWORKS) & set(new):
            # A tenth or more faster on CPUs.
            lay_out_for_convolutions(pipeline.components[name])
        pipeline.set_progress_bar_config(disable=True)
        set_tiling(pipeline, self.loading)
        if self.loading.compile and "unet" in new:
            pipeline.unet.compile()
        if self.loading.offload:
            pipeline.enable_model_cpu_offload(device=self.device)
        else:
            pipeline.to(self.device)
        if pipeline.has_attention and can_use_xformers(self.device):
            try:
                pipeline.enable_xformers_memory_efficient_attention()
            except (ValueError, RuntimeError, NotImplementedError) as error:
                logger.warning("xformers cannot be used, torch computes attention: %s", error)
                pipeline.disable_xformers_memory_efficient_attention()

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
            InputError: If the model has no such variant.
        """
        with memory_named(f"a result of {target_size(picture, config)} pixels"):
            yield from self.pipeline(config.variant).run(picture, config, seeds, preview=preview)


def _refuse_unavailable(loading: LoadingConfig, device: torch.device) -> None:
    if loading.offload and device.type == "cpu":
        raise InputError("offload is for GPUs, and the model is on the CPU; leave it out")
    if loading.compile and device.type == "cpu" and not any(map(shutil.which, COMPILERS)):
        raise InputError(
            f"torch.compile needs a C++ compiler, and none of {', '.join(COMPILERS)} is here; "
            "install one, or leave compile out"
        )


def set_tiling(pipeline: CCSRPipeline, loading: LoadingConfig) -> None:
    """Tile large pictures, as finely as the memory asks for."""
    pipeline.max_memory = loading.max_memory
    if loading.tiling:
        pipeline.tiling = TilingConfig()
        pipeline.enable_vae_tiling()
    else:
        pipeline.tiling = None
        pipeline.disable_vae_tiling()


def attention_of(pipeline: CCSRPipeline) -> str:
    """What computes the attention of the UNet: "xformers", "torch SDPA" or "none"."""
    processors = {type(processor).__name__ for processor in pipeline.unet.attn_processors.values()}
    if not processors:
        return "none"
    return "xformers" if any("XFormers" in name for name in processors) else "torch SDPA"
