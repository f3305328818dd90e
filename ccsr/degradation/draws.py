"""Random draws from explicit generators; no global random state is read or changed."""

import hashlib
from typing import TypeVar

import torch

T = TypeVar("T")


def generator_for(*key: int) -> torch.Generator:
    """A CPU generator seeded by a hash of all numbers of `key`, such as (seed, index)."""
    digest = hashlib.sha256(repr(key).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "little"))


def random_int(generator: torch.Generator, low: int, high: int) -> int:
    """Uniform integer in [low, high]."""
    return int(torch.randint(low, high + 1, (1,), generator=generator))


def random_float(generator: torch.Generator, low: float, high: float) -> float:
    """Uniform number in [low, high)."""
    return low + (high - low) * float(torch.rand(1, generator=generator))


def chance(generator: torch.Generator, share: float) -> bool:
    """True with probability `share`."""
    return random_float(generator, 0, 1) < share


def choose(generator: torch.Generator, options: tuple[T, ...], shares: tuple[float, ...] = ()) -> T:
    """One of the options, with the probabilities `shares`, or with equal ones."""
    weights = torch.tensor(shares or (1.0,) * len(options))
    return options[int(torch.multinomial(weights, 1, generator=generator))]


def random_odd(generator: torch.Generator, low: int, high: int) -> int:
    """Uniform odd number in [low, high], both odd."""
    return 2 * random_int(generator, low // 2, high // 2) + 1


def random_seed(generator: torch.Generator) -> int:
    """Seed for another generator."""
    return random_int(generator, 0, 2**31 - 2)
