"""What a person chooses: every default, range and help text of the product.

The command line, the sliders of the page and the tables of the README are made
from the fields below, so a default or a sentence of help is written once, here.
"""

from dataclasses import dataclass
from typing import Annotated, Literal, Self, get_args

from pydantic import Field, model_validator

from ccsr.errors import InputError
from ccsr.option import Config, DefaultOfModel, Step, option, shown

Variant = Literal["ccsr", "v2", "v1"]
ColorAlignment = Literal["adain-wavelet", "adain", "wavelet", "none"]
Precision = Literal["auto", "float32", "bfloat16", "float16"]

StartPoint = Literal["noise", "lr"]

DegradationModel = Literal["real-esrgan", "bsrgan", "camera", "bicubic"]
"""How HR is degraded to LR, see `ccsr/degradation/`."""

VARIANTS: tuple[Variant, ...] = get_args(Variant)


def variant_label(variant: str) -> str:
    """The name of a variant as the paper writes it: CCSR, V2 or V1."""
    return variant.upper()


COMPACT = "compact"
"""Name of the model that ships."""

MAX_SEED = 2**31 - 1
MAX_SEEDS_PER_RUN = 50
MAX_PROMPT_LENGTH = 1000
MAX_RESULT_PIXELS = 4096 * 4096
"""Latents and pixels are held whole; at this size the process has 2 GB with the compact model."""


class SamplingConfig(Config):
    """The settings of the sampler; with a seed and a picture they fix every pixel.

    Raises:
        InputError: If a field is out of its range, t_min is above t_max, or prompts and guidance
            scale do not fit together.
    """

    scale: Annotated[float, Step(1.0)] = Field(
        default=4.0,
        ge=1,
        le=8,
        title="Scale",
        description="How many times larger the result is than the input, on each side.",
    )
    variant: Variant = Field(
        default="ccsr",
        title="Variant",
        description="CCSR: non-uniform sampling and fine-tuned decoder (the full method). "
        "V2: non-uniform sampling, decoder as pre-trained. "
        "V1: ordinary uniform diffusion, as many network evaluations; "
        "t_max and t_min only set their number.",
    )
    num_steps: Annotated[int, Step(1), DefaultOfModel()] = Field(
        default=45,
        ge=1,
        le=200,
        title="Steps of the grid (S)",
        description="Size of the uniform grid of timesteps over the whole diffusion process. "
        "Only the grid points between t_max and t_min are visited, so a finer grid "
        "means more refinement steps. The paper has 45.",
    )
    t_max: Annotated[float, Step(0.0001)] = Field(
        default=0.6667,
        ge=0,
        le=1,
        title="t_max",
        description="Where refinement starts, as a fraction of the diffusion process. Higher adds "
        "more noise to the first estimate: more invented detail, less agreement between seeds.",
    )
    t_min: Annotated[float, Step(0.0001)] = Field(
        default=0.3333,
        ge=0,
        le=1,
        title="t_min",
        description="Where refinement is cut off and the estimate goes to the decoder, as a "
        "fraction of the diffusion process. Lower refines longer: finer detail, more time, less "
        "agreement between seeds. Equal to t_max: no refinement, the first estimate is decoded.",
    )
    color: ColorAlignment = Field(
        default="adain-wavelet",
        title="Colour alignment",
        description="How colours are aligned to the input. adain: mean and standard deviation of "
        "each channel. wavelet: all low frequencies. adain-wavelet: one after the other. none: as "
        "decoded.",
    )
    prompt: str = Field(
        default="",
        max_length=MAX_PROMPT_LENGTH,
        title="Prompt",
        description="A description of the picture. Only for models that have a text encoder.",
    )
    negative_prompt: str = Field(
        default="",
        max_length=MAX_PROMPT_LENGTH,
        title="Negative prompt",
        description="A description of what the picture should not be like; it needs a guidance "
        "scale above 1. Only for models that have a text encoder.",
    )
    guidance_scale: Annotated[float, Step(0.5)] = Field(
        default=1.0,
        ge=1,
        le=20,
        title="Guidance scale",
        description="Scale of classifier-free guidance from the negative prompt to the prompt. At "
        "1 the negative prompt is not used; above, each step takes two network evaluations.",
    )

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        if self.t_min > self.t_max:
            raise InputError(
                f"t_min must not be above t_max, got t_min={self.t_min} and t_max={self.t_max}; "
                "lower t_min or raise t_max"
            )
        if self.negative_prompt and self.guidance_scale == 1:
            raise InputError(
                "negative_prompt needs a guidance_scale above 1; raise it, or leave both out"
            )
        if self.guidance_scale != 1 and self.prompt == self.negative_prompt:
            raise InputError(
                "guidance_scale above 1 leads from the negative prompt to the prompt, and they are "
                "the same; change one, or set guidance_scale to 1"
            )
        return self

    @property
    def prompt_key(self) -> tuple[str, str, float]:
        """What the estimates of a run depend on besides picture, seed and timesteps."""
        return self.prompt, self.negative_prompt, self.guidance_scale


