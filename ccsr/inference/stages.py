"""The stages of super-resolution: encode, extract and refine, decode.

`run` yields every network evaluation and result; `CCSRPipeline` calls it as diffusers does.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch
from diffusers import DiffusionPipeline, UNet2DConditionModel
from torch.nn import functional
from transformers import CLIPTextModel, CLIPTokenizer

from ccsr.config import VARIANTS, SamplingConfig, TilingConfig
from ccsr.diffusion.sampler import SeededNoise, Step, sample
from ccsr.diffusion.scheduler import NonUniformScheduler
from ccsr.diffusion.timesteps import TimestepPlan, timestep_plan
from ccsr.errors import InputError
from ccsr.images.color import aligner, luma
from ccsr.images.picture import Picture, Size, noise_picture
from ccsr.images.tensors import crop_to, pad_to_multiple, resize, to_array, to_tensor, to_uint8
from ccsr.inference.device import NotFiniteError, check_finite
from ccsr.inference.events import Progress, Restored
from ccsr.inference.memory import give_back, lacks_memory
from ccsr.inference.memory_budget import tile_within
from ccsr.inference.seeds import Seed, seed_of, seeds_at_once
from ccsr.inference.sizes import target_size, working_size
from ccsr.models.autoencoder import (
    SMALLEST_TILE,
    VAE_TILE,
    Autoencoder,
    compression,
    decode,
    encode,
    reads_lr,
)
from ccsr.models.controlnet import LatentControlNetModel
from ccsr.models.denoiser import Denoiser, Features
from ccsr.models.lr_adapter import LRAdapter
from ccsr.models.prompt_embeds import EmptyPrompt, PromptEmbeds, embed_prompt
from ccsr.option import option
from ccsr.stopping import check_stop, stop_between_modules

PREVIEWS = 2
"""Most previews of a run, spread over its evaluations."""
QUICK_PARAMETERS = 10**8
"""A UNet with fewer takes less time for all its evaluations than its decoder: a preview must be
small, and pays in results above `QUICK_LATENTS` only."""
QUICK_LATENTS = 64
PREVIEW_LATENTS = 128
"""Longest side of a latent that a larger UNet's runs preview."""
PROBE_SIDE = 64
"""Of the picture that tests a number format."""
DEFAULTS = SamplingConfig()
"""Of models that have no grid of their own."""

OnStepEnd = Callable[[Step], torch.Tensor | None]
"""Called after each evaluation; returns an estimate to go on with instead, or None."""


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


