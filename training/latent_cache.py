"""The latent cache: encoded pairs for stage 1, roll-outs of the sampler for stage 2, on disk.

Encoding takes most of the time of a training step and gives the same latents in every epoch. A
cache is a folder of shards of `SHARD` examples. A shard is written under a temporary name and
renamed, so a stopped job continues after the last finished shard.
"""

from bisect import bisect_right
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any, Self

import torch
from accelerate.utils import send_to_device
from safetensors import safe_open
from safetensors.torch import save
from torch.utils.data import DataLoader, Dataset

from ccsr.degradation.draws import generator_for, random_int
from ccsr.diffusion.sampler import Noise, SeededNoise, sample
from ccsr.diffusion.scheduler import NonUniformScheduler
from ccsr.diffusion.timesteps import non_uniform_plan
from ccsr.errors import InputError
from ccsr.inference.device import choose_dtype
from ccsr.models.autoencoder import Autoencoder, encode
from ccsr.models.denoiser import Denoiser
from ccsr.whole_file import write_whole
from training.config import COMPRESSION, LoopConfig, PairsConfig, Stage2Config
from training.data import Example, enlarged
from training.processes import join_processes, own_device

Compute = Callable[[list[Example], list[int]], dict[str, torch.Tensor]]
"""B examples and their indices -> tensors [B,...] by name."""

SHARD = 64
BATCH = 4


@torch.no_grad()
def write_latent_cache(
    folder: Path, dataset: Dataset[Example], count: int, compute: Compute, num_workers: int = 0
) -> Iterator[int]:
    """Write `compute` of examples 0 to count-1; shards that exist are kept.

    Several processes share the shards. It ends when all are written.

    Args:
        folder: An existing folder for the shards.
        dataset: The examples.
        count: How many of them.
        compute: What to write of a batch.
        num_workers: Processes that make examples.

    Yields:
        The number of examples that the shards which this process has written or found would make
        of `count`, if all processes were as far; after each batch.
    """
    state = join_processes()
    shards = [range(first, min(first + SHARD, count)) for first in range(0, count, SHARD)]
    own = shards[state.process_index :: state.num_processes]
    total = sum(map(len, own))
    missing = [shard for shard in own if not _shard_path(folder, shard).exists()]
    done = total - sum(map(len, missing))
    batches = [shard[i : i + BATCH] for shard in missing for i in range(0, len(shard), BATCH)]
    device = own_device()
    dtype = choose_dtype("auto", device)
    loader = DataLoader(
        dataset,
        batch_sampler=batches,  # type: ignore[arg-type] - any sequence of indices serves
        num_workers=num_workers,
        collate_fn=list,
    )
    examples_of = iter(loader)
    for shard in missing:
        parts: list[dict[str, torch.Tensor]] = []
        for i in range(0, len(shard), BATCH):
            indices = list(shard[i : i + BATCH])
            examples = send_to_device(next(examples_of), device)
            with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
                parts.append(compute(examples, indices))
            done += len(indices)
            yield done * count // total
        tensors = {
            key: torch.cat([part[key] for part in parts]).cpu().contiguous() for key in parts[0]
        }
        write_whole(_shard_path(folder, shard), save(tensors), overwrite=True)
    state.wait_for_everyone()
    yield count


def _shard_path(folder: Path, shard: range) -> Path:
    return folder / f"shard-{shard.start // SHARD:05d}.safetensors"


def encoded_pairs(vae: Autoencoder) -> Compute:
    """Latents of HR and of enlarged LR, and HR: "hr_latent", "lr_latent" float16, "hr" uint8."""

    def compute(examples: list[Example], indices: list[int]) -> dict[str, torch.Tensor]:
        hr = _stack(examples, "hr")
        return {
            "hr_latent": encode(vae, hr).half(),
            "lr_latent": encode(vae, enlarged(_stack(examples, "lr"), hr)).half(),
            "hr": _bytes(hr),
        }

    return compute


def roll_outs(
    vae: Autoencoder,
    denoiser: Denoiser,
    scheduler: NonUniformScheduler,
    config: Stage2Config,
    *,
    official: bool = False,
) -> Compute:
    """What stage 2 reads: "x0_hat", the estimate at t_min, "hr_latent", "hr" and "lr".

    Each example is a run of its own seed, its index, from pure noise, as at inference; or if
    `official`, as in the authors' training: from the noised latent of HR, with the same noise again
    in the jump.
    """
    plan = non_uniform_plan(config.num_steps, config.t_max, config.t_min, scheduler.loop_start)

    def compute(examples: list[Example], indices: list[int]) -> dict[str, torch.Tensor]:
        hr, lr = _stack(examples, "hr"), _stack(examples, "lr")
        hr_latent, lr_latent = encode(vae, hr), encode(vae, enlarged(lr, hr))
        noise = SeededNoise(indices, lr_latent.device)
        steps = sample(
            denoiser.predictor(denoiser.features(lr_latent)),
            scheduler,
            plan,
            reused_in_jump(noise) if official else noise,
            lr_latent.shape,
            start=hr_latent if official else None,
        )
        *_, last = steps
        return {
            "x0_hat": last.x0_hat.half(),
            "hr_latent": hr_latent.half(),
            "hr": _bytes(hr),
            "lr": _bytes(lr),
        }

    return compute