class TilingConfig(Config):
    """How latents are cut into tiles for a network that cannot take a large picture at once.

    Raises:
        InputError: If tiles would leave gaps, or have no size.
    """

    tile: int = Field(default=64, ge=1)
    """Side of a tile in latents: at full size 512 pixels, what Stable Diffusion was trained on."""
    stride: int = Field(default=32, ge=1)
    """From one tile to the next, in latents."""
    weights: Literal["gaussian", "official"] = "gaussian"
    """How overlapping tiles are blended; "official" is not quite symmetric, for parity."""

    @model_validator(mode="after")
    def _no_gaps(self) -> Self:
        if self.stride > self.tile:
            raise InputError(
                f"stride must not be above the size of a tile, got stride={self.stride} and "
                f"tile={self.tile}; larger strides leave gaps"
            )
        return self


class LoadingConfig(Config):
    """How a model is put on a machine; results are the same but for rounding.

    Raises:
        InputError: If a field is out of its range, or fields contradict each other.
    """

    device: str = Field(
        default="auto",
        title="Device",
        description="Where to compute: auto (a GPU if there is one), cpu, cuda, cuda:1, mps.",
    )
    dtype: Precision = Field(
        default="auto",
        title="Number format",
        description="What networks compute in; auto is the fastest of the device.",
    )
    tiling: bool = Field(
        default=True,
        title="Tiling",
        description="Work on large pictures in tiles. Without it every picture is worked on whole.",
    )
    max_memory: float | None = Field(
        default=None,
        ge=0.001,
        le=1024,
        title="Memory of a run",
        description="GiB that a run may take beside the loaded model, about. Large pictures are "
        "coded in smaller tiles, which takes somewhat more time, and refused if that is not "
        "enough. By default tiles are of 1024 pixels.",
    )
    offload: bool = Field(
        default=False,
        title="Offload",
        description="Keep only the network that works on the GPU: less of its memory, more time.",
    )
    compile: bool = Field(
        default=False,
        title="Compile",
        description="Compile the UNet by torch.compile, for GPUs: a first run of each size takes "
        "up to a minute longer. On a CPU it was no faster.",
    )

    @model_validator(mode="after")
    def _memory_needs_tiles(self) -> Self:
        if self.max_memory is not None and not self.tiling:
            raise InputError(
                "max_memory limits the tiles of large pictures, and without tiling there are "
                "none; leave one of the two out"
            )
        return self


class RunConfig(Config):
    """What a run takes besides the settings of the sampler."""

    seed: Annotated[int, Step(1)] = Field(
        default=0,
        ge=0,
        le=MAX_SEED,
        title="Seed",
        description="The number that fixes all random draws: same seed, same settings, same "
        "picture.",
    )
    num_seeds: Annotated[int, Step(1)] = Field(
        default=10,
        ge=2,
        le=MAX_SEEDS_PER_RUN,
        title="Number of seeds",
        description="How many results to make from the same picture, each from its own random "
        "draws.",
    )
    num_sweep_seeds: Annotated[int, Step(1)] = Field(
        default=4,
        ge=1,
        le=10,
        title="Seeds a setting",
        description="With how many seeds each setting is tried. Scores are their means, L-STD is "
        "the standard deviation over them.",
    )
    num_variant_seeds: Annotated[int, Step(1)] = Field(
        default=4,
        ge=2,
        le=10,
        title="Seeds a variant",
        description="With how many seeds each variant is run, to show its best, its worst and "
        "their standard deviation.",
    )
    agreement: Annotated[float, Step(0.1)] = Field(
        default=5.0,
        ge=0,
        le=25,
        title="Allowed deviation, grey levels",
        description="Blend a result with the mean of the seeds where their standard deviation, in "
        "grey levels of 255 as in the map, exceeds this, softly: keeps the detail that the seeds "
        "agree on. 0 gives the mean everywhere.",
    )
    quality: Annotated[int, Step(1)] = Field(
        default=90,
        ge=30,
        le=100,
        title="Quality",
        description="Higher is larger, and closer to the result.",
    )
    deviation: Annotated[float, Step(0.1)] = Field(
        default=0.0,
        ge=-2,
        le=2,
        title="Component",
        description="How far the mean of the seeds is moved along a principal component, in "
        "standard deviations.",
    )


