"""`CCSRPipeline`: the pipeline of diffusers, loaded, saved and called by its conventions."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, count
from os import PathLike
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from diffusers.callbacks import MultiPipelineCallbacks, PipelineCallback
from diffusers.models.attention_processor import Attention
from diffusers.utils import BaseOutput
from PIL import Image

from ccsr.config import VARIANTS, ColorAlignment, Variant
from ccsr.diffusion.sampler import Step
from ccsr.errors import InputError
from ccsr.inference.events import Progress, Restored
from ccsr.inference.hub import (
    NETWORKS,
    component_of,
    from_hub,
    load_own_components,
    saved_variant,
    with_present_modules,
    write_custom_pipeline,
)
from ccsr.inference.image_processor import (
    OUTPUT_TYPES,
    ImageInput,
    OutputType,
    to_images,
    to_picture,
)
from ccsr.inference.seeds import check_draws, seeds_for
from ccsr.inference.stages import DEFAULTS, OnStepEnd, SuperResolutionStages
from ccsr.inference.weights import check_files, write_checksums
from ccsr.models.autoencoder import VAE_TILE

COMPONENTS_WITH_WEIGHTS = (*NETWORKS, "text_encoder", "empty_prompt")
HUB_OPTIONS = ("cache_dir", "force_download", "local_files_only", "revision", "token")
"""Arguments of `from_pretrained` for fetching from the hub."""


@dataclass
class CCSROutput(BaseOutput):
    """Results of one call."""

    images: list[Image.Image] | np.ndarray | torch.Tensor
    """One a seed, in their order, `scale` times the input."""
    seeds: list[int]
    """Seeds of the images, or initial seeds of their generators."""


class CCSRPipeline(SuperResolutionStages):
    """Content-consistent super-resolution, as a pipeline of diffusers.

    Takes the components of `SuperResolutionStages`.
    """

    _callback_tensor_inputs: ClassVar[list[str]] = ["latents"]
    _num_timesteps = 0

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | PathLike[str],
        sr_variant: Variant | None = None,
        **kwargs: Any,  # noqa: ANN401
    ) -> Self:
        """Load a model folder, or a repository of the hub.

        Args:
            pretrained_model_name_or_path: Folder, "owner/name" or "owner/name@revision".
            sr_variant: "ccsr", "v2" or "v1"; None: the one that was saved. Not diffusers'
                `variant`, which is a number format of the files.
            kwargs: Those of `DiffusionPipeline.from_pretrained`.

        Raises:
            InputError: If the folder has no such variant.
        """
        for name in VARIANTS:
            if kwargs.get("variant") == name:
                raise InputError(
                    f"variant={name!r} would be a number format of the files; give "
                    f"sr_variant={name!r}"
                )
        folder = Path(pretrained_model_name_or_path)
        if not folder.is_dir():
            options = {name: kwargs.pop(name) for name in HUB_OPTIONS if name in kwargs}
            folder = from_hub(str(pretrained_model_name_or_path), **options)
        variant = saved_variant(folder) if sr_variant is None else sr_variant
        loaded = [name for name in COMPONENTS_WITH_WEIGHTS if name not in kwargs]
        check_files(folder, [component_of(folder, variant, name).folder for name in loaded])
        components = load_own_components(folder, variant, kwargs)
        pipeline = super().from_pretrained(str(folder), **{**components, **kwargs})
        # Not an argument above, where it would be taken for diffusers' own.
        pipeline.register_to_config(variant=variant)
        return pipeline

    @classmethod
    def load_config(cls, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        """The content of model_index.json; earlier versions of this package named other modules."""
        loaded = super().load_config(*args, **kwargs)
        return with_present_modules(loaded) if isinstance(loaded, dict) else loaded

    def save_pretrained(
        self,
        save_directory: str | PathLike[str],
        *args: Any,  # noqa: ANN401
        **kwargs: Any,  # noqa: ANN401
    ) -> None:
        """Write the model folder, with the pipeline.py that diffusers loads it by, and CHECKSUMS.

        Takes the arguments of `DiffusionPipeline.save_pretrained`.
        """
        folder = Path(save_directory)
        folder.mkdir(parents=True, exist_ok=True)
        write_custom_pipeline(folder)
        super().save_pretrained(save_directory, *args, **kwargs)
        write_checksums(folder)

    @property
    def num_timesteps(self) -> int:
        """Network evaluations (NFE) of the last call."""
        return self._num_timesteps

    @property
    def interrupt(self) -> bool:
        """Whether the run is to end at its present estimate."""
        return self._interrupt

    def enable_vae_tiling(self, tile: int = VAE_TILE) -> None:
        """Encode and decode pictures larger than a tile in tiles, which gives the same result.

        Args:
            tile: Side in latents.
        """
        self.vae_tile = tile

    def disable_vae_tiling(self) -> None:
        """Encode and decode every picture as a whole."""
        self.vae_tile = None

    def enable_xformers_memory_efficient_attention(
        self, attention_op: Callable[..., Any] | None = None
    ) -> None:
        """Compute attention by xformers.

        Raises:
            InputError: If no network has attention, or there is no GPU.
        """
        self._refuse_without_attention()
        super().enable_xformers_memory_efficient_attention(attention_op)

    def enable_attention_slicing(self, slice_size: str | int | None = "auto") -> None:
        """Compute attention in slices.

        Raises:
            InputError: If no network has attention.
        """
        if slice_size is not None:
            self._refuse_without_attention()
        super().enable_attention_slicing(slice_size)  # type: ignore[arg-type] - None disables it

    @property
    def has_attention(self) -> bool:
        """Whether one of its networks has attention."""
        networks: list[torch.nn.Module] = [self.unet, self.controlnet, self.vae]
        return any(isinstance(m, Attention) for network in networks for m in network.modules())

    def _refuse_without_attention(self) -> None:
        if not self.has_attention:
            raise InputError(
                "no network of this model has attention, so there is nothing to enable; leave the "
                "call out"
            )

    def check_inputs(
        self,
        prompts: Mapping[str, object],
        output_type: str,
        tensor_inputs: Sequence[str],
        draws: Mapping[str, object],
        num_images_per_prompt: object,
    ) -> None:
        """Refuse arguments of a call that have no meaning; `SamplingConfig` checks the ranges.

        Args:
            prompts: By the name of the argument.
            output_type: One of OUTPUT_TYPES.
            tensor_inputs: Names of the tensors that the callback receives.
            draws: `seeds` and `generator`, by the name of the argument.
            num_images_per_prompt: Number of images.

        Raises:
            InputError: With what was expected and given.
        """
        for name, prompt in prompts.items():
            if prompt is not None and not isinstance(prompt, str):
                raise InputError(f"{name} must be one text, got {type(prompt).__name__}")
        if output_type not in OUTPUT_TYPES:
            raise InputError(
                f"output_type must be one of {', '.join(OUTPUT_TYPES)}, got {output_type!r}"
            )
        if unknown := set(tensor_inputs) - set(self._callback_tensor_inputs):
            raise InputError(
                "callback_on_step_end_tensor_inputs must be from "
                f"{', '.join(self._callback_tensor_inputs)}, got {', '.join(sorted(unknown))}"
            )
        check_draws(draws, num_images_per_prompt)

    @torch.no_grad()
    def __call__(  # noqa: PLR0913 - the signature that users of diffusers expect
        self,
        image: ImageInput,
        prompt: str | None = None,
        *,
        negative_prompt: str | None = None,
        scale: float = DEFAULTS.scale,
        num_inference_steps: int | None = None,
        t_max: float = DEFAULTS.t_max,
        t_min: float = DEFAULTS.t_min,
        guidance_scale: float = DEFAULTS.guidance_scale,
        color: ColorAlignment = DEFAULTS.color,
        generator: torch.Generator | list[torch.Generator] | None = None,
        num_images_per_prompt: int = 1,
        seeds: Sequence[int] | None = None,
        output_type: OutputType = "pil",
        return_dict: bool = True,
        callback_on_step_end: Callable[..., dict[str, Any] | None] | PipelineCallback | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("latents",),
    ) -> CCSROutput | tuple[list[Image.Image] | np.ndarray | torch.Tensor]:
        """Upscale an image.

        A run owns all draws of its seed: an image is the same alone and among others, but for
        rounding.

        Args:
            image: A Pillow image, an array [H,W,3] of uint8 or of floats in [0,1], a tensor [3,H,W]
                or [1,3,H,W] in [0,1], or a `Picture`.
            prompt: What the image shows. Only for models with a text encoder.
            negative_prompt: What it should not be like; needs a guidance scale above 1.
            scale: Size of the result in sizes of the input, 1 to 8.
            num_inference_steps: Size S of the uniform grid of timesteps; the network is evaluated
                at T and at the grid points from t_max down to t_min. None: that of `defaults`.
            t_max: Where refinement starts, as a fraction of T.
            t_min: Where it ends, as a fraction of T.
            guidance_scale: Of classifier-free guidance; 1 is none.
            color: How the colours are aligned to the input: "adain-wavelet", "adain", "wavelet" or
                "none".
            generator: One for each image, each like the seed that it was seeded with. A single one
                for several images serves them one after another.
            num_images_per_prompt: Number of images, if neither seeds nor a list of generators give
                it.
            seeds: One for each image. With neither seeds nor generator they are drawn from torch's
                global generator.
            output_type: "pil", "np" ([N,H,W,3]) or "pt" ([N,3,H,W]), the latter two in [0,1].
            return_dict: Whether to return a `CCSROutput`, or a tuple with the images.
            callback_on_step_end: Called as f(pipeline, step, timestep, callback_kwargs) after each
                evaluation; callback_kwargs["latents"] is the estimate of the clean latents
                [B,C,h,w]. It may return {"latents": ...} to go on with, and end the refinement at
                the present estimate by `pipeline._interrupt = True`.
            callback_on_step_end_tensor_inputs: What callback_kwargs holds.

        Raises:
            InputError: If an argument is out of range or of another kind, the result would be too
                large, or the networks give values that are not finite.
        """
        if isinstance(callback_on_step_end, PipelineCallback | MultiPipelineCallbacks):
            callback_on_step_end_tensor_inputs = callback_on_step_end.tensor_inputs
        self.check_inputs(
            {"prompt": prompt, "negative_prompt": negative_prompt},
            output_type,
            callback_on_step_end_tensor_inputs,
            {"seeds": seeds, "generator": generator},
            num_images_per_prompt,
        )
        config = self.defaults
        config = config.replace(
            scale=scale,
            num_steps=config.num_steps if num_inference_steps is None else num_inference_steps,
            t_max=t_max,
            t_min=t_min,
            color=color,
            prompt=prompt or "",
            negative_prompt=negative_prompt or "",
            guidance_scale=guidance_scale,
        )
        on_step_end = None
        if callback_on_step_end is not None:
            on_step_end = self._step_callback(
                callback_on_step_end, callback_on_step_end_tensor_inputs
            )
        draws = seeds_for(generator if seeds is None else seeds, num_images_per_prompt)
        events = self.run(to_picture(image), config, draws, on_step_end=on_step_end)
        results = self._results(events)
        images = to_images([result.picture for result in results], output_type)
        if not return_dict:
            return (images,)
        return CCSROutput(images=images, seeds=[result.seed for result in results])

    def _results(self, events: Iterator[Progress | Restored]) -> list[Restored]:
        """The results of a run, behind the progress bar of diffusers."""
        first = next(events)
        assert isinstance(first, Progress)  # a run begins with an evaluation
        self._num_timesteps = first.total
        results: list[Restored] = []
        progress_bar: Any = self.progress_bar
        with progress_bar(total=first.total) as bar:
            for event in chain([first], events):
                if isinstance(event, Restored):
                    results.append(event)
                else:
                    bar.update()
        return results

    def _step_callback(
        self, callback: Callable[..., dict[str, Any] | None], tensor_inputs: Sequence[str]
    ) -> OnStepEnd:
        """A callback of diffusers as a function of the step."""
        numbers = count()

        def on_step_end(step: Step) -> torch.Tensor | None:
            tensors = dict.fromkeys(tensor_inputs, step.x0_hat)
            returned = callback(self, next(numbers), step.timestep, tensors)
            return (returned or {}).get("latents")

        return on_step_end
