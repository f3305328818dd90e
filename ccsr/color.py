"""Colour alignment: ties the colours of a result to those of its input.

Both ways are those of StableSR, https://arxiv.org/abs/2305.07015, which CCSR follows. Pixels
are floats, as decoded: values outside [0,1] count, and nothing is clamped here.
"""

import torch
from torch.nn import functional

from ccsr.config import ColorAlignment

WAVELET_LEVELS = 5


def align_color(sr: torch.Tensor, lr_up: torch.Tensor, method: ColorAlignment) -> torch.Tensor:
    """Give sr the colours of lr_up.

    Args:
        sr: Results as decoded, [B,3,H,W].
        lr_up: The input enlarged to the same size, [1,3,H,W] or [B,3,H,W], in [0,1].
        method: "adain", "wavelet" or "none", as `SamplingConfig.color`.

    Returns:
        [B,3,H,W], not clamped.

    Raises:
        ValueError: If the sizes differ or the method is unknown.
    """
    if sr.shape[1:] != lr_up.shape[1:] or lr_up.shape[0] not in (1, sr.shape[0]):
        raise ValueError(
            f"lr_up must have the shape of sr, {list(sr.shape)}, or a batch of 1, "
            f"got {list(lr_up.shape)}; enlarge the input to the size of the result"
        )
    if method == "adain":
        return adain(sr, lr_up)
    if method == "wavelet":
        return wavelet(sr, lr_up)
    if method == "none":
        return sr
    raise ValueError(f"method must be adain, wavelet or none, got {method!r}")


def adain(sr: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """Give each channel of sr the mean and spread of the reference's, over height and width.

    AdaIN Eq. (8), https://arxiv.org/abs/1703.06868; both [B,3,H,W].
    """
    mean, std = _mean_and_std(sr)
    reference_mean, reference_std = _mean_and_std(reference)
    return (sr - mean) / std * reference_std + reference_mean


def _mean_and_std(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and spread of each channel, [B,3,1,1]."""
    variance, mean = torch.var_mean(x, dim=(2, 3), correction=1, keepdim=True)
    # The small term keeps a flat channel from being divided by zero.
    return mean, (variance + 1e-5).sqrt()


def wavelet(sr: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """Give sr the low frequencies of the reference; both [B,3,H,W].

    The high frequencies of all levels add up to what the last low-pass takes away.
    """
    return sr - _low_frequencies(sr) + _low_frequencies(reference)


def _low_frequencies(x: torch.Tensor) -> torch.Tensor:
    """What is left of x after WAVELET_LEVELS binomial blurs, each twice as wide as the last."""
    row = torch.tensor([0.25, 0.5, 0.25], dtype=x.dtype, device=x.device)
    channels = x.shape[1]
    kernel = torch.outer(row, row).expand(channels, 1, 3, 3)
    for level in range(WAVELET_LEVELS):
        radius = 2**level
        padded = functional.pad(x, (radius, radius, radius, radius), mode="replicate")
        x = functional.conv2d(padded, kernel, groups=channels, dilation=radius)
    return x
