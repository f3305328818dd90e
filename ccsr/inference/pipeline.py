"""`CCSRPipeline`: a low-resolution picture -> super-resolved pictures, one a seed."""

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from diffusers import AutoencoderDC, AutoencoderKL, DiffusionPipeline, UNet2DConditionModel
from torch.nn import functional
from transformers import CLIPTextModel, CLIPTokenizer

from ccsr.config import MAX_RESULT_PIXELS, SamplingConfig, TilingConfig
from ccsr.diffusion.sampler import Predict, SeededNoise, Step, sample
from ccsr.diffusion.scheduler import NonUniformScheduler
from ccsr.diffusion.timesteps import TimestepPlan, timestep_plan
from ccsr.images.color import aligner
from ccsr.images.picture import Picture, PictureError, Size
from ccsr.images.reading import load_picture
from ccsr.images.tensors import crop_to, pad_to_multiple, resize, to_array, to_tensor, to_uint8
from ccsr.inference.events import Progress, Restored
from ccsr.inference.memory import give_back
from ccsr.models.autoencoder import compression, decode, encode
from ccsr.models.controlnet import LatentControlNetModel
from ccsr.models.lr_adapter import LRAdapter, Residuals
from ccsr.models.prompt_embeds import EmptyPrompt, PromptEmbeds, embed_prompt
from ccsr.models.tiling import Window, blended

SMALL_PARAMETERS = 50_000_000
"""A UNet of more has enough to compute; the compact one has 3 million, that of SD 2.1 870."""
PREVIEWS = 4
"""Looks at the estimate that a run with previews gives at most, spread over its evaluations."""
PREVIEW_LATENTS = 24
"""Longest side of a previewed latent; larger ones are averaged down, or looking would cost more
than working."""


@dataclass(frozen=True)
class CCSROutput:
    """Results of one call."""

    pictures: list[Picture]
    """One a seed, in their order, exactly `scale` times the input."""
    seeds: tuple[int, ...]


