"""Arrays [H,W,3] <-> tensors [B,3,H,W], both in [0,1]; resampling, padding and cropping."""

import numpy as np
import torch

from ccsr.errors import InputError
from ccsr.images.picture import Size


def to_tensor(rgb: np.ndarray) -> torch.Tensor:
    """Copy rgb [H,W,3] to a tensor [1,3,H,W] float32."""
    return torch.from_numpy(rgb.astype(np.float32)).permute(2, 0, 1)[None].contiguous()


def seen_as_tensor(rgb: np.ndarray) -> torch.Tensor:
    """Rgb [H,W,3] as a tensor [1,3,H,W] float32, which shares its memory if it is float32."""
    return torch.from_numpy(rgb.astype(np.float32, copy=False)).permute(2, 0, 1)[None]


def to_array(x: torch.Tensor, *, overwrite: bool = False) -> np.ndarray:
    """Convert a tensor [3,H,W] or [1,3,H,W] to rgb [H,W,3] float32, clamped to [0,1].

    With `overwrite` the array shares the memory of x, if that is in channels-last order.
    """
    if x.ndim == 4:
        x = x.squeeze(0)
    if x.ndim != 3:
        raise InputError(f"a picture must be [3,H,W] or [1,3,H,W], got {list(x.shape)}")
    pixels = x.detach().float().cpu().permute(1, 2, 0)
    out = pixels if overwrite and pixels.is_contiguous() else torch.empty(pixels.shape)
    return torch.clamp(pixels, 0, 1, out=out).numpy()


def to_uint8(rgb: np.ndarray) -> np.ndarray:
    """Round values in [0,1] to uint8, halves upwards; values outside are clamped."""
    return _rounded(rgb, np.uint8, np.float32)


def to_uint16(rgb: np.ndarray) -> np.ndarray:
    """Round values in [0,1] to uint16, halves upwards; values outside are clamped."""
    # In float32 the product would be rounded itself, by up to 1/256 of a level.
    return _rounded(rgb, np.uint16, np.float64)


ROUNDED_AT_ONCE = 2**20
"""Values whose products are in memory at the same time: a large picture fills much of it."""


def _rounded(values: np.ndarray, levels: type[np.unsignedinteger], product: type) -> np.ndarray:
    """Values in [0,1] as whole numbers of a type; the products are computed in another type."""
    rounded = np.empty(values.shape, levels)
    count = -(-values.size // ROUNDED_AT_ONCE)
    parts = (np.array_split(array, count) for array in (values, rounded)) if count else ((), ())
    for part, target in zip(*parts, strict=True):
        # The conversion cuts off decimals.
        target[...] = np.clip(part, 0, 1).astype(product) * np.iinfo(levels).max + 0.5
    return rounded


def resize(x: torch.Tensor, size: Size) -> torch.Tensor:
    """Resample pictures x [B,C,H,W] in [0,1] to `size`, bicubically, clamped to [0,1].

    Used everywhere: for the LR pictures of training and for enlarging the LR picture for the
    model. Its kernel has a = -0.5 and is widened when reducing, as that of Pillow's BICUBIC.
    """
    return torch.nn.functional.interpolate(
        x, size=tuple(size), mode="bicubic", antialias=True, align_corners=False
    ).clamp_(0, 1)


def pad_to_multiple(x: torch.Tensor, multiple: int, border: int = 0) -> tuple[torch.Tensor, Size]:
    """Pad x [B,C,H,W] around, then at bottom and right until its sides are multiples of `multiple`.

    Padding is by reflection without repeating the edge; reflections are reflected again where
    they are too short, so any size can be padded to any other.

    Args:
        x: Pictures or latents.
        multiple: Divisor of the padded sides, at least 1.
        border: By how much each side is padded at least.

    Returns:
        The padded tensor and the size before, for `crop_to`.
    """
    size = Size(x.shape[-2], x.shape[-1])
    for dim, length in ((-2, size.height), (-1, size.width)):
        padded = -(-(length + 2 * border) // multiple) * multiple
        if padded > length:
            places = mirrored(torch.arange(-border, padded - border), length)
            x = x.index_select(dim, places.to(x.device))
    return x, size


def mirrored(positions: torch.Tensor, length: int) -> torch.Tensor:
    """Indices of reflection padding: ... 2 1 0 1 2 1 0 ... for positions around length 3.

    Unlike in the padding of PyTorch, positions may lie any distance outside of [0, length).
    """
    period = max(2 * (length - 1), 1)
    wrapped = positions % period
    return torch.minimum(wrapped, period - wrapped)


def crop_to(x: torch.Tensor, size: Size, border: int = 0) -> torch.Tensor:
    """Crop x [B,C,H,W] to its top left part of `size` within `border`, undoing `pad_to_multiple`.

    Raises:
        InputError: If x is too small for that.
    """
    bottom, right = border + size.height, border + size.width
    if x.shape[-2] < bottom or x.shape[-1] < right:
        wanted = f"{size} with a border of {border}" if border else str(size)
        raise InputError(f"cannot cut {wanted} out of {Size(x.shape[-2], x.shape[-1])}")
    return x[..., border:bottom, border:right]
