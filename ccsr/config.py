"""What a person chooses: every default, range and help text of the product.

The command line, the sliders of the page and the tables of the README are made
from the fields below, so a default or a sentence of help is written once, here.
"""

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal, get_args

Variant = Literal["ccsr", "v2", "v1"]
ColorAlignment = Literal["adain", "wavelet", "none"]

StartPoint = Literal["noise", "lr"]

VARIANTS: tuple[Variant, ...] = get_args(Variant)
COLOR_ALIGNMENTS: tuple[ColorAlignment, ...] = get_args(ColorAlignment)

COMPACT = "compact"
"""Name of the model that ships."""

MAX_SEED = 2**31 - 1
MAX_SEEDS_PER_RUN = 50
MAX_PROMPT_LENGTH = 1000
MAX_RESULT_PIXELS = 4096 * 4096
"""Latents and pixels are held whole; at this size the process has 2 GB with the compact model."""


@dataclass(frozen=True)
class Option:
    """What the interfaces need to know about one field.

    A numeric option has a range, a choice has its allowed values; `step` is the
    grid of a slider and does not restrict other values.
    """

    label: str
    help: str
    minimum: float | None = None
    maximum: float | None = None
    step: float | None = None
    choices: tuple[str, ...] | None = None
    max_length: int | None = None
    """Of a text: how many characters."""

    def check(self, name: str, value: Any) -> None:  # noqa: ANN401 - this is the type check
        """Raise ValueError unless `value` is in the range, among the choices, or short enough."""
        if self.max_length is not None:
            if not isinstance(value, str) or len(value) > self.max_length:
                raise ValueError(
                    f"{name} must be a text of at most {self.max_length} characters, got {value!r}"
                )
            return
        if self.choices is not None:
            if value not in self.choices:
                raise ValueError(f"{name} must be one of {', '.join(self.choices)}, got {value!r}")
            return
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f"{name} must be a number, got {value!r}")
        low, high = self.minimum, self.maximum
        # Written so that NaN, which compares false with everything, is refused too.
        if not ((low is None or value >= low) and (high is None or value <= high)):
            raise ValueError(f"{name} must be from {low:g} to {high:g}, got {value}")


def _field(default: Any, label: str, help: str, **limits: Any) -> Any:  # noqa: ANN401
    return dataclasses.field(default=default, metadata={"option": Option(label, help, **limits)})


def option(config_type: type, name: str) -> Option:
    """The `Option` of field `name` of a config class."""
    return next(f for f in dataclasses.fields(config_type) if f.name == name).metadata["option"]


@dataclass(frozen=True)
class SamplingConfig:
    """One setting of the sampler; with a seed and a picture it fixes every pixel.

    Raises:
        ValueError: If a field is out of its range, or t_min is above t_max.
    """

    scale: float = _field(
        4.0,
        "Scale",
        "How many times larger the result is than the input, on each side.",
        minimum=1.0,
        maximum=8.0,
        step=1.0,
    )
    variant: Variant = _field(
        "ccsr",
        "Variant",
        "ccsr: non-uniform sampling and fine-tuned decoder (the full method). "
        "v2: non-uniform sampling, decoder as pre-trained. "
        "v1: ordinary uniform diffusion, as many network evaluations; "
        "t_max and t_min only set their number.",
        choices=VARIANTS,
    )
    num_steps: int = _field(
        45,
        "Steps of the grid (S)",
        "Size of the uniform grid of timesteps laid over the whole diffusion process. "
        "Only the grid points between t_max and t_min are visited, so a finer grid "
        "means more refinement steps.",
        minimum=1,
        maximum=200,
        step=1,
    )
    t_max: float = _field(
        0.6667,
        "t_max",
        "Where refinement starts, as a fraction of the diffusion process. Higher adds more "
        "noise to the first estimate: more invented detail, less agreement between seeds.",
        minimum=0.0,
        maximum=1.0,
        step=0.0001,
    )
    t_min: float = _field(
        0.3333,
        "t_min",
        "Where refinement is cut off and the estimate goes to the decoder, as a fraction of "
        "the diffusion process. Lower refines longer: finer detail, more time, less agreement "
        "between seeds. Equal to t_max: no refinement, the first estimate is decoded.",
        minimum=0.0,
        maximum=1.0,
        step=0.0001,
    )
    color: ColorAlignment = _field(
        "adain",
        "Colour alignment",
        "How colours are tied to the input. adain: mean and spread of each channel. "
        "wavelet: all low frequencies. none: as decoded.",
        choices=COLOR_ALIGNMENTS,
    )
    prompt: str = _field(
        "",
        "Prompt",
        "What the picture shows, in words. Only for models that have a text encoder.",
        max_length=MAX_PROMPT_LENGTH,
    )
    negative_prompt: str = _field(
        "",
        "Negative prompt",
        "What the picture should not be like, in words; it needs a guidance above 1. Only for "
        "models that have a text encoder.",
        max_length=MAX_PROMPT_LENGTH,
    )
    guidance_scale: float = _field(
        1.0,
        "Guidance",
        "How much the prompt is followed and the negative prompt avoided. At 1 the negative prompt "
        "is not looked at; above, each step takes two evaluations.",
        minimum=1.0,
        maximum=20.0,
        step=0.5,
    )

    def __post_init__(self) -> None:
        """Check every field, then what they are together."""
        for field in dataclasses.fields(self):
            field.metadata["option"].check(field.name, getattr(self, field.name))
        if int(self.num_steps) != self.num_steps:
            raise ValueError(f"num_steps must be a whole number, got {self.num_steps}")
        if self.t_min > self.t_max:
            raise ValueError(
                f"t_min must not be above t_max, got t_min={self.t_min} and t_max={self.t_max}; "
                "lower t_min or raise t_max"
            )
        if self.negative_prompt and self.guidance_scale == 1:
            raise ValueError("a negative prompt needs a guidance above 1; raise it, or leave both")
        if self.guidance_scale != 1 and self.prompt == self.negative_prompt:
            raise ValueError(
                "guidance leads from the negative prompt to the prompt, and they are the same; "
                "change one, or set guidance to 1"
            )

    @property
    def words(self) -> tuple[str, str, float]:
        """What is said of the picture: prompt, negative prompt and guidance."""
        return self.prompt, self.negative_prompt, self.guidance_scale


