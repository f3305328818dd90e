"""What the later stages train on, computed once: encoded pairs, and roll-outs of the sampler.

Encoding takes most of a training step's time and gives the same latents at every visit. A store is
a folder of shards; a shard is written whole or not at all, so a stopped job goes on where it was.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch.utils.data import Dataset

from ccsr.diffusion.sampler import SeededNoise, sample
from ccsr.diffusion.scheduler import NonUniformScheduler, non_uniform_plan
from ccsr.models.autoencoder import Autoencoder, encode
from training.config import PairsConfig, Stage2Config
from training.data import Example
from training.network import Denoiser

Compute = Callable[[list[Example], list[int]], dict[str, torch.Tensor]]
"""Examples and their numbers -> tensors [B,...] to store."""

SHARD = 64
BATCH = 4


@torch.no_grad()
def write_store(
    folder: Path, dataset: Dataset[Example], count: int, compute: Compute, dtype: torch.dtype
) -> Iterator[int]:
    """Store `compute` of examples 0 to count-1, telling after every batch how many are done.

    Args:
        folder: Where the shards go; it exists, and those that are there already are kept.
        dataset: Where examples come from.
        count: How many.
        compute: What to store of them.
        dtype: What the networks inside compute in.
    """
    for first in range(0, count, SHARD):
        path = folder / f"shard-{first // SHARD:05d}.safetensors"
        numbers = list(range(first, min(first + SHARD, count)))
        if not path.exists():
            parts: list[dict[str, torch.Tensor]] = []
            for start in range(0, len(numbers), BATCH):
                batch = numbers[start : start + BATCH]
                examples = [dataset[i] for i in batch]
                with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
                    parts.append(compute(examples, batch))
                yield first + start + len(batch)
            tensors = {key: torch.cat([part[key] for part in parts]) for key in parts[0]}
            partial = path.with_suffix(".partial")
            save_file(tensors, partial)
            partial.replace(path)
    yield count


def encoded_pairs(vae: Autoencoder) -> Compute:
    """Latents of HR and of enlarged LR, and HR: {"hr_latent", "lr_latent" float16, "hr" uint8}."""

    def compute(examples: list[Example], numbers: list[int]) -> dict[str, torch.Tensor]:
        hr = _stack(examples, "hr")
        return {
            "hr_latent": encode(vae, hr).half(),
            "lr_latent": encode(vae, _stack(examples, "lr_up")).half(),
            "hr": _bytes(hr),
        }

    return compute


def roll_outs(
    vae: Autoencoder, denoiser: Denoiser, scheduler: NonUniformScheduler, config: Stage2Config
) -> Compute:
    """What the decoder will see, and what it should make of it: {"x0_hat" float16, "hr" uint8}.

    Each example is a run of its own seed from pure noise, as at inference.
    """
    path = non_uniform_plan(config.num_steps, config.t_max, config.t_min)

    def compute(examples: list[Example], numbers: list[int]) -> dict[str, torch.Tensor]:
        hr = _stack(examples, "hr")
        lr_latent = encode(vae, _stack(examples, "lr_up"))
        steps = sample(
            denoiser.predictor(lr_latent),
            scheduler,
            path,
            SeededNoise(numbers),
            lr_latent.shape,
        )
        *_, last = steps
        return {"x0_hat": last.x0_hat.half(), "hr": _bytes(hr)}

    return compute


def store_name(config: PairsConfig) -> str:
    """Folder name of a store; its record says what else it was made with."""
    return f"{config.count}x{config.crop_px}px-seed{config.seed}"


def _stack(examples: list[Example], key: str) -> torch.Tensor:
    return torch.stack([example[key] for example in examples])


def _bytes(pixels: torch.Tensor) -> torch.Tensor:
    """[0,1] -> 0 to 255."""
    return (pixels * 255).round().byte()