def reused_in_jump(noise: Noise) -> Noise:
    """Noise whose draws 0, which makes x_T, and 1, of the jump to t_max, are the same."""
    first: list[torch.Tensor] = []

    def drawn(draw: int, shape: Sequence[int]) -> torch.Tensor:
        if draw == 0:
            first.append(noise(0, shape))
        return first[0] if draw < 2 else noise(draw - 1, shape)

    return drawn


WINDOW_STEP = 4
"""Sides of windows that are drawn differ by multiples of it, in latents: the UNet halves them
twice."""


@dataclass(frozen=True)
class Windows:
    """Sides of the windows of a latent cache, in latents: one, or one drawn for each batch."""

    greatest: int
    least: int | None = None
    """None: all have the greatest."""
    batch_size: int = 1
    """So many examples after one another have windows of the same side."""

    @classmethod
    def of(cls, loop: LoopConfig) -> Self:
        """Those of the crops of a training loop."""
        least = None if loop.least_crop_px is None else loop.least_crop_px // COMPRESSION
        return cls(loop.crop_px // COMPRESSION, least, loop.batch_size)

    def side(self, seed: int, index: int) -> int:
        """Side of the window of example `index`."""
        if self.least is None:
            return self.greatest
        generator = generator_for(seed, index // self.batch_size, _OF_WINDOWS)
        steps = (self.greatest - self.least) // WINDOW_STEP
        return self.greatest - WINDOW_STEP * random_int(generator, 0, steps)


_OF_WINDOWS = 4
"""Sets their draws apart from the others of the same seed."""


class LatentCache(Dataset[Example]):
    """Random square windows of cached tensors, at the same place of latents and pixels.

    Windows are read from the files when they are asked for; a cache takes no memory, but that of
    the system for files.

    Args:
        folder: Shards of tensors [N,C,h,w], square; each side is a multiple of the smallest one.
        keys: The tensors to read; uint8 becomes float32 in [0,1], the others float32.
        windows: Sides of the windows, in elements of the smallest tensor (latents).
        seed: Example `index` is a pure function of (seed, index).
        length: Number of examples; windows are drawn with replacement.

    Raises:
        InputError: If the folder holds no shard, a shard lacks a key, or a window does not fit.
    """

    def __init__(
        self, folder: Path, keys: Collection[str], windows: Windows, seed: int, length: int
    ) -> None:
        self.paths = sorted(folder.glob("*.safetensors"))
        if not self.paths:
            raise InputError(
                f"{folder} holds no cached examples; run the step 'pairs' or 'rollouts' first"
            )
        shapes = [_shapes(path, keys) for path in self.paths]
        self.ends = list(accumulate(next(iter(shape.values()))[0] for shape in shapes))
        self.sides = {key: shape[-1] for key, shape in shapes[0].items()}
        self.side = min(self.sides.values())
        if windows.greatest > self.side:
            raise InputError(
                f"{folder} holds squares of side {self.side}, smaller than the window of "
                f"{windows.greatest}"
            )
        self.windows, self.seed, self.length = windows, seed, length
        self._files: dict[Path, Any] = {}

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Example:
        generator = generator_for(self.seed, index)
        item = random_int(generator, 0, self.ends[-1] - 1)
        window = self.windows.side(self.seed, index)
        top, left = (random_int(generator, 0, self.side - window) for _ in range(2))
        return {key: self._cut(key, item, (top, left), window) for key in self.sides}

    def _cut(self, key: str, item: int, corner: tuple[int, int], window: int) -> torch.Tensor:
        k = self.sides[key] // self.side
        shard = bisect_right(self.ends, item)
        path, first = self.paths[shard], self.ends[shard - 1] if shard else 0
        if path not in self._files:
            self._files[path] = safe_open(path, "pt").__enter__()
        rows, columns = (slice(start * k, (start + window) * k) for start in corner)
        cut = self._files[path].get_slice(key)[item - first, :, rows, columns]
        return cut.float() / 255 if cut.dtype == torch.uint8 else cut.float()


def _shapes(path: Path, keys: Collection[str]) -> dict[str, list[int]]:
    """Shapes of the tensors of a shard, by key."""
    with safe_open(path, "pt") as shard:
        for key in keys:
            if key not in shard.keys():  # noqa: SIM118 - it is no mapping
                raise InputError(
                    f"{path} holds {', '.join(shard.keys())} but no {key!r}; delete the folder and "
                    "run its step again"
                )
        return {key: shard.get_slice(key).get_shape() for key in keys}


def cache_name(config: PairsConfig) -> str:
    """Folder name of a cache, by size and seed; its fingerprint covers everything else."""
    return f"{config.count}x{config.crop_px}px-seed{config.seed}"


def _stack(examples: list[Example], key: str) -> torch.Tensor:
    return torch.stack([example[key] for example in examples])


def _bytes(pixels: torch.Tensor) -> torch.Tensor:
    """Pixels in [0,1] -> uint8."""
    return (pixels * 255).round().byte()