@dataclass(frozen=True)
class TilingConfig:
    """How latents are cut for a network that cannot see a large picture at once.

    Raises:
        ValueError: If pieces would leave gaps, or have no size.
    """

    tile: int = 64
    """Side of a piece in latents: at full size 512 pixels, what Stable Diffusion was trained on."""
    stride: int = 32
    """From one piece to the next, in latents."""
    weights: Literal["gaussian", "official"] = "gaussian"
    """How overlapping pieces are blended; "official" is not quite symmetric, for parity."""

    def __post_init__(self) -> None:
        """Check that pieces cover everything."""
        if not 0 < self.stride <= self.tile:
            raise ValueError(
                f"the stride of tiles must be from 1 to their size, got stride={self.stride} and "
                f"tile={self.tile}"
            )


DTYPES = ("float32", "bfloat16", "float16")


@dataclass(frozen=True)
class LoadingConfig:
    """How a model is put on a machine; results are the same but for rounding.

    Raises:
        ValueError: If a field is out of its range, or fields contradict each other.
    """

    device: str = _field(
        "auto", "Device", "Where to compute: auto (a GPU if there is one), cpu, cuda, cuda:1, mps."
    )
    dtype: str = _field(
        "auto",
        "Number format",
        "What networks compute in; auto is the fastest of the device.",
        choices=("auto", *DTYPES),
    )
    tiling: bool = _field(
        True,
        "Tiling",
        "Work on large pictures in pieces. Without it every picture is looked at whole.",
    )
    max_memory: float | None = _field(
        None,
        "Memory of a piece",
        "GiB that a piece of a large picture may take in the autoencoder. Less memory takes "
        "somewhat more time. By default pieces are of 1024 pixels.",
        minimum=0.001,
        maximum=1024.0,
    )
    offload: bool = _field(
        False,
        "Offload",
        "Keep only the network that works on the GPU: less of its memory, more time.",
    )
    compile: bool = _field(
        False,
        "Compile",
        "Compile the UNet by torch.compile, for GPUs: a first run of each size takes up to a "
        "minute longer. On a CPU it was no faster.",
    )

    def __post_init__(self) -> None:
        """Check what has a range."""
        for name in ("dtype", "max_memory"):
            if getattr(self, name) is not None:
                option(LoadingConfig, name).check(name, getattr(self, name))
        if self.max_memory is not None and not self.tiling:
            raise ValueError(
                "max_memory limits the pieces of large pictures, and without tiling there are "
                "none; leave one of the two out"
            )


@dataclass(frozen=True)
class Preset:
    """A named point of the trade-off between fidelity and detail."""

    label: str
    help: str
    num_steps: int
    t_max: float
    t_min: float
    start_point: StartPoint | None = None
    """Only for models whose runs start there; None: for all."""

    def apply(self, config: SamplingConfig) -> SamplingConfig:
        """`config` with the steps of this preset, otherwise unchanged."""
        return dataclasses.replace(
            config, num_steps=self.num_steps, t_max=self.t_max, t_min=self.t_min
        )


