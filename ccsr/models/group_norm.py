"""Group normalisation of a picture that is computed in tiles.

A GroupNorm takes mean and variance of its whole input; tiles that are normalised each by its own
would come out in different colours. Here each norm gets the statistics of the whole picture, merged
from those of the tiles, one norm after the other, so that the result is that of the whole.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from typing import NoReturn

import torch
from torch import nn

from ccsr.errors import InputError
from ccsr.models.tiling import in_tiles, tiles

Function = Callable[[torch.Tensor], torch.Tensor]


class _NormInput(Exception):
    """Ends the evaluation of a function at its first norm without statistics."""

    def __init__(self, norm: nn.GroupNorm, x: torch.Tensor) -> None:
        self.norm, self.x = norm, x


@dataclass(frozen=True)
class Moments:
    """Mean and variance of the groups of some values."""

    count: int
    """Values in a group."""
    mean: torch.Tensor
    """[groups], float64 on the CPU: Apple's GPUs have no float64."""
    variance: torch.Tensor
    """[groups], float64 on the CPU; the population's."""

    def merged(self, other: "Moments") -> "Moments":
        """Moments of both sets of values together.

        The pairwise update of Chan, Golub and LeVeque (1979). The difference of mean squares and
        squared means loses the variance in rounding where it is much smaller than the mean.
        """
        count = self.count + other.count
        share = other.count / count
        delta = other.mean - self.mean
        mean = self.mean + delta * share
        within = self.variance * (1 - share) + other.variance * share
        return Moments(count, mean, within + delta.square() * share * (1 - share))


def moments(x: torch.Tensor, groups: int) -> Moments:
    """Moments of one picture [1,C,h,w] over groups of channels."""
    values = x.float().reshape(groups, -1)
    variance, mean = torch.var_mean(values, 1, correction=0)
    return Moments(values.shape[1], mean.cpu().double(), variance.cpu().double())


def in_normalised_tiles(
    function: Function,
    norms: Sequence[nn.GroupNorm],
    x: torch.Tensor,
    size: int,
    margin: int,
    factor: Fraction,
) -> torch.Tensor:
    """`in_tiles` of a function with GroupNorms, each by the statistics of the whole picture.

    The function is evaluated on all tiles up to its first norm for the statistics of this norm,
    then up to the second, and so on; that is cheap for few norms.

    Args:
        function: See `in_tiles`.
        norms: All GroupNorms of the function.
        x: One picture, [1,C,h,w].
        size: See `in_tiles`.
        margin: See `in_tiles`.
        factor: See `in_tiles`.

    Raises:
        InputError: If the function does not evaluate one of `norms`.
    """
    if max(x.shape[2:]) <= size:
        return function(x)
    with ExitStack() as stack:
        for norm in norms:
            # On the instance, in front of the method of its class.
            norm.forward = _stop_at(norm)  # type: ignore[method-assign]
            stack.callback(delattr, norm, "forward")
        for _ in norms:
            norm, whole = _next_norm(function, x, size, margin)
            norm.forward = _normalise_by(norm, whole, x.device)  # type: ignore[method-assign]
        return in_tiles(function, x, size, margin, factor)


def _stop_at(norm: nn.GroupNorm) -> Callable[[torch.Tensor], NoReturn]:
    def stop(x: torch.Tensor) -> NoReturn:
        raise _NormInput(norm, x)

    return stop


def _next_norm(
    function: Function, x: torch.Tensor, size: int, margin: int
) -> tuple[nn.GroupNorm, Moments]:
    """The first norm of `function` without statistics, and the moments of its whole input."""
    norm: nn.GroupNorm | None = None
    whole: Moments | None = None
    for tile in tiles(x, size, margin):
        try:
            function(tile.x)
        except _NormInput as reached:
            norm = reached.norm
            part = moments(tile.without_margin(reached.x), norm.num_groups)
        else:
            raise InputError("the function does not contain one of the given norms")
        whole = part if whole is None else whole.merged(part)
    assert norm is not None  # there is at least one tile
    assert whole is not None
    return norm, whole


def _normalise_by(norm: nn.GroupNorm, whole: Moments, device: torch.device) -> Function:
    """`norm` by given moments, as one multiplication and one addition."""
    channels = norm.num_channels // norm.num_groups
    mean, variance = (
        moment.float().to(device).repeat_interleave(channels)
        for moment in (whole.mean, whole.variance)
    )
    gain = (variance + norm.eps).rsqrt() * norm.weight.float()
    shift = norm.bias.float() - mean * gain
    gain, shift = gain[:, None, None], shift[:, None, None]
    return lambda x: torch.addcmul(shift, x.float(), gain).to(x.dtype)
