"""A training recipe: a TOML file as frozen, checked configs.

Field names are the keys of the file, and tables that are left out are steps that are not run. Sizes
are in pixels of the HR picture, learning rates are peak values of a schedule, which warms up
linearly.
"""

import tomllib
from pathlib import Path
from typing import Annotated, Literal, Self, TypeVar

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from pydantic import model_validator as validator

from ccsr.config import DegradationModel
from ccsr.diffusion.scheduler import PredictionType
from ccsr.errors import InputError
from ccsr.models.compact_autoencoder import PaddingMode
from ccsr.option import Config

Implementation = Literal["paper", "official"]
Trained = Literal["controlnet", "both"]
"""The part of the denoising network that is trained: its ControlNet, or the UNet too."""
Perceptual = Literal["vgg", "alex", "both", "all"]
"""LPIPS of VGG16, of AlexNet, of both in turn, or these and DISTS in turn."""
PerceptualDtype = Literal["auto", "bfloat16", "float32"]
"""Number format of the networks of perceptual losses; auto: that of the trained networks."""

COMPRESSION = 8
"""Pixels per latent along each side, of the compact autoencoder and of Stable Diffusion's."""

RECIPES = Path(__file__).parent / "recipes"
"""The recipes that ship."""

T = TypeVar("T")
Share = Annotated[float, Field(ge=0, le=1)]
Decay = Annotated[float, Field(ge=0, lt=1)]
CropSize = Annotated[int, Field(gt=32, multiple_of=COMPRESSION)]
"""Side of a square crop in pixels, whole latents. The networks of the perceptual distances need
more than 32 pixels."""

# A table of the file becomes a config, and a list a tuple. Their parts are not converted.
Table = Annotated[T, Field(strict=False)]
Levels = Annotated[tuple[PositiveInt, ...], Field(strict=False, min_length=1)]
"""One number for each resolution, from the finest."""
ThreeLevels = Annotated[tuple[T, T, T], Field(strict=False)]
"""One number for each resolution of the autoencoder's features: 2, 4 and 8 pixels a side."""


class LoopConfig(Config):
    """One run of the training loop."""

    max_steps: PositiveInt
    batch_size: PositiveInt
    """Examples of a step, shared by all processes and micro-steps: results do not depend on how,
    but for the weight of the adversarial loss, which is one for each micro-step, and for batch
    normalisation in the discriminator of the authors' code."""
    learning_rate: PositiveFloat
    crop_px: CropSize
    least_crop_px: CropSize | None = None
    """If given, each step of stage 1, stage 2 and uniform training draws the side of its crops
    between this and `crop_px`. Zero padding and GroupNorm make what a network predicts depend on
    the size of the picture: what is trained on one size has the contrast wrong at others."""
    warmup_steps: NonNegativeInt = 50
    schedule: Literal["cosine", "constant"] = "cosine"
    """Of the learning rate after the warm-up: down to zero along a cosine, or constant."""
    gradient_accumulation_steps: PositiveInt = 1
    """Micro-steps that a step is made in: less memory, more time."""
    gradient_checkpointing: bool = False
    """Compute activations again in the backward pass, in the networks that can: less memory, more
    time."""
    optimizer: Literal["adamw", "adamw-8bit"] = "adamw"
    """adamw-8bit: with its state in a quarter of the memory; needs bitsandbytes."""
    betas: Annotated[tuple[Decay, Decay], Field(strict=False)] = (0.9, 0.99)
    weight_decay: NonNegativeFloat = 0.0
    max_grad_norm: NonNegativeFloat = 1.0
    """Gradients are scaled down to it; 0: they never are."""
    ema_decay: Decay = 0.995
    checkpoint_every: PositiveInt = 200
    keep_checkpoints: PositiveInt = 2
    """How many are kept, the newest."""
    log_every: PositiveInt = 20
    seed: NonNegativeInt = 231
    mixed_precision: Literal["auto", "no", "bf16", "fp16"] = "auto"

    @validator(mode="after")
    def _crops_ordered(self) -> Self:
        if self.least_crop_px is not None and self.least_crop_px > self.crop_px:
            raise InputError(
                f"least_crop_px must not be above crop_px, got least_crop_px={self.least_crop_px} "
                f"and crop_px={self.crop_px}; lower least_crop_px"
            )
        return self

    @validator(mode="after")
    def _warm_up_ends(self) -> Self:
        if self.warmup_steps > self.max_steps:
            raise InputError(
                f"warmup_steps must not be above max_steps, got warmup_steps={self.warmup_steps} "
                f"and max_steps={self.max_steps}; lower warmup_steps"
            )
        return self


