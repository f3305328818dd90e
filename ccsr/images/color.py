"""Colour alignment: gives a result the colours of its input.

AdaIN and wavelets are those of StableSR, https://arxiv.org/abs/2305.07015, as in CCSR. Pixels are
floats as decoded: values outside [0,1] are kept, and nothing is clamped here.
"""

from typing import Protocol

import torch
from torch.nn import functional

from ccsr.config import ColorAlignment
from ccsr.errors import InputError
from ccsr.stopping import check_stop

WAVELET_LEVELS = 5
"""Low-pass filters of the wavelet decomposition; the last has a radius of 16 pixels."""
AVERAGED_LEVELS = 2
"""The first of them, in place of which there are means over squares."""
SQUARE = 2**AVERAGED_LEVELS
"""Side of these squares in pixels."""


class Align(Protocol):
    """A function that aligns the colours of results."""

    def __call__(self, sr: torch.Tensor, out: torch.Tensor | None = None) -> torch.Tensor:
        """Aligned sr [B,C,H,W], not clamped; written to `out` if given, which may be sr."""
        ...


LUMA = (0.299, 0.587, 0.114)
"""Weights of R, G and B in the luma of ITU-R BT.601, full range."""


def luma(rgb: torch.Tensor) -> torch.Tensor:
    """Pictures [B,3,H,W] -> [B,1,H,W]."""
    red, green, blue = rgb.split(1, dim=1)
    return LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue


def aligner(
    lr_up: torch.Tensor, method: ColorAlignment, alpha: torch.Tensor | None = None
) -> Align:
    """A function that gives results the colours of lr_up; it keeps only the statistics it needs.

    Args:
        lr_up: The input enlarged to the size of the results, [1,C,H,W] or [B,C,H,W], in [0,1];
            C is 3, or 1 for grey.
        method: "adain-wavelet", "adain", "wavelet" or "none", as `SamplingConfig.color`.
        alpha: The enlarged alpha channel [1,1,H,W] in [0,1], by which statistics of the whole
            picture are weighted; None: all of it is opaque.

    Returns:
        A function of results [B,C,H,W], which raises ValueError if their size is another.

    Raises:
        InputError: If the method is unknown.
    """
    methods = {
        "adain-wavelet": adain_wavelet,
        "adain": adain,
        "wavelet": wavelet,
        "none": unchanged,
    }
    if method not in methods:
        raise InputError(f"method must be {', '.join(methods)}, got {method!r}")
    align = methods[method](lr_up, alpha)
    batch, *shape = lr_up.shape

    def align_checked(sr: torch.Tensor, out: torch.Tensor | None = None) -> torch.Tensor:
        if list(sr.shape[1:]) != shape or batch not in (1, sr.shape[0]):
            raise InputError(
                f"sr must have the shape of lr_up, [B,{','.join(map(str, shape))}], with B = "
                f"{batch} or lr_up a batch of 1, got {list(sr.shape)}; enlarge the input to the "
                "size of the result"
            )
        return align(sr, out)

    return align_checked


def adain(reference: torch.Tensor, alpha: torch.Tensor | None = None) -> Align:
    """Give each channel the mean and standard deviation of the reference [B,C,H,W].

    Both over height and width: AdaIN Eq. (8), https://arxiv.org/abs/1703.06868.
    """
    visible = None if alpha is None or not bool(alpha.any()) else alpha
    reference_mean, reference_std = _mean_and_std(reference, visible)

    def align(sr: torch.Tensor, out: torch.Tensor | None = None) -> torch.Tensor:
        mean, std = _mean_and_std(sr, visible)
        gain = reference_std / std
        return torch.addcmul(reference_mean - mean * gain, sr, gain, out=out)

    return align


def _mean_and_std(
    x: torch.Tensor, weights: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation of each channel of x [B,C,H,W], both [B,C,1,1].

    Weighted by weights [1,1,H,W], if they are given.
    """
    if weights is None:
        variance, mean = torch.var_mean(x, dim=(2, 3), correction=1, keepdim=True)
    else:
        shares = weights / weights.sum()
        # Channel by channel, for a large picture fills much memory.
        moments = [_weighted_moments(channel, shares) for channel in x.split(1, dim=1)]
        mean, variance = (torch.cat(parts, dim=1) for parts in zip(*moments, strict=True))
    # The small term keeps a flat channel from being divided by zero.
    return mean, (variance + 1e-5).sqrt()


def _weighted_moments(
    channel: torch.Tensor, shares: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and variance of a channel [B,1,H,W], both [B,1,1,1]; the shares sum to 1."""
    mean = (channel * shares).sum(dim=(2, 3), keepdim=True)
    return mean, ((channel - mean).square_() * shares).sum(dim=(2, 3), keepdim=True)


def wavelet(reference: torch.Tensor, alpha: torch.Tensor | None = None) -> Align:
    """Give results the low frequencies of the reference [B,C,H,W], wherever they are visible.

    The high frequencies of all levels sum to the result minus its last low-pass.
    """
    low_frequencies = _low_frequencies(reference)

    def align(sr: torch.Tensor, out: torch.Tensor | None = None) -> torch.Tensor:
        difference = _at_full_size(low_frequencies - _low_frequencies(sr), sr)
        return torch.add(sr, difference, out=out)

    return align


def adain_wavelet(reference: torch.Tensor, alpha: torch.Tensor | None = None) -> Align:
    """`adain`, which sets the contrast of details too, then `wavelet`.

    AdaIN alone leaves a flat area off by as much as it moves the rest of the picture.
    """
    contrast = adain(reference, alpha)
    check_stop()
    colors = wavelet(reference, alpha)

    def align(sr: torch.Tensor, out: torch.Tensor | None = None) -> torch.Tensor:
        contrasted = contrast(sr, out)
        check_stop()
        return colors(contrasted, out)

    return align


def unchanged(reference: torch.Tensor, alpha: torch.Tensor | None = None) -> Align:
    """Leave results as they are."""
    return lambda sr, out=None: sr


def _low_frequencies(x: torch.Tensor) -> torch.Tensor:
    """Filter x [B,C,H,W] by WAVELET_LEVELS low-passes, each twice as wide as the last.

    The first ones are means over squares, which remove the same waves as binomial filters; the
    others, which are binomial, then work on a sixteenth of the pixels.

    Returns:
        One value a square, [B,C,ceil(H/SQUARE),ceil(W/SQUARE)].
    """
    missing = tuple(-side % SQUARE for side in x.shape[2:])
    if any(missing):
        x = functional.pad(x, (0, missing[1], 0, missing[0]), mode="replicate")
    x = functional.avg_pool2d(x, SQUARE)
    row = torch.tensor([0.25, 0.5, 0.25], dtype=x.dtype, device=x.device)
    channels = x.shape[1]
    kernel = torch.outer(row, row).expand(channels, 1, 3, 3)
    for level in range(WAVELET_LEVELS - AVERAGED_LEVELS):
        radius = 2**level
        padded = functional.pad(x, (radius, radius, radius, radius), mode="replicate")
        x = functional.conv2d(padded, kernel, groups=channels, dilation=radius)
    return x


def _at_full_size(low_frequencies: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Low frequencies, one value a square, interpolated at the pixels of x [B,C,H,W]."""
    height, width = x.shape[2:]
    interpolated = functional.interpolate(
        low_frequencies, scale_factor=SQUARE, mode="bilinear", align_corners=False
    )
    return interpolated[..., :height, :width]
