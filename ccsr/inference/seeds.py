"""Seeds and generators: the sources of the random draws of each result."""

from collections.abc import Mapping, Sequence

import torch

from ccsr.config import MAX_SEED
from ccsr.errors import InputError

SMALL_PARAMETERS = 50_000_000
"""A UNet of more has enough to compute; the compact one has 3 million, that of SD 2.1 870."""

Seed = int | torch.Generator
"""Source of all random draws of a result; an int is the seed of a generator on the CPU."""


def check_draws(draws: Mapping[str, object], num_images: object) -> None:
    """Refuse seeds and generators that do not give one source of draws for each image."""
    if not isinstance(num_images, int) or num_images < 1:
        raise InputError(f"num_images_per_prompt must be a whole number from 1, got {num_images!r}")
    given = {name: value for name, value in draws.items() if value is not None}
    if len(given) > 1:
        raise InputError("seeds and generator both fix the random draws; give one of them")
    for name, value in given.items():
        if isinstance(value, torch.Generator):
            continue
        kind = int if name == "seeds" else torch.Generator
        if not isinstance(value, Sequence) or not all(isinstance(each, kind) for each in value):
            raise InputError(f"{name} must be a list of {kind.__name__}, got {value!r}")
        if not value or num_images not in (1, len(value)):
            raise InputError(
                f"{name} must have an entry for each image, got {len(value)} for "
                f"num_images_per_prompt={num_images}; leave num_images_per_prompt out"
            )
        if kind is torch.Generator and len(set(map(id, value))) < len(value):
            raise InputError("the same generator is in the list twice; give each image its own")
        if kind is int and not all(0 <= seed <= MAX_SEED for seed in value):
            raise InputError(f"seeds must be from 0 to {MAX_SEED}, got {list(value)}")


def seeds_for(given: Sequence[Seed] | torch.Generator | None, num_images: int) -> Sequence[Seed]:
    """A source of draws for each image."""
    if isinstance(given, torch.Generator):
        return [given] * num_images
    if given is None:
        return torch.randint(MAX_SEED, (num_images,)).tolist()
    return given


def seed_of(source: Seed) -> int:
    """The seed, or the initial seed of a generator."""
    return source.initial_seed() if isinstance(source, torch.Generator) else source


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