class DegradationShares(Config):
    """Share of the pairs that each degradation model is applied to; together 1."""

    bicubic: Share = 0.0
    camera: Share = 0.0
    real_esrgan: Share = 0.0
    bsrgan: Share = 0.0

    @validator(mode="after")
    def _all_pairs(self) -> Self:
        total = sum(self.by_name().values())
        if abs(total - 1) > 1e-6:
            raise InputError(
                f"bicubic, camera, real_esrgan and bsrgan must sum to 1, got {total:g}"
            )
        return self

    def by_name(self) -> dict[DegradationModel, float]:
        """The shares by the names of the models."""
        return {
            "bicubic": self.bicubic,
            "camera": self.camera,
            "real-esrgan": self.real_esrgan,
            "bsrgan": self.bsrgan,
        }


CHANGEABLE = frozenset(
    {
        "max_steps",
        "gradient_accumulation_steps",
        "gradient_checkpointing",
        "checkpoint_every",
        "keep_checkpoints",
        "log_every",
    }
)
"""Fields of a `LoopConfig` that a training in a run folder may go on with other values of."""


class MachineConfig(Config):
    """How a training is put on the machine; results are the same but for rounding."""

    threads: PositiveInt | None = Field(
        default=None,
        description="Threads that a process computes with. On cores that other programs use too, "
        "fewer can be many times faster. Default: as torch chooses",
    )
    num_workers: NonNegativeInt = Field(
        default=0,
        description="Processes that read and degrade pictures beside the one that trains.",
    )
    perceptual_dtype: PerceptualDtype = Field(
        default="auto",
        description="Number format of the networks of perceptual losses: auto (that of the "
        "trained ones), bfloat16, float32. Their gradient in bfloat16 is not quite that in "
        "float32, and takes half the time on CPUs with instructions for it.",
    )
    tensorboard: bool = Field(
        default=False,
        description="Write curves for TensorBoard to the run folder, too (pip install "
        "-r requirements-train.txt).",
    )