class EvaluationConfig(Config):
    """What a comparison of methods takes, besides folders, methods of others and the model.

    Raises:
        InputError: If a field is out of its range.
    """

    variant: str = Field(
        default="ccsr",
        title="Variants",
        description="Variants of the model, with commas between; each is run with the first "
        "preset, for Table 4.",
    )
    preset: str = Field(
        default="ccsr",
        title="Presets",
        description="Presets, with commas between; the first variant is run with each, for "
        "Table 5.",
    )
    seeds: str = Field(
        default="0-9",
        title="Seeds",
        description='Seeds such as "0-9" or "3,5,8". G-STD and L-STD need at least two.',
    )
    metrics: str = Field(
        default="psnr,ssim,lpips,dists,niqe",
        title="Metrics",
        description="Metrics, with commas between: psnr, ssim, lpips, lpips-vgg, dists, niqe, "
        "sharpness, and with pyiqa installed fid, musiq, clipiqa, maniqa and all others of it.",
    )
    convention: Literal["paper", "osediff"] = Field(
        default="paper",
        title="Convention",
        description="paper: 4 pixels at the border are left out. osediff: none are, and SSIM is "
        "that of IQA-PyTorch.",
    )
    degradation: str = Field(
        default="bicubic",
        title="Degradations",
        description="How LR is made of HR where no folder of LR is given: bicubic, camera, "
        "real-esrgan or bsrgan, or several with commas between, each a test set of its own.",
    )
    baselines: str = Field(
        default="bicubic",
        title="Baselines",
        description="bicubic, and real-esrgan and realsr-df2k if ncnn and their weights are "
        "installed, with commas between; or none.",
    )
    scale: int = Field(
        default=4,
        ge=1,
        le=8,
        title="Scale",
        description="How many times larger HR is than LR, on each side.",
    )
    limit: int | None = Field(
        default=None,
        ge=1,
        le=1_000_000,
        title="Pictures",
        description="Only so many pictures of each folder, the first by name.",
    )
    trajectories: int = Field(
        default=4,
        ge=0,
        le=1000,
        title="Trajectories",
        description="Of so many pictures the estimates of a run are scored against the timestep "
        "(the paper's Figure 2).",
    )
    illustrations: int = Field(
        default=100,
        ge=0,
        le=1000,
        title="Illustrations",
        description="Of so many pictures of each test set small pictures are kept for the report.",
    )
    diffusers_steps: int | None = Field(
        default=None,
        ge=1,
        le=1000,
        title="Steps of diffusers",
        description="Steps of pipelines of diffusers; by default their own.",
    )
    keep_pictures: bool = Field(
        default=False,
        title="Keep pictures",
        description="Keep all results, as --restored takes them. FID needs them.",
    )
    time: bool = Field(
        default=True,
        title="Time",
        description="Measure seconds a picture (Table 2).",
    )


@dataclass(frozen=True)
class Preset:
    """A named point of the trade-off between fidelity and detail."""

    label: str
    help: str
    t_max: float
    t_min: float
    num_steps: int | None = None
    """None: of the model."""
    start_point: StartPoint | None = None
    """Only for models whose runs start there; None: for all."""

    def apply(self, config: SamplingConfig) -> SamplingConfig:
        """`config` with t_max and t_min of this preset, and its grid if it has one."""
        num_steps = config.num_steps if self.num_steps is None else self.num_steps
        return config.replace(num_steps=num_steps, t_max=self.t_max, t_min=self.t_min)


