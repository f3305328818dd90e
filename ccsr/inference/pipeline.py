"""`CCSRPipeline`: a low-resolution picture -> super-resolved pictures, one a seed."""

import importlib
import json
import math
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, count
from os import PathLike
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from diffusers import AutoencoderDC, AutoencoderKL, DiffusionPipeline, UNet2DConditionModel
from diffusers.callbacks import MultiPipelineCallbacks, PipelineCallback
from diffusers.models.attention_processor import Attention
from diffusers.utils import BaseOutput
from PIL import Image
from torch.nn import functional
from transformers import CLIPTextModel, CLIPTokenizer

from ccsr.config import (
    MAX_RESULT_PIXELS,
    MAX_SEED,
    VARIANTS,
    ColorAlignment,
    SamplingConfig,
    TilingConfig,
    Variant,
)
from ccsr.diffusion.sampler import SeededNoise, Step, sample
from ccsr.diffusion.scheduler import NonUniformScheduler
from ccsr.diffusion.timesteps import TimestepPlan, timestep_plan
from ccsr.images.color import aligner
from ccsr.images.picture import Picture, PictureError, Size
from ccsr.images.reading import load_picture
from ccsr.images.tensors import crop_to, pad_to_multiple, resize, to_array, to_tensor, to_uint8
from ccsr.inference.events import Progress, Restored
from ccsr.inference.hub import (
    MODEL_INDEX,
    OWN_COMPONENTS,
    component_of,
    from_hub,
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
from ccsr.inference.memory import give_back
from ccsr.models.autoencoder import VAE_TILE, compression, decode, encode
from ccsr.models.controlnet import LatentControlNetModel
from ccsr.models.denoiser import Denoiser, Features
from ccsr.models.lr_adapter import LRAdapter
from ccsr.models.prompt_embeds import EmptyPrompt, PromptEmbeds, embed_prompt

SMALL_PARAMETERS = 50_000_000
"""A UNet of more has enough to compute; the compact one has 3 million, that of SD 2.1 870."""
PREVIEWS = 4
"""Most previews of a run, spread over its evaluations."""
PREVIEW_LATENTS = 24
"""Longest side of a previewed latent; larger ones are averaged down, or previews would take longer
than the run."""
PROBE_SIDE = 64
"""Of the picture that tests a number format."""
DEFAULTS = SamplingConfig()
HUB_OPTIONS = ("cache_dir", "force_download", "local_files_only", "revision", "token")
"""Arguments of `from_pretrained` for fetching from the hub."""
Seed = int | torch.Generator
"""Source of all random draws of a result; an int is the seed of a generator on the CPU."""

OnStepEnd = Callable[[Step], torch.Tensor | None]
"""Called after each evaluation; returns an estimate to go on with instead, or None."""


class NotFiniteError(ValueError):
    """The networks gave a value that is not finite."""


@dataclass
class CCSROutput(BaseOutput):
    """Results of one call."""

    images: list[Image.Image] | np.ndarray | torch.Tensor
    """One a seed, in their order, `scale` times the input."""
    seeds: list[int]
    """Seeds of the images, or initial seeds of their generators."""


@dataclass(frozen=True)
class Condition:
    """The network's conditioning on a picture; computed once for all seeds and steps."""

    lr_latent: torch.Tensor
    """Scaled latent of the enlarged and padded picture, [1,C,h,w]."""
    features: Features
    """Condition features of that latent, [1,...]."""
    prompt: PromptEmbeds | None = None
    """None for a UNet without cross-attention."""

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """(C,h,w) of the latents of a run."""
        _, channels, height, width = self.lr_latent.shape
        return channels, height, width

    @property
    def num_bytes(self) -> int:
        """Memory that it takes."""
        features = self.features
        flat = (features,) if isinstance(features, torch.Tensor) else (*features[0], features[1])
        return sum(tensor.nbytes for tensor in (self.lr_latent, *flat))


class CCSRPipeline(DiffusionPipeline):
    """Content-consistent super-resolution.

    Pictures larger than `vae_tile` are encoded and decoded in tiles. A ControlNet, which sees x_t,
    is evaluated together with the UNet in the overlapping tiles of `tiling`. None: as a whole.

    Args:
        unet: Denoising network, with or without cross-attention.
        controlnet: Condition network; reads the LR latent.
        vae: Autoencoder; its decoder is the fine-tuned one for variant "ccsr".
        scheduler: Noise schedule and steps.
        empty_prompt: Embeddings of the empty prompt; needed if the UNet has cross-attention.
        working_size: Least pixels of the shorter side that the networks work on; results of smaller
            pictures are made at this size and reduced.
        text_encoder: Reads prompts; without it only the empty one can be used.
        tokenizer: Belongs to the text encoder.
        variant: The variant that the networks are those of; "v1" samples uniformly.
    """

    # The condition network, which takes turns with the UNet, stays beside it.
    model_cpu_offload_seq = "text_encoder->empty_prompt->unet->vae"
    _optional_components: ClassVar[list[str]] = ["empty_prompt", "text_encoder", "tokenizer"]
    _callback_tensor_inputs: ClassVar[list[str]] = ["latents"]

    def __init__(  # noqa: PLR0913 - components and settings, as diffusers registers them
        self,
        unet: UNet2DConditionModel,
        controlnet: LatentControlNetModel | LRAdapter,
        vae: AutoencoderKL | AutoencoderDC,
        scheduler: NonUniformScheduler,
        empty_prompt: EmptyPrompt | None = None,
        working_size: int = 0,
        text_encoder: CLIPTextModel | None = None,
        tokenizer: CLIPTokenizer | None = None,
        variant: str = "ccsr",
    ) -> None:
        super().__init__()
        self.tiling: TilingConfig | None = TilingConfig()
        self.vae_tile: int | None = VAE_TILE
        self._interrupt, self._num_timesteps = False, 0
        attends = unet.config["encoder_hid_dim"] is not None or any(
            "CrossAttn" in name for name in unet.config["down_block_types"]
        )
        if attends and empty_prompt is None:
            raise ValueError("this UNet has cross-attention: give `empty_prompt` too")
        if variant not in VARIANTS:
            raise ValueError(f"variant must be one of {', '.join(VARIANTS)}, got {variant!r}")
        self.register_modules(
            unet=unet,
            controlnet=controlnet,
            vae=vae,
            scheduler=scheduler,
            empty_prompt=empty_prompt,
            text_encoder=text_encoder,
            tokenizer=tokenizer,
        )
        self.register_to_config(working_size=working_size, variant=variant)

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
            ValueError: If the folder has no such variant.
        """
        for name in VARIANTS:
            if kwargs.get("variant") == name:
                raise ValueError(
                    f"variant={name!r} would be a number format of the files; give "
                    f"sr_variant={name!r}"
                )
        folder = Path(pretrained_model_name_or_path)
        if not folder.is_dir():
            options = {name: kwargs.pop(name) for name in HUB_OPTIONS if name in kwargs}
            folder = from_hub(str(pretrained_model_name_or_path), **options)
        variant = saved_variant(folder) if sr_variant is None else sr_variant
        components = _own_components(folder, variant, kwargs)
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
        """Write the model folder, with the pipeline.py that diffusers loads it by.

        Takes the arguments of `DiffusionPipeline.save_pretrained`.
        """
        folder = Path(save_directory)
        folder.mkdir(parents=True, exist_ok=True)
        write_custom_pipeline(folder)
        with _contiguous(self._networks):
            super().save_pretrained(save_directory, *args, **kwargs)

    @property
    def denoiser(self) -> Denoiser:
        """UNet and condition network as one."""
        return Denoiser(self.unet, self.controlnet)

    @property
    def size_multiple(self) -> int:
        """Sides that the networks take are multiples of this many pixels."""
        return compression(self.vae) * 2 ** (len(self.unet.config["block_out_channels"]) - 1)

    @property
    def num_timesteps(self) -> int:
        """Network evaluations (NFE) of the last call."""
        return self._num_timesteps

    @property
    def interrupt(self) -> bool:
        """Whether the run is to end at its present estimate."""
        return self._interrupt

    @property
    def _networks(self) -> list[torch.nn.Module]:
        return [part for part in self.components.values() if isinstance(part, torch.nn.Module)]

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
            ValueError: If no network has attention, or there is no GPU.
        """
        self._refuse_without_attention()
        super().enable_xformers_memory_efficient_attention(attention_op)

    def enable_attention_slicing(self, slice_size: str | int | None = "auto") -> None:
        """Compute attention in slices.

        Raises:
            ValueError: If no network has attention.
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
            raise ValueError(
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
            ValueError: With what was expected and given.
        """
        for name, prompt in prompts.items():
            if prompt is not None and not isinstance(prompt, str):
                raise ValueError(f"{name} must be one text, got {type(prompt).__name__}")
        if output_type not in OUTPUT_TYPES:
            raise ValueError(
                f"output_type must be one of {', '.join(OUTPUT_TYPES)}, got {output_type!r}"
            )
        if unknown := set(tensor_inputs) - set(self._callback_tensor_inputs):
            raise ValueError(
                "callback_on_step_end_tensor_inputs must be from "
                f"{', '.join(self._callback_tensor_inputs)}, got {', '.join(sorted(unknown))}"
            )
        _check_draws(draws, num_images_per_prompt)

    @torch.no_grad()
    def __call__(  # noqa: PLR0913 - the signature that users of diffusers expect
        self,
        image: ImageInput,
        prompt: str | None = None,
        *,
        negative_prompt: str | None = None,
        scale: float = DEFAULTS.scale,
        num_inference_steps: int = DEFAULTS.num_steps,
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
                at T and at the grid points from t_max down to t_min.
            t_max: Where refinement starts, as a fraction of T.
            t_min: Where it ends, as a fraction of T.
            guidance_scale: Of classifier-free guidance; 1 is none.
            color: How the colours are aligned to the input: "adain", "wavelet" or "none".
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
            ValueError: If an argument is out of range or of another kind, the result would be too
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
        config = SamplingConfig(
            scale=scale,
            variant=self.config["variant"],
            num_steps=num_inference_steps,
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
        draws = _seeds_of(generator if seeds is None else seeds, num_images_per_prompt)
        events = self.run(to_picture(image), config, draws, on_step_end=on_step_end)
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
        images = to_images([result.picture for result in results], output_type)
        if not return_dict:
            return (images,)
        return CCSROutput(images=images, seeds=[result.seed for result in results])

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

    def upscale(
        self, picture: Picture, config: SamplingConfig = DEFAULTS, seeds: Sequence[Seed] = (0,)
    ) -> list[Picture]:
        """The results of a picture, one a seed, with its alpha channel and bit depth; see `run`."""
        events = self.run(picture, config, seeds)
        return [event.picture for event in events if isinstance(event, Restored)]

    def run(
        self,
        picture: Picture,
        config: SamplingConfig,
        seeds: Sequence[Seed],
        *,
        preview: bool = False,
        on_step_end: OnStepEnd | None = None,
    ) -> Iterator[Progress | Restored]:
        """Upscale `picture` once for each seed; yields every network evaluation and result.

        Closing the iterator stops the work before the next evaluation.

        Args:
            picture: The low-resolution picture.
            config: The setting.
            seeds: At least one.
            preview: Whether some evaluations come with the decoded estimate.
            on_step_end: Called after each evaluation.

        Raises:
            ValueError: If there is no seed, or the setting or the picture cannot be used.
            NotFiniteError: If the networks give values that are not finite.
        """
        if not seeds:
            raise ValueError("give at least one seed")
        self._interrupt = False
        started = time.perf_counter()
        # 1. Enlarge and encode the picture, once for all seeds.
        condition = self.condition(picture, config)
        shared = (time.perf_counter() - started) / len(seeds)

        # 2. Extract, jump, refine, truncate: a batch of seeds at a time.
        plan = timestep_plan(config, self.scheduler.loop_start)
        batches = self._batches(seeds, condition.latent_shape)
        total = plan.num_evaluations * len(batches)
        for number, batch in enumerate(batches):
            started = time.perf_counter()
            step: Step | None = None
            names = tuple(map(_seed_of, batch))
            for step in self.steps(condition, plan, batch, on_step_end=on_step_end):
                evaluation = number * plan.num_evaluations + step.evaluation
                previewed = preview and is_previewed(step.evaluation, step.total)
                pixels = self.preview(step.x0_hat) if previewed else None
                yield Progress(evaluation, total, step.timestep, names, pixels)
                if self._interrupt:
                    break
            assert step is not None  # a plan has at least one evaluation

            # 3. Decode, align colours, and recombine with the alpha channel.
            refined = (time.perf_counter() - started) / len(batch)
            for seed, x0_hat in zip(names, step.x0_hat.split(1), strict=True):
                started = time.perf_counter()
                result = self.restore(x0_hat, picture, config)
                seconds = shared + refined + time.perf_counter() - started
                yield Restored(seed, result, config, seconds)
            if self._interrupt:
                break
        self.maybe_free_model_hooks()

    @torch.no_grad()
    def condition(self, picture: Picture, config: SamplingConfig) -> Condition:
        """Enlarge `picture` to the working size, encode it, and compute the condition features.

        Raises:
            ValueError: If there are prompts that cannot be read, or are too long.
        """
        prompt = self._prompt(config)
        lr_latent = self._encoded(picture, self._working_size(picture, config))
        features = self.denoiser.features(lr_latent)
        self._tidy(lr_latent)
        return Condition(lr_latent, features, prompt)

    def _prompt(self, config: SamplingConfig) -> PromptEmbeds | None:
        """Embeddings of the prompts; None for a UNet without cross-attention."""
        if not config.prompt and not config.negative_prompt:
            return None if self.empty_prompt is None else PromptEmbeds(self.empty_prompt(1))
        if self.text_encoder is None or self.tokenizer is None or self.empty_prompt is None:
            raise ValueError(
                "this model has no text encoder and takes no prompt; leave it out, or convert the "
                "authors' weights with --keep-text-encoder"
            )

        def embed(prompt: str) -> torch.Tensor:
            if not prompt:
                return self.empty_prompt(1)
            return embed_prompt(self.text_encoder, self.tokenizer, prompt)

        negative = None if config.guidance_scale == 1 else embed(config.negative_prompt)
        return PromptEmbeds(embed(config.prompt), negative, config.guidance_scale)

    def _working_size(self, picture: Picture, config: SamplingConfig) -> Size:
        """Size of the enlarged picture that the networks process, without padding."""
        return working_size(target_size(picture, config), self.config["working_size"])

    def _enlarged(self, picture: Picture, size: Size) -> torch.Tensor:
        """The picture bicubically enlarged, [1,3,H,W] in [0,1].

        Computed again when it is needed again: it costs little, and a large one takes much memory.
        """
        return resize(to_tensor(picture.rgb).to(self._execution_device), size)

    def _encoded(self, picture: Picture, size: Size) -> torch.Tensor:
        padded, _ = pad_to_multiple(self._enlarged(picture, size), self.size_multiple)
        encoded = encode(self.vae, padded, self.vae_tile)
        del padded
        self._tidy(encoded)
        return encoded

    def _decoded(self, x0_hat: torch.Tensor) -> torch.Tensor:
        self._tidy(x0_hat)
        decoded = decode(self.vae, x0_hat.to(self._execution_device), self.vae_tile)
        check_finite(decoded, "the decoder", self.vae.dtype)
        return decoded

    def _tidy(self, latent: torch.Tensor) -> None:
        """Return memory to the system between networks, for latents that are worked on in tiles."""
        if self.vae_tile is not None and max(latent.shape[2:]) > self.vae_tile:
            give_back()

    def steps(
        self,
        condition: Condition,
        plan: TimestepPlan,
        seeds: Sequence[Seed],
        made: Sequence[Step] = (),
        on_step_end: OnStepEnd | None = None,
    ) -> Iterator[Step]:
        """Run a batch of seeds along a plan, one step an evaluation; see `sample`.

        Raises:
            NotFiniteError: If the network gives values that are not finite.
        """
        predict = self.denoiser.predictor(condition.features, condition.prompt, tiling=self.tiling)
        dtype = self.unet.dtype

        def checked(step: Step) -> torch.Tensor | None:
            if step.evaluation > len(made):
                check_finite(step.x0_hat, "the denoising network", dtype)
            return None if on_step_end is None else on_step_end(step)

        return sample(
            torch.no_grad()(predict),
            self.scheduler,
            plan,
            SeededNoise(seeds, self._execution_device),
            (len(seeds), *condition.latent_shape),
            made,
            condition.lr_latent if self.scheduler.start_point == "lr" else None,
            checked,
        )

    def _batches(
        self, seeds: Sequence[Seed], latent_shape: tuple[int, int, int]
    ) -> list[tuple[Seed, ...]]:
        """Split seeds into batches that the device works on at once."""
        parameters = self.unet.num_parameters()
        size = seeds_at_once(self._execution_device, latent_shape, parameters)
        generators = [id(seed) for seed in seeds if isinstance(seed, torch.Generator)]
        if len(set(generators)) < len(generators):
            # They take turns: a run draws all its numbers before the next one begins.
            size = 1
        return [tuple(seeds[i : i + size]) for i in range(0, len(seeds), size)]

    @torch.no_grad()
    def restore(self, x0_hat: torch.Tensor, picture: Picture, config: SamplingConfig) -> Picture:
        """The picture of a latent estimate [1,C,h,w].

        Raises:
            NotFiniteError: If the decoder gives values that are not finite.
        """
        size, working_size = target_size(picture, config), self._working_size(picture, config)
        align = aligner(self._enlarged(picture, working_size), config.color)
        # In place, for a large picture fills much memory.
        sr = crop_to(self._decoded(x0_hat), working_size)
        sr = align(sr, out=sr)
        rgb = to_array(sr if size == working_size else resize(sr, size), overwrite=True)
        return Picture(rgb, _enlarged_alpha(picture, size), bits=picture.bits, notes=picture.notes)

    @torch.no_grad()
    def preview(self, x0_hat: torch.Tensor) -> np.ndarray:
        """The first latent of a batch decoded at reduced size: [h,w,3] uint8."""
        first = x0_hat[:1]
        shrink = -(-max(first.shape[2:]) // PREVIEW_LATENTS)
        if shrink > 1:
            first = functional.avg_pool2d(first, shrink, ceil_mode=True)
        return to_uint8(to_array(self._decoded(first)))

    def is_finite(self) -> bool:
        """Whether encoder, denoising network and decoder give finite values for a small picture."""
        levels = np.random.default_rng(0).random((PROBE_SIDE, PROBE_SIDE, 3), np.float32)
        config = SamplingConfig(scale=1.0, t_max=1.0, t_min=1.0)
        try:
            self.upscale(Picture(levels), config)
        except NotFiniteError:
            return False
        return True


def check_finite(x: torch.Tensor, source: str, dtype: torch.dtype) -> None:
    """Refuse values that are not finite.

    Args:
        x: float32; a sum stays within its range.
        source: The network that gave them.
        dtype: Its number format.

    Raises:
        NotFiniteError: With the remedy.
    """
    if not bool(x.sum().isfinite()):
        name = str(dtype).removeprefix("torch.")
        remedy = (
            "its weights may be damaged; get them again"
            if dtype == torch.float32
            else "load the model in another number format: --dtype bfloat16 or float32"
        )
        raise NotFiniteError(f"{source} gave values that are not finite in {name}; {remedy}")


def _check_draws(draws: Mapping[str, object], num_images: object) -> None:
    """Refuse seeds and generators that do not give one source of draws for each image."""
    if not isinstance(num_images, int) or num_images < 1:
        raise ValueError(f"num_images_per_prompt must be a whole number from 1, got {num_images!r}")
    given = {name: value for name, value in draws.items() if value is not None}
    if len(given) > 1:
        raise ValueError("seeds and generator both fix the random draws; give one of them")
    for name, value in given.items():
        if isinstance(value, torch.Generator):
            continue
        kind = int if name == "seeds" else torch.Generator
        if not isinstance(value, Sequence) or not all(isinstance(each, kind) for each in value):
            raise ValueError(f"{name} must be a list of {kind.__name__}, got {value!r}")
        if not value or num_images not in (1, len(value)):
            raise ValueError(
                f"{name} must have an entry for each image, got {len(value)} for "
                f"num_images_per_prompt={num_images}; leave num_images_per_prompt out"
            )
        if kind is torch.Generator and len(set(map(id, value))) < len(value):
            raise ValueError("the same generator is in the list twice; give each image its own")
        if kind is int and not all(0 <= seed <= MAX_SEED for seed in value):
            raise ValueError(f"seeds must be from 0 to {MAX_SEED}, got {list(value)}")


def _seeds_of(given: Sequence[Seed] | torch.Generator | None, num_images: int) -> Sequence[Seed]:
    """A source of draws for each image."""
    if isinstance(given, torch.Generator):
        return [given] * num_images
    if given is None:
        return torch.randint(MAX_SEED, (num_images,)).tolist()
    return given


def _seed_of(source: Seed) -> int:
    return source.initial_seed() if isinstance(source, torch.Generator) else source


def _own_components(
    folder: Path, variant: Variant, given: Mapping[str, Any]
) -> dict[str, torch.nn.Module]:
    """Load the components that a variant has of its own, but for those that are given."""
    main = saved_variant(folder)
    if variant == main:
        return {}
    if main != "ccsr":
        raise ValueError(f"{folder} holds variant {main!r} alone, and {variant!r} was asked for")
    index = with_present_modules(json.loads((folder / MODEL_INDEX).read_text()))
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


@contextmanager
def _contiguous(networks: Sequence[torch.nn.Module]) -> Generator[None]:
    """Networks in the memory format that files have."""
    reordered: list[Any] = [
        n for n in networks if not all(p.is_contiguous() for p in n.parameters())
    ]
    for network in reordered:
        network.to(memory_format=torch.contiguous_format)
    try:
        yield
    finally:
        for network in reordered:
            network.to(memory_format=torch.channels_last)


def target_size(picture: Picture, config: SamplingConfig) -> Size:
    """Size of the result: the input's times `scale`, rounded.

    Raises:
        PictureError: If it is too large for the memory of an ordinary computer.
    """
    size = Size(round(picture.size.height * config.scale), round(picture.size.width * config.scale))
    if size.height * size.width > MAX_RESULT_PIXELS:
        raise PictureError(
            f"a picture of {picture.size} pixels would become {size}, and the limit is "
            f"{MAX_RESULT_PIXELS:,} pixels; cut out a part, make it smaller, or lower the scale"
        )
    return size


def load_reference(path: str | Path, picture: Picture, config: SamplingConfig) -> Picture:
    """The true picture that results of `picture` are to be compared with.

    Raises:
        PictureError: If the file is no picture, or has not the size of the results.
    """
    expected = target_size(picture, config)
    reference = load_picture(path, max_pixels=MAX_RESULT_PIXELS)
    if reference.size != expected:
        raise PictureError(
            f"{Path(path).name} is {reference.size} pixels; the reference must be {expected}, "
            f"{config.scale:g} times the input"
        )
    return reference


def working_size(size: Size, shorter: int) -> Size:
    """The size that results of `size` are made at: its shorter side at least `shorter` pixels.

    Narrow strips, which would become very long, are enlarged as far as memory allows.
    """
    enough = max(shorter / min(size), 1)
    factor = min(enough, max(math.sqrt(MAX_RESULT_PIXELS / (size.height * size.width)), 1))
    return Size(math.ceil(size.height * factor), math.ceil(size.width * factor))


def seeds_at_once(device: torch.device, latent_shape: tuple[int, int, int], parameters: int) -> int:
    """How many seeds to batch: as many as fill the device, of small pictures more than of large.

    A CPU is busy with one seed already, and results that come one by one are seen earlier. But a
    small network spends half of its time on a small latent with starting its operations: for ten
    of 64x64 the compact one needs two thirds of the time that it needs for one after the other.
    """
    if device.type == "cpu" and parameters > SMALL_PARAMETERS:
        return 1
    _, height, width = latent_shape
    filled = 10 * 64 * 64 if device.type == "cpu" else 4 * 64 * 64
    return max(1, filled // (height * width))


def is_previewed(evaluation: int, total: int) -> bool:
    """Whether a run shows its estimate after so many evaluations; the last the result follows."""
    return evaluation < total and (evaluation - 1) % -(-total // PREVIEWS) == 0


def _enlarged_alpha(picture: Picture, size: Size) -> np.ndarray | None:
    if picture.alpha is None:
        return None
    alpha = torch.from_numpy(np.ascontiguousarray(picture.alpha))[None, None].float()
    return resize(alpha, size)[0, 0].numpy()