@dataclass(frozen=True)
class Condition:
    """What the network knows of the picture; computed once for all seeds and steps."""

    lr_latent: torch.Tensor
    """Scaled latent of the enlarged and padded picture, [1,C,h,w]."""
    features: torch.Tensor | Residuals
    """What the ControlNet makes of that latent, [1,...]."""
    text: PromptEmbeds | None = None
    """What the settings say in words; None for the empty prompt."""

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

    Pictures larger than a piece of `tiling` are encoded and decoded in pieces, and a ControlNet
    that looks at x_t is evaluated in overlapping ones, together with the UNet; None looks at every
    picture whole.

    Args:
        unet: Denoising network, with or without cross-attention.
        controlnet: Reads the latent of the low-resolution picture.
        vae: Its decoder is the fine-tuned one for variant "ccsr".
        scheduler: Noise schedule and steps.
        empty_prompt: Text states; needed if the UNet has cross-attention.
        working_size: Pixels of the shorter side that the networks want at least; the results of
            smaller pictures are made at this size and reduced.
        text_encoder: Reads prompts; without it only the empty one can be used.
        tokenizer: Belongs to the text encoder.
    """

    # The ControlNet, which takes turns with the UNet, stays beside it.
    model_cpu_offload_seq = "text_encoder->empty_prompt->unet->vae"
    _optional_components: ClassVar[list[str]] = ["empty_prompt", "text_encoder", "tokenizer"]

    def __init__(
        self,
        unet: UNet2DConditionModel,
        controlnet: LatentControlNetModel | LRAdapter,
        vae: AutoencoderKL | AutoencoderDC,
        scheduler: NonUniformScheduler,
        empty_prompt: EmptyPrompt | None = None,
        working_size: int = 0,
        text_encoder: CLIPTextModel | None = None,
        tokenizer: CLIPTokenizer | None = None,
    ) -> None:
        super().__init__()
        self.tiling: TilingConfig | None = TilingConfig()
        attends = unet.config["encoder_hid_dim"] is not None or any(
            "CrossAttn" in name for name in unet.config["down_block_types"]
        )
        if attends and empty_prompt is None:
            raise ValueError("this UNet has cross-attention: give `empty_prompt` too")
        self.register_modules(
            unet=unet,
            controlnet=controlnet,
            vae=vae,
            scheduler=scheduler,
            empty_prompt=empty_prompt,
            text_encoder=text_encoder,
            tokenizer=tokenizer,
        )
        self.register_to_config(working_size=working_size)

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | PathLike[str],
        **kwargs: Any,  # noqa: ANN401
    ) -> Self:
        """Load a model folder, `variant` "ccsr" (or None), "v2" or "v1".

        Of "v1" the UNet and ControlNet, and of "v2" the decoder as pre-trained, lie beside the
        weights of "ccsr" under diffusers' naming of file variants. V1 decodes as V2 does.
        """
        variant = kwargs.pop("variant", None)
        if variant == "v1" and "vae" not in kwargs:
            kwargs["vae"] = cls.from_pretrained(
                pretrained_model_name_or_path, variant="v2", **kwargs
            ).vae
        file_variant = None if variant == "ccsr" else variant
        return super().from_pretrained(
            pretrained_model_name_or_path, variant=file_variant, **kwargs
        )

    @property
    def size_multiple(self) -> int:
        """Sides that the networks take are multiples of this many pixels."""
        return compression(self.vae) * 2 ** (len(self.unet.config["block_out_channels"]) - 1)

    @property
    def _vae_tile(self) -> int | None:
        return None if self.tiling is None else self.tiling.vae_tile

    def _encoded(self, picture: Picture, size: Size) -> torch.Tensor:
        padded, _ = pad_to_multiple(self._enlarged(picture, size), self.size_multiple)
        encoded = encode(self.vae, padded, self._vae_tile)
        del padded
        self._tidy(encoded)
        return encoded

    def _tidy(self, latent: torch.Tensor) -> None:
        """Between networks that leave much memory free: of a latent worked on in pieces."""
        if self._vae_tile is not None and max(latent.shape[2:]) > self._vae_tile:
            give_back()

    def _decoded(self, x0_hat: torch.Tensor) -> torch.Tensor:
        self._tidy(x0_hat)
        return decode(self.vae, x0_hat.to(self._execution_device), self._vae_tile)

    @torch.no_grad()
    def __call__(
        self,
        picture: Picture,
        config: SamplingConfig | None = None,
        seeds: Sequence[int] = (0,),
    ) -> CCSROutput:
        """Upscale `picture` once for each seed.

        Raises:
            ValueError: If there is no seed.
        """
        events = self.run(picture, config or SamplingConfig(), seeds)
        pictures = [event.picture for event in events if isinstance(event, Restored)]
        return CCSROutput(pictures, tuple(seeds))

    def run(
        self,
        picture: Picture,
        config: SamplingConfig,
        seeds: Sequence[int],
        *,
        preview: bool = False,
    ) -> Iterator[Progress | Restored]:
        """Upscale `picture` once for each seed, telling of every network evaluation.

        Closing the iterator stops the work before the next evaluation.

        Raises:
            ValueError: If there is no seed.
        """
        if not seeds:
            raise ValueError("give at least one seed")
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
            for step in self.steps(condition, plan, batch):
                evaluation = number * plan.num_evaluations + step.evaluation
                previewed = preview and is_previewed(step.evaluation, step.total)
                pixels = self.preview(step.x0_hat) if previewed else None
                yield Progress(evaluation, total, step.timestep, batch, pixels)
            assert step is not None  # a plan has at least one evaluation

            # 3. Decode, align colours, and recombine with the alpha channel.
            chain = (time.perf_counter() - started) / len(batch)
            for seed, x0_hat in zip(batch, step.x0_hat.split(1), strict=True):
                started = time.perf_counter()
                result = self.restore(x0_hat, picture, config)
                seconds = shared + chain + time.perf_counter() - started
                yield Restored(seed, result, config, seconds)
        self.maybe_free_model_hooks()

    @torch.no_grad()
    def condition(self, picture: Picture, config: SamplingConfig) -> Condition:
        """Enlarge `picture` to the target size, encode it, and compute the condition features.

        Raises:
            ValueError: If there are prompts that cannot be read, or are too long.
        """
        text = self._text(config)
        lr_latent = self._encoded(picture, self._working_size(picture, config))
        features = self.controlnet.condition_features(lr_latent.to(self.controlnet.dtype))
        self._tidy(lr_latent)
        return Condition(lr_latent, features, text)

    def _working_size(self, picture: Picture, config: SamplingConfig) -> Size:
        """Size of the enlarged picture that the networks process, without padding."""
        return working_size(target_size(picture, config), self.config["working_size"])

    def _text(self, config: SamplingConfig) -> PromptEmbeds | None:
        """What the settings say in words; None for the empty prompt."""
        if not config.prompt and not config.negative_prompt:
            return None
        if self.text_encoder is None or self.tokenizer is None or self.empty_prompt is None:
            raise ValueError(
                "this model has no text encoder and takes no prompt; leave it out, or convert the "
                "authors' weights with --keep-text-encoder"
            )

        def states(prompt: str) -> torch.Tensor:
            if not prompt:
                return self.empty_prompt(1)
            return embed_prompt(self.text_encoder, self.tokenizer, prompt)

        negative = None if config.guidance_scale == 1 else states(config.negative_prompt)
        return PromptEmbeds(states(config.prompt), negative, config.guidance_scale)

    def _enlarged(self, picture: Picture, size: Size) -> torch.Tensor:
        """The picture bicubically enlarged, [1,3,H,W] in [0,1].

        Made again when it is needed again: it costs little, and takes much memory when it is large.
        """
        return resize(to_tensor(picture.rgb).to(self._execution_device), size)

    def predictor(
        self,
        condition: Condition,
        text: PromptEmbeds | None = None,
        controlnet_conditioning_scale: float = 1.0,
    ) -> Predict:
        """The network as a function of (x_t, t).

        Args:
            condition: The picture.
            text: Instead of the empty prompt.
            controlnet_conditioning_scale: What the ControlNet's residuals are multiplied by.
        """
        features, (_, height, width) = condition.features, condition.latent_shape
        tiling = self.tiling
        if (
            tiling is None
            or not isinstance(features, torch.Tensor)
            or max(height, width) <= tiling.tile
        ):
            return self.network(features, text, controlnet_conditioning_scale)

        def predict_in(window: Window) -> Predict:
            return self.network(features[(..., *window)], text, controlnet_conditioning_scale)

        return blended(predict_in, height, width, tiling)

    def network(
        self,
        features: torch.Tensor | Residuals,
        text: PromptEmbeds | None = None,
        controlnet_conditioning_scale: float = 1.0,
    ) -> Predict:
        """UNet and ControlNet as a function of (x_t, t), for latents of the size of `features`.

        See `predictor`.
        """
        if text is None and self.empty_prompt is not None:
            text = PromptEmbeds(self.empty_prompt(1))

        def told(x: torch.Tensor, t: int, states: torch.Tensor | None) -> torch.Tensor:
            states = None if states is None else states.expand(len(x), -1, -1)
            down, middle = self.controlnet(
                x, t, states, controlnet_cond=features, return_dict=False
            )
            if controlnet_conditioning_scale != 1:
                down, middle = (
                    [controlnet_conditioning_scale * residual for residual in down],
                    controlnet_conditioning_scale * middle,
                )
            return self.unet(
                x,
                t,
                states,
                down_block_additional_residuals=down,
                mid_block_additional_residual=middle,
                return_dict=False,
            )[0]

        @torch.no_grad()
        def predict(x_t: torch.Tensor, t: int) -> torch.Tensor:
            x = x_t.to(self.unet.dtype)
            prediction = told(x, t, None if text is None else text.prompt_embeds)
            if text is None or text.negative_prompt_embeds is None or text.guidance_scale == 1:
                return prediction
            against = told(x, t, text.negative_prompt_embeds)
            return against + text.guidance_scale * (prediction - against)

        return predict

    @torch.no_grad()
    def restore(self, x0_hat: torch.Tensor, picture: Picture, config: SamplingConfig) -> Picture:
        """The picture of a latent estimate [1,C,h,w]."""
        size, working_size = target_size(picture, config), self._working_size(picture, config)
        align = aligner(self._enlarged(picture, working_size), config.color)
        # In place, for a large picture fills much memory.
        sr = crop_to(self._decoded(x0_hat), working_size)
        sr = align(sr, out=sr)
        rgb = to_array(sr if size == working_size else resize(sr, size), overwrite=True)
        return Picture(rgb, _enlarged_alpha(picture, size), bits=picture.bits, notes=picture.notes)

    def steps(
        self,
        condition: Condition,
        plan: TimestepPlan,
        seeds: Sequence[int],
        made: Sequence[Step] = (),
    ) -> Iterator[Step]:
        """Run a batch of seeds along a plan, one step an evaluation; see `sample`."""
        return sample(
            self.predictor(condition, condition.text),
            self.scheduler,
            plan,
            SeededNoise(seeds, self._execution_device),
            (len(seeds), *condition.latent_shape),
            made,
            condition.lr_latent if self.scheduler.start_point == "lr" else None,
        )

    def _batches(
        self, seeds: Sequence[int], latent_shape: tuple[int, int, int]
    ) -> list[tuple[int, ...]]:
        """Split seeds into batches that the device works on at once."""
        parameters = self.unet.num_parameters()
        size = seeds_at_once(self._execution_device, latent_shape, parameters)
        return [tuple(seeds[i : i + size]) for i in range(0, len(seeds), size)]

    @torch.no_grad()
    def preview(self, x0_hat: torch.Tensor) -> np.ndarray:
        """A quick look at the first latent of a batch: [h,w,3] uint8, smaller than the result."""
        first = x0_hat[:1]
        shrink = -(-max(first.shape[2:]) // PREVIEW_LATENTS)
        if shrink > 1:
            first = functional.avg_pool2d(first, shrink, ceil_mode=True)
        return to_uint8(to_array(self._decoded(first)))


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
