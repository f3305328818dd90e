"""Group normalisation of a picture that is worked on piece by piece.

A GroupNorm's mean and variance are those of everything that it sees: pieces, each with its own,
would come out in different colours. Here each norm gets the statistics of the whole picture, one
norm after the other, so that the result is that of the whole.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from fractions import Fraction
from typing import NoReturn

import torch
from torch import nn

from ccsr.models.tiling import in_tiles, pieces

Function = Callable[[torch.Tensor], torch.Tensor]


class _Reached(Exception):
    """The first norm without statistics, and what it was to normalise."""

    def __init__(self, norm: nn.GroupNorm, x: torch.Tensor) -> None:
        self.norm, self.x = norm, x


def in_normalised_tiles(
    function: Function,
    norms: Sequence[nn.GroupNorm],
    x: torch.Tensor,
    size: int,
    margin: int,
    factor: Fraction,
) -> torch.Tensor:
    """`in_tiles` of a function that contains GroupNorms, which see the whole.

    The function is run on all pieces up to its first norm to find the statistics of that, then up
    to the second, and so on: few norms make it cheap.

    Args:
        function: See `in_tiles`.
        norms: All that it contains.
        x: One picture, [1,C,h,w].
        size: See `in_tiles`.
        margin: See `in_tiles`.
        factor: See `in_tiles`.
    """
    if max(x.shape[2:]) <= size:
        return function(x)
    with ExitStack() as stack:
        for norm in norms:
            # On the instance, in front of the method of its class.
            norm.forward = _stop_at(norm)  # type: ignore[method-assign]
            stack.callback(delattr, norm, "forward")
        for _ in norms:
            norm, mean, variance = _statistics(function, x, size, margin)
            norm.forward = _using(norm, mean, variance)  # type: ignore[method-assign]
        return in_tiles(function, x, size, margin, factor)


def _stop_at(norm: nn.GroupNorm) -> Callable[[torch.Tensor], NoReturn]:
    def stop(x: torch.Tensor) -> NoReturn:
        raise _Reached(norm, x)

    return stop


def _statistics(
    function: Function, x: torch.Tensor, size: int, margin: int
) -> tuple[nn.GroupNorm, torch.Tensor, torch.Tensor]:
    """The next norm, and mean and variance [groups] of all that it will see."""
    total = squares = torch.zeros((), dtype=torch.float64)
    norm, count = None, 0
    for piece in pieces(x, size, margin):
        try:
            function(piece.x)
        except _Reached as reached:
            norm = reached.norm
            kept = piece.kept_of(reached.x).float().reshape(norm.num_groups, -1)
        else:
            raise ValueError("a norm was given that the function does not contain")
        # Added up in float64, which Apple's GPUs lack: on the CPU.
        total = total + kept.sum(1).cpu().double()
        squares = squares + kept.square().sum(1).cpu().double()
        count += kept.shape[1]
    assert norm is not None  # there is at least one piece
    mean = total / count
    variance = squares / count - mean.square()
    return norm, mean.float().to(x.device), variance.float().to(x.device)


def _using(norm: nn.GroupNorm, mean: torch.Tensor, variance: torch.Tensor) -> Function:
    """Normalise by given statistics, in one multiplication and one addition."""
    each = norm.num_channels // norm.num_groups
    gain = (variance + norm.eps).rsqrt().repeat_interleave(each) * norm.weight.float()
    shift = norm.bias.float() - mean.repeat_interleave(each) * gain
    gain, shift = gain[:, None, None], shift[:, None, None]
    return lambda x: torch.addcmul(shift, x.float(), gain).to(x.dtype)