PRESETS: dict[str, Preset] = {
    "ccsr": Preset("CCSR", "The paper's t_max and t_min.", 0.6667, 0.3333),
    "a1": Preset("A1", "Jumps lower: most faithful and stable, least detail.", 0.5, 0.3333),
    "a2": Preset("A2", "Stops earlier: less time, less detail.", 0.6667, 0.5),
    "a3": Preset("A3", "Jumps higher: more invented detail, less stable.", 0.8, 0.3333),
    "a4": Preset("A4", "Refines longer: finer detail, less stable.", 0.6667, 0.2),
    "paper": Preset("Paper", "Its grid of 45: sixteen evaluations.", 0.6667, 0.3333, 45),
    "fast": Preset("Fast", "Two network evaluations: T, then half-way.", 0.5, 0.3333, 3),
    "extraction": Preset("Extraction", "The first estimate only, nothing refined.", 0.5, 0.5),
    "v2": Preset("CCSR v2", "Two network evaluations: T, then half-way.", 0.6667, 0.5, 6, "lr"),
    "v2-one": Preset("CCSR v2, one step", "One network evaluation.", 0.5, 0.5, 6, "lr"),
}


def presets_for(start_point: StartPoint, base: SamplingConfig) -> dict[str, SamplingConfig]:
    """By name, the settings that the presets for a model make of its defaults.

    Presets that are the same for this model are there once.

    Args:
        start_point: Where its runs start.
        base: Its default settings.
    """
    found: dict[str, SamplingConfig] = {}
    for name, preset in PRESETS.items():
        config = preset.apply(base)
        if preset.start_point in (None, start_point) and config not in found.values():
            found[name] = config
    return found


TABLE_5 = ("a1", "a2", "ccsr", "a3", "a4")
"""The presets that the paper compares, in its Table 5."""

SEED = option(RunConfig, "seed")
NUM_SEEDS = option(RunConfig, "num_seeds")
NUM_SWEEP_SEEDS = option(RunConfig, "num_sweep_seeds")
NUM_VARIANT_SEEDS = option(RunConfig, "num_variant_seeds")
AGREEMENT = option(RunConfig, "agreement")
QUALITY = option(RunConfig, "quality")
DEVIATION = option(RunConfig, "deviation")
DEFAULT_SEED: int = SEED.default
DEFAULT_NUM_SEEDS: int = NUM_SEEDS.default
DEFAULT_SWEEP_SEEDS: int = NUM_SWEEP_SEEDS.default
DEFAULT_AGREEMENT: float = AGREEMENT.default
DEFAULT_QUALITY: int = QUALITY.default
DEFAULT_T_MAXS = (0.5, 0.6667, 0.8)
DEFAULT_T_MINS = (0.2, 0.3333, 0.5)

L_STD_HELP = (
    "L-STD: standard deviation of each pixel over the seeds, averaged over the picture "
    "(paper Eq. 5; of pixels in [0, 1], so at most 0.5; 4-pixel border left out). Lower is more "
    "stable."
)
G_STD_HELP = (
    "G-STD: standard deviation of a quality score over the seeds (paper Eq. 4). "
    "Lower is more stable."
)
REFERENCE_HELP = (
    "The true high-resolution picture, exactly scale times the input. With it, PSNR, SSIM and "
    "LPIPS of every seed are measured."
)


def parse_seeds(text: str) -> tuple[int, ...]:
    """Read a list of seeds such as "0-9" or "3,5,8-10".

    Returns:
        The seeds in the order given, each once.

    Raises:
        InputError: If the text is no such list, or has more than MAX_SEEDS_PER_RUN seeds.
    """
    seeds: dict[int, None] = {}
    for part in text.split(","):
        first, dash, last = (piece.strip() for piece in part.strip().partition("-"))
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise InputError(f'seeds must look like "0-9" or "3,5,8", got {shown(text)}')
        if max(len(first), len(last)) > len(str(MAX_SEED)):
            raise InputError(f"a seed must be at most {MAX_SEED}, got {shown(part)}")
        start, stop = int(first), int(last) if dash else int(first)
        if stop < start:
            raise InputError(f"seeds must rise, got {shown(part.strip())}; write {stop}-{start}")
        if stop > MAX_SEED:
            raise InputError(f"a seed must be at most {MAX_SEED}, got {stop}")
        if stop - start >= MAX_SEEDS_PER_RUN:
            raise InputError(f"at most {MAX_SEEDS_PER_RUN} seeds a run, got {shown(part.strip())}")
        seeds.update(dict.fromkeys(range(start, stop + 1)))
    if len(seeds) > MAX_SEEDS_PER_RUN:
        raise InputError(f"at most {MAX_SEEDS_PER_RUN} seeds a run, got {len(seeds)}")
    return tuple(seeds)