class SuperResolutionStages(DiffusionPipeline):
    """Components and stages of content-consistent super-resolution.

    Pictures larger than `vae_tile` are encoded and decoded in tiles. A ControlNet, which sees x_t,
    is evaluated together with the UNet in the overlapping tiles of `tiling`. None: as a whole.
    Tiles of the autoencoder are smaller where a run would take more than `max_memory` GiB beside
    the model.

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
        border: Pixels by which the networks see the enlarged picture continued beyond its sides, by
            mirroring. What they make of it is cut off, and with it what zero padding does there.
        num_steps: The size S of the grid of timesteps of runs for which none is given.
        sr_variant: None, or the same. `DiffusionPipeline.from_pretrained`, which knows no variants,
            passes on what it is given here; `CCSRPipeline.from_pretrained` loads another one.
    """

    # The condition network, which takes turns with the UNet, stays beside it.
    model_cpu_offload_seq = "text_encoder->empty_prompt->unet->vae"
    _optional_components: ClassVar[list[str]] = ["empty_prompt", "text_encoder", "tokenizer"]

    def __init__(  # noqa: PLR0913 - components and settings, as diffusers registers them
        self,
        unet: UNet2DConditionModel,
        controlnet: LatentControlNetModel | LRAdapter,
        vae: Autoencoder,
        scheduler: NonUniformScheduler,
        empty_prompt: EmptyPrompt | None = None,
        working_size: int = 0,
        text_encoder: CLIPTextModel | None = None,
        tokenizer: CLIPTokenizer | None = None,
        variant: str = "ccsr",
        border: int = 0,
        num_steps: int = DEFAULTS.num_steps,
        sr_variant: str | None = None,
    ) -> None:
        super().__init__()
        self.tiling: TilingConfig | None = TilingConfig()
        self.vae_tile: int | None = VAE_TILE
        self.max_memory: float | None = None
        self._interrupt = False
        attends = unet.config["encoder_hid_dim"] is not None or any(
            "CrossAttn" in name for name in unet.config["down_block_types"]
        )
        if attends and empty_prompt is None:
            raise InputError("this UNet has cross-attention: give `empty_prompt` too")
        if variant not in VARIANTS:
            raise InputError(f"variant must be one of {', '.join(VARIANTS)}, got {variant!r}")
        if sr_variant not in (None, variant):
            raise InputError(
                f"these are the networks of variant {variant!r}, and {sr_variant!r} was asked for; "
                "load it by CCSRPipeline.from_pretrained"
            )
        self.register_modules(
            unet=unet,
            controlnet=controlnet,
            vae=vae,
            scheduler=scheduler,
            empty_prompt=empty_prompt,
            text_encoder=text_encoder,
            tokenizer=tokenizer,
        )
        option(SamplingConfig, "num_steps").validate(num_steps)
        if border < 0:
            raise InputError(f"border must be a number of pixels of at least 0, got {border}")
        self.register_to_config(
            working_size=working_size, variant=variant, border=border, num_steps=num_steps
        )
        for network in (unet, controlnet, vae):
            stop_between_modules(network)

    @property
    def num_parameters(self) -> int:
        """Of UNet, condition network and autoencoder."""
        networks = (self.unet, self.controlnet, self.vae)
        return sum(network.num_parameters() for network in networks)

    @property
    def denoiser(self) -> Denoiser:
        """UNet and condition network as one."""
        return Denoiser(self.unet, self.controlnet)

    @property
    def defaults(self) -> SamplingConfig:
        """The settings of a run for which none are given."""
        return DEFAULTS.replace(variant=self.config["variant"], num_steps=self.config["num_steps"])

    @property
    def size_multiple(self) -> int:
        """Sides that the networks take are multiples of this many pixels."""
        return compression(self.vae) * 2 ** (len(self.unet.config["block_out_channels"]) - 1)

    def upscale(
        self,
        picture: Picture,
        config: SamplingConfig | None = None,
        seeds: Sequence[Seed] = (0,),
    ) -> list[Picture]:
        """The results of a picture, one a seed, with its alpha channel and bit depth; see `run`.

        Without `config` the settings are `defaults`.
        """
        events = self.run(picture, config or self.defaults, seeds)
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
            InputError: If there is no seed, or the setting or the picture cannot be used.
            NotFiniteError: If the networks give values that are not finite.
        """
        if not seeds:
            raise InputError("give at least one seed")
        self._interrupt = False
        started = time.perf_counter()
        # 1. Enlarge and encode the picture, once for all seeds.
        condition: Condition | None = self.condition(picture, config)
        latent_shape = condition.latent_shape
        shared = (time.perf_counter() - started) / len(seeds)

        # 2. Extract, jump, refine, truncate: a batch of seeds at a time.
        plan = timestep_plan(config, self.scheduler.loop_start)
        batches = self._batches(seeds, latent_shape)
        total = plan.num_evaluations * len(batches)
        for number, batch in enumerate(batches):
            started = time.perf_counter()
            assert condition is not None  # it is let go of with the last batch
            steps = self.steps(condition, plan, batch, on_step_end=on_step_end)
            if number == len(batches) - 1:
                # Of a large picture it takes much of the memory that decoding needs.
                condition = None
            step: Step | None = None
            names = tuple(map(seed_of, batch))
            for step in steps:
                evaluation = number * plan.num_evaluations + step.evaluation
                previewed = preview and is_previewed(step.evaluation, step.total)
                pixels = self.preview(step.x0_hat, picture, config) if previewed else None
                yield Progress(evaluation, total, step.timestep, names, pixels)
                if self._interrupt:
                    break
            assert step is not None  # a plan has at least one evaluation

            # 3. Decode, align colours, and recombine with the alpha channel.
            refined = (time.perf_counter() - started) / len(batch)
            for seed, x0_hat in zip(names, step.x0_hat.split(1), strict=True):
                restored = self._restored(seed, x0_hat, picture, config)
                yield replace(restored, seconds=shared + refined + restored.seconds)
            if self._interrupt:
                break
        self.maybe_free_model_hooks()

    def _restored(
        self, seed: int, x0_hat: torch.Tensor, picture: Picture, config: SamplingConfig
    ) -> Restored:
        """The result of a latent estimate [1,C,h,w], and the seconds that its decoding took."""
        started = time.perf_counter()
        result = self.restore(x0_hat, picture, config)
        return Restored(seed, result, config, time.perf_counter() - started)

    @torch.no_grad()
    def condition(self, picture: Picture, config: SamplingConfig) -> Condition:
        """Enlarge `picture` to the working size, encode it, and compute the condition features.

        Raises:
            InputError: If there are prompts that cannot be read, or are too long.
        """
        prompt = self._prompt(config)
        lr_latent = self._encoded(picture, self._working_size(picture, config))
        self._tidy(lr_latent)
        features = self.denoiser.features(lr_latent)
        self._tidy(lr_latent)
        return Condition(lr_latent, features, prompt)

    def _prompt(self, config: SamplingConfig) -> PromptEmbeds | None:
        """Embeddings of the prompts; None for a UNet without cross-attention."""
        if not config.prompt and not config.negative_prompt:
            return None if self.empty_prompt is None else PromptEmbeds(self.empty_prompt(1))
        if self.text_encoder is None or self.tokenizer is None or self.empty_prompt is None:
            raise InputError(
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
        return resize(to_tensor(picture.visible_rgb).to(self._execution_device), size)

    def _padded(self, picture: Picture, size: Size, border: int) -> torch.Tensor:
        """The enlarged picture, padded to sides that the networks take."""
        padded, _ = pad_to_multiple(self._enlarged(picture, size), self.size_multiple, border)
        return padded

    def _encoded(self, picture: Picture, size: Size) -> torch.Tensor:
        largest = self._tile(size)
        padded = self._padded(picture, size, self.config["border"])
        side = max(padded.shape[2:]) // compression(self.vae)
        encoded = self._in_tiles_that_fit(
            lambda tile: encode(self.vae, padded, tile), side, largest
        )
        check_finite(encoded, "the encoder", self.vae.dtype)
        return encoded

    def _decoded(
        self, x0_hat: torch.Tensor, picture: Picture, size: Size, border: int
    ) -> torch.Tensor:
        """Pixels [B,3,H,W] of latents [B,C,h,w].

        Args:
            x0_hat: Of a run, or of a preview.
            picture: What they are of.
            size: (H,W), that of the enlarged picture without padding.
            border: Pixels that it is padded by at each side.
        """
        largest = self._tile(size)
        self._tidy(x0_hat)
        lr_up: torch.Tensor | None = None
        if reads_lr(self.vae):
            height, width = (compression(self.vae) * side for side in x0_hat.shape[2:])
            lr_up = crop_to(self._padded(picture, size, border), Size(height, width))
        latent = x0_hat.to(self._execution_device)
        side = max(latent.shape[2:])
        decoded = self._in_tiles_that_fit(
            lambda tile: decode(self.vae, latent, tile, lr_up), side, largest
        )
        self._tidy(x0_hat)
        check_finite(decoded, "the decoder", self.vae.dtype)
        return crop_to(decoded, size, border)

    def _tile(self, size: Size) -> int | None:
        """Side of the autoencoder's tiles, in latents, for a picture that is worked on at `size`.

        Raises:
            OutOfMemoryError: If it would take more memory than it may.
        """
        if self.vae_tile is None or self.max_memory is None:
            return self.vae_tile
        around = 2 * self.config["border"]
        padded = Size(size.height + around, size.width + around)
        return tile_within(self.vae, self.denoiser, padded, self.max_memory, self.vae_tile)

    def _in_tiles_that_fit(
        self, work: Callable[[int | None], torch.Tensor], side: int, tile: int | None
    ) -> torch.Tensor:
        """Do `work` on latents of a side, again in tiles of half the side if memory is too little.

        `work` takes the side of a tile in latents; later works have the same.
        """
        smaller = 0 if tile is None else min(tile, side) // 2
        try:
            return work(tile)
        except Exception as error:
            if smaller < SMALLEST_TILE or not lacks_memory(error):
                raise
        # Not in the handler, where the error would hold what was made so far.
        give_back()
        self.vae_tile = smaller
        return work(smaller)

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
        channels = 1 if picture.is_grey else 3
        alpha = enlarged_alpha(picture, working_size)
        lr_up = self._enlarged(picture, working_size)[:, :channels]
        check_stop()
        align = aligner(lr_up, config.color, None if alpha is None else alpha.to(lr_up.device))
        del lr_up
        check_stop()
        # In place, for a large picture fills much memory.
        sr = self._decoded(x0_hat, picture, working_size, self.config["border"])
        sr = luma(sr) if picture.is_grey else sr
        check_stop()
        sr = align(sr, out=sr)
        check_stop()
        sr = sr if size == working_size else resize(sr, size)
        rgb = to_array(sr.expand(-1, 3, -1, -1), overwrite=True)
        alpha = enlarged_alpha(picture, size)
        flat = None if alpha is None else alpha[0, 0].numpy()
        return replace(picture, rgb=rgb, alpha=flat)

    @torch.no_grad()
    def preview(
        self, x0_hat: torch.Tensor, picture: Picture, config: SamplingConfig
    ) -> np.ndarray | None:
        """The first estimate of a batch, of `picture`, decoded at reduced size: [h,w,3] uint8.

        None where it would take too long, or have no more detail than the input.
        """
        first, border = x0_hat[:1], self.config["border"]
        is_quick = self.unet.num_parameters() < QUICK_PARAMETERS
        side = max(first.shape[2:]) - 2 * border // compression(self.vae)
        shrink = preview_shrink(side, config.scale, is_quick=is_quick)
        if not shrink:
            return None
        if shrink > 1:
            first = functional.avg_pool2d(first, shrink, ceil_mode=True)
        border //= shrink
        height, width = (compression(self.vae) * side - 2 * border for side in first.shape[2:])
        return to_uint8(to_array(self._decoded(first, picture, Size(height, width), border)))

    def is_finite(self) -> bool:
        """Whether encoder, denoising network and decoder give finite values for a small picture."""
        config = SamplingConfig(scale=1.0, t_max=1.0, t_min=1.0)
        try:
            self.upscale(noise_picture(PROBE_SIDE), config)
        except NotFiniteError:
            return False
        return True


def preview_shrink(side: int, scale: float, *, is_quick: bool) -> int:
    """How many times smaller than the result a preview is on each side; 0 for none.

    Args:
        side: The longest of the latent, without borders.
        scale: Of the run: a preview is larger than the input.
        is_quick: Whether the evaluations of a run take less time than its decoding.
    """
    shrink = 2 if is_quick else -(-side // PREVIEW_LATENTS)
    pays = side > QUICK_LATENTS or not is_quick
    return shrink if pays and shrink < scale else 0


def is_previewed(evaluation: int, total: int) -> bool:
    """Whether a run shows its estimate after so many evaluations; the last the result follows."""
    return evaluation < total and (evaluation - 1) % -(-total // PREVIEWS) == 0


def enlarged_alpha(picture: Picture, size: Size) -> torch.Tensor | None:
    """The alpha channel enlarged bicubically, [1,1,H,W] in [0,1]; None if it has none."""
    if picture.alpha is None:
        return None
    return resize(torch.from_numpy(np.ascontiguousarray(picture.alpha))[None, None], size)