class DataConfig(Config):
    """How training pictures become LR/HR pairs."""

    scale: PositiveInt = 4
    """Pixels of HR per pixel of LR along each side; divides `COMPRESSION`."""
    degradations: Table[DegradationShares] = DegradationShares(bicubic=0.5, real_esrgan=0.5)
    smallest_reduction: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Pictures are reduced by a random factor between this and 1 before cropping."""

    @validator(mode="after")
    def _whole_lr_pixels_a_latent(self) -> Self:
        if COMPRESSION % self.scale:
            raise InputError(
                f"scale must be 1, 2, 4 or 8, got {self.scale}; windows of LR and latents are cut "
                "at the same places"
            )
        return self


class AutoencoderConfig(Config):
    """The compact autoencoder."""

    loop: Table[LoopConfig]
    encoder_block_out_channels: ThreeLevels[PositiveInt] = (64, 128, 256)
    encoder_layers_per_block: ThreeLevels[NonNegativeInt] = (1, 0, 0)
    decoder_block_out_channels: ThreeLevels[PositiveInt] = (64, 64, 64)
    decoder_layers_per_block: ThreeLevels[NonNegativeInt] = (3, 3, 3)
    decoder_padding_mode: PaddingMode = "zeros"
    """What the convolutions of the decoder see beyond the border."""
    trained: Literal["both", "decoder"] = "both"
    """"decoder": another decoder for the latents of the model that is started from (`--init`)."""
    latent_channels: PositiveInt = 16
    latent_noise: NonNegativeFloat = 0.05
    """Standard deviation of the noise added to raw latents while training. The decoder becomes
    smooth in its latents, since estimates of the diffusion network are never exact."""
    kl_weight: NonNegativeFloat = 1e-3
    """Of the KL divergence of the noised latents from a standard normal distribution, as in Stable
    Diffusion: it keeps the encoder from outgrowing the noise."""
    perceptual_weight: NonNegativeFloat = 0.1
    perceptual_from: Share = 0.6
    """Share of the run after which the perceptual loss joins."""
    latent_rms: PositiveFloat = 1.0
    """Root mean square of the scaled latents. A smaller one lowers the signal-to-noise ratio of x_t
    at every t, so that results depend more on the condition and less on the seed."""


class NetworkConfig(Config):
    """UNet and ControlNet of a compact model, which begin untrained."""

    block_out_channels: Levels = (64, 96, 128)
    layers_per_block: PositiveInt = 1
    condition_network: Literal["lr-adapter", "controlnet"] = "lr-adapter"
    """What reads the LR picture: an LR adapter, evaluated once a picture, or a ControlNet with the
    depth and channels of the UNet, evaluated at every step as at full size."""
    lr_adapter_channels: Levels = (128, 160, 192)
    lr_adapter_layers: Levels = (6, 2, 2)
    """The UNet is evaluated at every step of every seed: depth costs least here."""
    norm_num_groups: PositiveInt = 32
    prediction_type: PredictionType = "v_prediction"

    @validator(mode="after")
    def _groups_divide_channels(self) -> Self:
        own = ("lr_adapter_channels",) if self.condition_network == "lr-adapter" else ()
        for name in ("block_out_channels", *own):
            channels: tuple[int, ...] = getattr(self, name)
            if any(count % self.norm_num_groups for count in channels):
                raise InputError(
                    f"{name} must be divisible by norm_num_groups={self.norm_num_groups}, got "
                    f"{channels}; change one of them"
                )
        return self

    @validator(mode="after")
    def _as_many_levels(self) -> Self:
        if self.condition_network == "controlnet":
            return self
        for name in ("lr_adapter_channels", "lr_adapter_layers"):
            numbers: tuple[int, ...] = getattr(self, name)
            if len(numbers) != len(self.block_out_channels):
                raise InputError(
                    f"{name} must have a number for each of the {len(self.block_out_channels)} "
                    f"resolutions of block_out_channels, got {numbers}"
                )
        return self


class PairsConfig(Config):
    """A cache of encoded LR/HR pairs for the latent stages."""

    count: PositiveInt
    crop_px: CropSize = 384
    seed: NonNegativeInt = 231


def require_crops_within(loop: LoopConfig, name: str, pairs: PairsConfig) -> None:
    """Check that the crops of a stage fit into those of its cache.

    Raises:
        InputError: If they do not.
    """
    if loop.crop_px > pairs.crop_px:
        raise InputError(
            f"loop.crop_px must not be above {name}.crop_px, got {loop.crop_px} and "
            f"{pairs.crop_px}; crops are cut from the cached ones"
        )


class RefinementConfig(Config):
    """Where the sampler refines, as fractions of T."""

    t_max: Share = 0.6667
    t_min: Share = 0.3333

    @validator(mode="after")
    def _ordered(self) -> Self:
        if self.t_min > self.t_max:
            raise InputError(
                f"t_min must not be above t_max, got t_min={self.t_min} and t_max={self.t_max}; "
                "lower t_min or raise t_max"
            )
        return self


class UniformConfig(Config):
    """Uniform training of the denoising network (variant V1)."""

    loop: Table[LoopConfig]
    pairs: Table[PairsConfig]
    trained: Trained = "both"
    noise_levels: PositiveInt = 2
    """Timesteps tried on each example of a batch; they share the features of the condition."""

    @validator(mode="after")
    def _fits(self) -> Self:
        require_crops_within(self.loop, "pairs", self.pairs)
        return self


class Stage1Config(RefinementConfig):
    """Structure refinement (variant V2): paper Eq. 3."""

    loop: Table[LoopConfig]
    pairs: Table[PairsConfig]
    l_diff_t_min: Share = 0.0
    """Least timestep of l_diff, as a fraction of T. The paper has t_min; a model that was also
    trained below can be sampled with any t_min."""
    trained: Trained = "both"
    perceptual: Perceptual = "all"
    perceptual_weight: NonNegativeFloat = 0.0
    """Of the perceptual distance between HR and decoded estimates of the refinement."""
    perceptual_crops: PositiveInt = 4
    """Crops of a batch that the perceptual distance is measured on."""
    perceptual_crop_px: CropSize = 128

    @validator(mode="after")
    def _fits(self) -> Self:
        require_crops_within(self.loop, "pairs", self.pairs)
        if self.l_diff_t_min >= self.t_max:
            raise InputError(
                f"l_diff_t_min must be below t_max, got l_diff_t_min={self.l_diff_t_min} and "
                f"t_max={self.t_max}; lower l_diff_t_min"
            )
        return self


class Stage2Config(RefinementConfig):
    """Detail enhancement (variant CCSR): the decoder, adversarially."""

    loop: Table[LoopConfig]
    rollouts: Table[PairsConfig]
    num_steps: PositiveInt = 45
    """Size of the grid of timesteps that roll-outs are sampled with."""
    perceptual: Perceptual = "vgg"
    perceptual_weight: NonNegativeFloat = 1.0
    perceptual_from: Share = 0.0
    """Share of the run after which the perceptual distance joins; L1 alone teaches a new LR branch
    most in the beginning, in a third of the time."""
    adversarial_weight: NonNegativeFloat = 0.5
    adversarial_from: Share = 0.1
    """Share of the run after which the discriminator is trained, and its logits join the decoder's
    loss."""
    lr_blocks: NonNegativeInt = 0
    """Residual blocks of the decoder's LR branch; 0: the decoder reads latents only."""
    decoder_padding_mode: PaddingMode | None = None
    """What the decoder's convolutions see beyond the border; as pre-trained when absent."""
    true_latents: Share = 0.0
    """Share of examples decoded from the latent of HR in place of the estimate, so that the
    decoder does not learn to ignore the details of latents."""
    discriminator: Literal["patch", "features"] = "patch"
    """What the discriminator reads: pixels, or features of VGG16."""
    discriminator_channels: PositiveInt = 64
    discriminator_learning_rate: PositiveFloat | None = None
    """As the decoder's when absent."""

    @validator(mode="after")
    def _fits(self) -> Self:
        require_crops_within(self.loop, "rollouts", self.rollouts)
        return self


