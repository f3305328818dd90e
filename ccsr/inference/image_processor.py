"""Pictures of the kinds that diffusers' pipelines take and return."""

from collections.abc import Sequence
from typing import Any, Literal, get_args

import numpy as np
import torch
from PIL import Image, ImageOps

from ccsr.errors import InputError
from ccsr.images.picture import Picture, picture_from_array
from ccsr.images.tensors import to_uint8

ImageInput = Image.Image | np.ndarray | torch.Tensor | Picture
OutputType = Literal["pil", "np", "pt"]
OUTPUT_TYPES: tuple[OutputType, ...] = get_args(OutputType)


def to_picture(image: Any) -> Picture:  # noqa: ANN401 - this is the type check
    """The picture of an image.

    Args:
        image: A Pillow image, an array [H,W], [H,W,3] or [H,W,4] of uint8, uint16 or floats in
            [0,1], a tensor [3,H,W] or [1,3,H,W] in [0,1], or a `Picture`.

    Raises:
        InputError: If it is something else.
    """
    if isinstance(image, Picture):
        return image
    if isinstance(image, Image.Image):
        return picture_from_array(_pillow_levels(image))
    if isinstance(image, np.ndarray):
        return picture_from_array(image)
    if isinstance(image, torch.Tensor):
        return _picture_of_tensor(image)
    raise InputError(
        f"image must be one Pillow image, array, tensor or Picture, got {type(image).__name__}; "
        "call the pipeline once for each image"
    )


def _pillow_levels(image: Image.Image) -> np.ndarray:
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16"):
        return np.asarray(image)
    return np.asarray(image.convert("RGBA" if image.has_transparency_data else "RGB"))


def _picture_of_tensor(image: torch.Tensor) -> Picture:
    channels_first = image[0] if image.ndim == 4 and len(image) == 1 else image
    if channels_first.ndim != 3 or len(channels_first) != 3 or not image.is_floating_point():
        raise InputError(
            "a tensor must be [3,H,W] or [1,3,H,W] of floats in [0,1], got "
            f"{list(image.shape)} {image.dtype}"
        )
    array = channels_first.detach().float().cpu().movedim(0, -1).numpy()
    return picture_from_array(array)


def to_images(
    pictures: Sequence[Picture], output_type: OutputType
) -> list[Image.Image] | np.ndarray | torch.Tensor:
    """Pictures of one size as images.

    Args:
        pictures: At least one.
        output_type: "pil": 8-bit Pillow images, with alpha if the picture has it. "np": an array
            [N,H,W,3], "pt": a tensor [N,3,H,W], both float32 in [0,1] and without alpha.
    """
    if output_type == "pil":
        return [_to_pillow(picture) for picture in pictures]
    stack = np.stack([picture.rgb for picture in pictures])
    return stack if output_type == "np" else torch.from_numpy(stack).movedim(-1, 1)


def _to_pillow(picture: Picture) -> Image.Image:
    image = Image.fromarray(to_uint8(picture.rgb))
    if picture.alpha is not None:
        image.putalpha(Image.fromarray(to_uint8(picture.alpha)))
    return image
