"""A training recipe: TOML file -> frozen dataclasses, checked.

Field names are the keys of the file. Sizes are in pixels of the HR picture, learning rates are
peak values of a schedule that warms up linearly and decays to zero (cosine).
"""

import dataclasses
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin

from ccsr.diffusion.scheduler import PredictionType

T = TypeVar("T")

Perceptual = Literal["vgg", "alex", "both", "all"]
"""LPIPS of VGG16, of AlexNet, of both in turn, or these and DISTS in turn."""

Chain = Literal["real-esrgan", "bsrgan", "bicubic"]
"""How HR is degraded to LR, see `training/degradation/`."""

COMPRESSION = 8
"""Pixels per latent along each side, of the compact autoencoder and of Stable Diffusion's."""


@dataclass(frozen=True)
class LoopConfig:
    """One run of the training loop."""

    max_steps: int
    batch_size: int
    learning_rate: float
    crop_px: int
    warmup_steps: int = 50
    gradient_accumulation_steps: int = 1
    betas: tuple[float, float] = (0.9, 0.99)
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    ema_decay: float = 0.995
    checkpoint_every: int = 200
    log_every: int = 20
    seed: int = 231
    mixed_precision: Literal["auto", "no", "bf16", "fp16"] = "auto"


@dataclass(frozen=True)
class DataConfig:
    """How training pictures become LR/HR pairs."""

    scale: int = 4
    bicubic_share: float = 0.5
    """Share of pairs degraded by bicubic reduction only; the others by `chain`."""
    chain: Chain = "real-esrgan"
    smallest_reduction: float = 0.5
    """Pictures are reduced by a random factor between this and 1 before cropping."""


@dataclass(frozen=True)
class AutoencoderConfig:
    """The compact autoencoder."""

    loop: LoopConfig
    block_out_channels: tuple[int, ...] = (32, 64, 128, 256)
    encoder_layers_per_block: tuple[int, ...] = (0, 1, 1, 1)
    decoder_layers_per_block: tuple[int, ...] = (0, 2, 2, 2)
    decoder_block_out_channels: tuple[int, ...] | None = None
    """As those of the encoder when absent."""
    trained: Literal["both", "decoder"] = "both"
    """"decoder": another decoder for the latents of the model that is started from (`--init`)."""
    latent_channels: int = 16
    latent_noise: float = 0.05
    """Noise added to latents while training, relative to their sigma."""
    perceptual_weight: float = 0.1
    perceptual_from: float = 0.6
    """Share of the run after which the perceptual loss joins."""
    latent_rms: float = 1.0
    """Root mean square of the scaled latents. A smaller one lowers the signal-to-noise ratio of x_t
    at every t, so that results depend more on the condition and less on the seed."""


@dataclass(frozen=True)
class NetworkConfig:
    """UNet and ControlNet of the compact model."""

    block_out_channels: tuple[int, ...] = (64, 96, 128)
    layers_per_block: int = 1
    controlnet: Literal["picture", "latent"] = "picture"
    """Which class: evaluated once a picture, or at every step as at full size. Depth and channels
    of its own has only the first."""
    controlnet_channels: tuple[int, ...] = (128, 160, 192)
    controlnet_layers: tuple[int, ...] = (6, 2, 2)
    """The UNet is evaluated at every step of every seed: depth costs least here."""
    norm_num_groups: int = 32
    prediction_type: PredictionType = "v_prediction"


@dataclass(frozen=True)
class PairsConfig:
    """A store of encoded LR/HR pairs for the latent stages."""

    count: int
    crop_px: int = 384
    seed: int = 231


@dataclass(frozen=True)
class UniformConfig:
    """Uniform training of UNet and ControlNet together (variant V1)."""

    loop: LoopConfig
    pairs: PairsConfig
    noise_levels: int = 2
    """Timesteps tried on each example of a batch; they share the features of the condition."""


@dataclass(frozen=True)
class Stage1Config:
    """Structure refinement (variant V2): paper Eq. 3."""

    loop: LoopConfig
    pairs: PairsConfig
    t_max: float = 0.6667
    t_min: float = 0.3333
    trained: Literal["controlnet", "both"] = "both"
    perceptual: Perceptual = "all"
    perceptual_weight: float = 0.0
    """Of the perceptual distance between HR and decoded estimates of the refinement."""
    perceptual_crops: int = 4
    """On so many crops of a batch."""
    perceptual_crop_px: int = 128


@dataclass(frozen=True)
class Stage2Config:
    """Detail enhancement (variant CCSR): the decoder, adversarially."""

    loop: LoopConfig
    rollouts: PairsConfig
    num_steps: int = 45
    t_max: float = 0.6667
    t_min: float = 0.3333
    perceptual: Perceptual = "vgg"
    perceptual_weight: float = 1.0
    adversarial_weight: float = 0.5
    adversarial_from: float = 0.1
    """Share of the run after which the discriminator's logits joins the decoder's loss."""
    discriminator: Literal["patch", "features"] = "patch"
    """What it looks at: pixels, or what VGG16 makes of them."""
    discriminator_channels: int = 64
    discriminator_learning_rate: float | None = None
    """As the decoder's when absent."""


@dataclass(frozen=True)
class Recipe:
    """All four steps of training."""

    autoencoder: AutoencoderConfig
    uniform: UniformConfig
    stage1: Stage1Config
    stage2: Stage2Config
    data: DataConfig = field(default_factory=DataConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)


def load_recipe(path: Path) -> Recipe:
    """Read a recipe.

    Raises:
        ValueError: If the file is no TOML, or a key is unknown, missing or of the wrong type.
        FileNotFoundError: If there is no such file.
    """
    try:
        tree = tomllib.loads(path.read_text())
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path} is not a TOML file: {error}") from error
    return _build(Recipe, tree, path.name)


def _build(config_type: type[T], tree: dict[str, Any], where: str) -> T:
    """Turn a table into a config class, descending into its sub-tables."""
    fields = {f.name: f for f in dataclasses.fields(config_type)}  # type: ignore[arg-type]
    if unknown := sorted(tree.keys() - fields.keys()):
        raise ValueError(f"{where}: unknown {unknown}; known are {sorted(fields)}")
    required = {
        name
        for name, f in fields.items()
        if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    }
    if missing := sorted(required - tree.keys()):
        raise ValueError(f"{where}: {missing} must be given")
    values = {
        name: _value(fields[name].type, value, f"{where}: {name}") for name, value in tree.items()
    }
    return config_type(**values)


def _value(expected: Any, value: Any, where: str) -> Any:  # noqa: ANN401 - any TOML value
    if dataclasses.is_dataclass(expected):
        if not isinstance(value, dict):
            raise ValueError(f"{where} must be a table, got {value!r}")
        return _build(expected, value, where)  # type: ignore[arg-type]
    if isinstance(value, list):
        return tuple(value)
    if expected is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if get_origin(expected) is Literal and value not in get_args(expected):
        raise ValueError(f"{where} must be one of {', '.join(get_args(expected))}, got {value!r}")
    if expected in (int, float, str) and type(value) is not expected:
        raise ValueError(f"{where} must be {expected.__name__}, got {value!r}")
    return value