class ValidationConfig(RefinementConfig):
    """How networks are validated on held-out pictures (`--held-out`) while they are trained.

    It may be changed when a training continues.
    """

    every: PositiveInt = 1000
    """Steps from one validation to the next; there always is one after the last step."""
    pictures: PositiveInt = 4
    crop_px: CropSize = 256
    """Side of the square in the middle of each picture."""
    seeds: PositiveInt = 4
    """Results of each picture, for L-STD."""
    num_steps: PositiveInt = 45
    """Size of the grid of timesteps that results are sampled with."""


class Recipe(Config):
    """What is trained, in this order; tables that are left out are not.

    Without `autoencoder` and `network`, the networks are those of the model that training starts
    from (`--init`), for example of Stable Diffusion 2.1.
    """

    implementation: Implementation = "paper"
    """What is followed where the paper and the authors' code differ: see docs/TRAINING.md."""
    autoencoder: Table[AutoencoderConfig] | None = None
    network: Table[NetworkConfig] | None = None
    uniform: Table[UniformConfig] | None = None
    """If left out, stage 1 starts from the networks that this would have started from."""
    stage1: Table[Stage1Config] | None = None
    stage2: Table[Stage2Config] | None = None
    data: Table[DataConfig] = DataConfig()
    validation: Table[ValidationConfig] = ValidationConfig()

    @validator(mode="after")
    def _complete(self) -> Self:
        if not (self.autoencoder or self.uniform or self.stage1 or self.stage2):
            raise InputError(
                "the recipe trains nothing: give it at least one of the tables autoencoder, "
                "uniform, stage1 and stage2"
            )
        if self.autoencoder and not self.network and (self.uniform or self.stage1):
            raise InputError(
                "network is missing; it must be a table: an autoencoder of its own needs UNet and "
                "ControlNet of their own"
            )
        return self

    @validator(mode="after")
    def _official(self) -> Self:
        if self.implementation == "official":
            for name, stage in (("stage1", self.stage1), ("stage2", self.stage2)):
                if stage is not None:
                    require_official(name, stage)
        return self


def require_official(name: str, stage: Stage1Config | Stage2Config) -> None:
    """Check that a stage asks for nothing that the authors' code has not.

    Raises:
        InputError: If it does.
    """
    expected: dict[str, object] = {"loop.schedule": "constant"}
    if isinstance(stage, Stage1Config):
        # Its two optimisers share the parameters, and would share accumulated gradients.
        expected |= {"trained": "controlnet", "l_diff_t_min": 0.0, "perceptual_weight": 0.0}
        expected |= {"loop.gradient_accumulation_steps": 1}
    else:
        expected |= {"discriminator": "patch", "lr_blocks": 0, "true_latents": 0.0}
    for key, value in expected.items():
        config: Config = stage.loop if key.startswith("loop.") else stage
        found = getattr(config, key.removeprefix("loop."))
        if found != value:
            raise InputError(
                f"{name}.{key} must be {value} with implementation = 'official', got {found}; "
                "the authors' code has nothing else"
            )


def recipe_path(name: str) -> Path:
    """The file of a recipe: that of this name in the package, such as "sd21", or else any file."""
    shipped = RECIPES / f"{name}.toml"
    return shipped if shipped.is_file() else Path(name)


def load_recipe(path: Path) -> Recipe:
    """Read a recipe.

    Raises:
        InputError: If the file is no TOML, or a key is unknown, missing, of the wrong type or out
            of its range, or keys contradict each other.
        FileNotFoundError: If there is no such file.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no recipe {path}; check the name")
    try:
        tree = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not a TOML file: {error}") from error
    try:
        return Recipe(**tree)
    except ValueError as error:
        raise InputError(f"{path.name}: {error}") from error
