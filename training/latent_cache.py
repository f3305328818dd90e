"""The latent cache: encoded pairs for stage 1, roll-outs of the sampler for stage 2, on disk.

Encoding takes most of the time of a training step and gives the same latents in every epoch. A
cache is a folder of shards of `SHARD` examples. A shard is written under a temporary name and
renamed, so a stopped job continues after the last finished shard.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch.utils.data import Dataset

from ccsr.degradation.draws import generator_for, random_int
from ccsr.diffusion.sampler import Noise, SeededNoise, sample
from ccsr.diffusion.scheduler import NonUniformScheduler
from ccsr.diffusion.timesteps import non_uniform_plan
from ccsr.models.autoencoder import Autoencoder, encode
from ccsr.models.denoiser import Denoiser
from training.config import PairsConfig, Stage2Config
from training.data import Example, enlarged

Compute = Callable[[list[Example], list[int]], dict[str, torch.Tensor]]
"""B examples and their indices -> tensors [B,...] by name."""

SHARD = 64
BATCH = 4


@torch.no_grad()
def write_latent_cache(
    folder: Path, dataset: Dataset[Example], count: int, compute: Compute, dtype: torch.dtype
) -> Iterator[int]:
    """Write `compute` of examples 0 to count-1; shards that exist are kept.

    Args:
        folder: An existing folder for the shards.
        dataset: The examples.
        count: How many of them.
        compute: What to write of a batch.
        dtype: Autocast dtype of the networks in `compute`.

    Yields:
        The number of finished examples, after each batch.
    """
    for first in range(0, count, SHARD):
        path = folder / f"shard-{first // SHARD:05d}.safetensors"
        indices = list(range(first, min(first + SHARD, count)))
        if not path.exists():
            parts: list[dict[str, torch.Tensor]] = []
            for start in range(0, len(indices), BATCH):
                batch = indices[start : start + BATCH]
                examples = [dataset[i] for i in batch]
                with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
                    parts.append(compute(examples, batch))
                yield first + start + len(batch)
            tensors = {k: torch.cat([part[k] for part in parts]).contiguous() for k in parts[0]}
            partial = path.with_suffix(".partial")
            save_file(tensors, partial)
            partial.replace(path)
    yield count


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
        noise = SeededNoise(indices)
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


class LatentCache(Dataset[Example]):
    """Random square windows of cached tensors, at the same place of latents and pixels.

    Args:
        folder: Shards of tensors [N,C,h,w], square; each side is a multiple of the smallest one.
        keys: The tensors to read; uint8 becomes float32 in [0,1], the others float32.
        window: Side of a window in elements of the smallest tensor (latents).
        seed: Example `index` is a pure function of (seed, index).
        length: Number of examples; windows are drawn with replacement.

    Raises:
        ValueError: If the folder holds no shard, a shard lacks a key, or a window does not fit.
    """

    def __init__(
        self, folder: Path, keys: Collection[str], window: int, seed: int, length: int
    ) -> None:
        paths = sorted(folder.glob("*.safetensors"))
        if not paths:
            raise ValueError(
                f"{folder} holds no cached examples; run the step 'pairs' or 'rollouts' first"
            )
        self.tensors = {key: _joined(paths, key) for key in keys}
        self.side = min(t.shape[-1] for t in self.tensors.values())
        if window > self.side:
            raise ValueError(
                f"{folder} holds squares of side {self.side}, smaller than the window of {window}"
            )
        self.window, self.seed, self.length = window, seed, length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Example:
        generator = generator_for(self.seed, index)
        count = len(next(iter(self.tensors.values())))
        item = random_int(generator, 0, count - 1)
        top = random_int(generator, 0, self.side - self.window)
        left = random_int(generator, 0, self.side - self.window)
        return {name: self._cut(t[item], top, left) for name, t in self.tensors.items()}

    def _cut(self, x: torch.Tensor, top: int, left: int) -> torch.Tensor:
        k = x.shape[-1] // self.side
        cut = x[:, top * k : (top + self.window) * k, left * k : (left + self.window) * k]
        return cut.float() / 255 if cut.dtype == torch.uint8 else cut.float()


def _joined(paths: Sequence[Path], key: str) -> torch.Tensor:
    """One tensor of all shards, concatenated along the batch."""
    parts = []
    for path in paths:
        with safe_open(path, "pt") as shard:
            try:
                parts.append(shard.get_tensor(key))
            except SafetensorError as error:
                raise ValueError(
                    f"{path} holds {', '.join(shard.keys())} but no {key!r}; delete the folder and "
                    "run its step again"
                ) from error
    return torch.cat(parts)


def cache_name(config: PairsConfig) -> str:
    """Folder name of a cache, by size and seed; its fingerprint covers everything else."""
    return f"{config.count}x{config.crop_px}px-seed{config.seed}"


def _stack(examples: list[Example], key: str) -> torch.Tensor:
    return torch.stack([example[key] for example in examples])


def _bytes(pixels: torch.Tensor) -> torch.Tensor:
    """Pixels in [0,1] -> uint8."""
    return (pixels * 255).round().byte()