PRESETS: dict[str, Preset] = {
    "ccsr": Preset("CCSR", "The paper's setting.", 45, 0.6667, 0.3333),
    "a1": Preset("A1", "Jumps lower: most faithful and stable, least detail.", 45, 0.5, 0.3333),
    "a2": Preset("A2", "Stops earlier: less time, less detail.", 45, 0.6667, 0.5),
    "a3": Preset("A3", "Jumps higher: more invented detail, less stable.", 45, 0.8, 0.3333),
    "a4": Preset("A4", "Refines longer: finer detail, less stable.", 45, 0.6667, 0.2),
    "fast": Preset("Fast", "Two network evaluations: T, then half-way.", 3, 0.5, 0.3333),
    "extraction": Preset("Extraction", "The first estimate only, nothing refined.", 45, 0.5, 0.5),
    "v2": Preset("CCSR v2", "Two network evaluations: T, then half-way.", 6, 0.6667, 0.5, "lr"),
    "v2-one": Preset("CCSR v2, one step", "One network evaluation.", 6, 0.5, 0.5, "lr"),
}


def presets_for(start_point: StartPoint) -> dict[str, Preset]:
    """The presets for models whose runs start there, by name."""
    return {n: p for n, p in PRESETS.items() if p.start_point in (None, start_point)}


TABLE_5 = ("a1", "a2", "ccsr", "a3", "a4")
"""The presets that the paper compares, in its Table 5."""

SEED = Option(
    "Seed",
    "The number that fixes all random draws: same seed, same settings, same picture.",
    minimum=0,
    maximum=MAX_SEED,
    step=1,
)
NUM_SEEDS = Option(
    "Number of seeds",
    "How many results to make from the same picture, each from its own random draws.",
    minimum=2,
    maximum=MAX_SEEDS_PER_RUN,
    step=1,
)
NUM_SWEEP_SEEDS = dataclasses.replace(
    NUM_SEEDS,
    label="Seeds a setting",
    help="With how many seeds each setting is tried; scores are their means, L-STD their spread.",
    minimum=1,
    maximum=10,
)
NUM_VARIANT_SEEDS = dataclasses.replace(
    NUM_SWEEP_SEEDS,
    label="Seeds a variant",
    help="With how many seeds each variant is run, to show its best, its worst and their spread.",
    minimum=2,
)
DEFAULT_SEED = 0
DEFAULT_NUM_SEEDS = 10
DEFAULT_SWEEP_SEEDS = 4
DEFAULT_T_MAXS = (0.5, 0.6667, 0.8)
DEFAULT_T_MINS = (0.2, 0.3333, 0.5)

AGREEMENT = Option(
    "Agreement",
    "Fade a result towards the mean of the seeds where their standard deviation exceeds this, "
    "softly: keeps the detail that the seeds agree on. In units of the range [0, 1]; "
    "0 gives the mean everywhere.",
    minimum=0.0,
    maximum=0.1,
    step=0.0005,
)

DEFAULT_AGREEMENT = 0.02

L_STD_HELP = (
    "L-STD: standard deviation of each pixel over the seeds, averaged over the picture "
    "(paper Eq. 5; values in [0, 1], 4-pixel border left out). Lower is more stable."
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
        ValueError: If the text is no such list, or has more than MAX_SEEDS_PER_RUN seeds.
    """
    seeds: dict[int, None] = {}
    for part in text.split(","):
        first, dash, last = (piece.strip() for piece in part.strip().partition("-"))
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise ValueError(f'seeds must look like "0-9" or "3,5,8", got {text!r}')
        start, stop = int(first), int(last) if dash else int(first)
        if stop < start:
            raise ValueError(f"seeds must rise, got {part.strip()!r}; write {stop}-{start}")
        if stop > MAX_SEED:
            raise ValueError(f"a seed must be at most {MAX_SEED}, got {stop}")
        if stop - start >= MAX_SEEDS_PER_RUN:
            raise ValueError(f"at most {MAX_SEEDS_PER_RUN} seeds a run, got {part.strip()!r}")
        seeds.update(dict.fromkeys(range(start, stop + 1)))
    if len(seeds) > MAX_SEEDS_PER_RUN:
        raise ValueError(f"at most {MAX_SEEDS_PER_RUN} seeds a run, got {len(seeds)}")
    return tuple(seeds)
