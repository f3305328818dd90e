"""Files <-> pictures <-> tensors.

A picture is an array [H,W,3] in [0,1], sRGB, upright, with its alpha apart; a tensor is
[B,C,H,W] in [0,1]. Sizes are always (height, width): Pillow's (width, height) stays in here.
"""

import io
import struct
import sys
import uuid
import warnings
import zlib
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageCms, ImageFile, ImageOps, UnidentifiedImageError
from PIL.PngImagePlugin import PngInfo, putchunk

MIN_SIDE = 16
MAX_SIDE = 20_000
MAX_INPUT_PIXELS = 2048 * 2048

# Only formats that Pillow decodes itself, by open codecs: EPS, for one, would start Ghostscript.
FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "GIF", "BMP", "PPM", "AVIF")

_NATIVE, _SWAPPED = ("L", "B") if sys.byteorder == "little" else ("B", "L")
_OTHER_BYTE = {
    f"{mode};16{order}": f"{mode};16{other}"
    for mode in ("RGB", "RGBA")
    for order, other in (("B", "L"), ("L", "B"), ("N", _SWAPPED))
}
"""Pillow's name of a 16-bit layout -> the name under which it keeps the other, lower byte."""


# What Pillow's decoders are seen to raise for damaged files; AVIF's has RuntimeError.
_DECODER_ERRORS = (
    *(OSError, EOFError, SyntaxError, ValueError, LookupError, TypeError, RuntimeError),
    struct.error,
)


class PictureError(ValueError):
    """What is wrong with an input file, in words for the person who chose it."""


class Size(NamedTuple):
    """Pixels on each side."""

    height: int
    width: int

    def __str__(self) -> str:
        """As people write it, the width first."""
        return f"{self.width}x{self.height}"


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture in memory.

    Raises:
        ValueError: If the arrays do not have the shapes and types below.
    """

    rgb: np.ndarray
    """[H,W,3] float32 in [0,1], sRGB."""
    alpha: np.ndarray | None = None
    """[H,W] float32 in [0,1]: 0 is transparent; None if the file had no transparency."""
    bits: int = 8
    """8 or 16 bits a channel: what the file held, and what the result is written with."""
    notes: tuple[str, ...] = ()
    """What a person should know about how the file was read."""

    def __post_init__(self) -> None:
        """Check that the arrays are what the fields say."""
        if self.rgb.ndim != 3 or self.rgb.shape[2] != 3 or self.rgb.dtype != np.float32:
            raise ValueError(
                f"rgb must be [H,W,3] float32, got {list(self.rgb.shape)} {self.rgb.dtype}; "
                "picture_from_array takes other arrays"
            )
        alpha = self.alpha
        if alpha is not None and (alpha.shape != self.rgb.shape[:2] or alpha.dtype != np.float32):
            raise ValueError(
                f"alpha must be {list(self.rgb.shape[:2])} float32, "
                f"got {list(alpha.shape)} {alpha.dtype}"
            )
        if self.bits not in (8, 16):
            raise ValueError(f"bits must be 8 or 16, got {self.bits}")

    @property
    def size(self) -> Size:
        """Height and width."""
        return Size(self.rgb.shape[0], self.rgb.shape[1])


def load_picture(path: str | Path, *, max_pixels: int = MAX_INPUT_PIXELS) -> Picture:
    """Read a picture file: turned upright, in sRGB, alpha apart, 16 bits kept.

    Args:
        path: A PNG, JPEG, WebP, TIFF, GIF, BMP, PPM or AVIF file.
        max_pixels: The most pixels to accept; checked before anything is decoded.

    Raises:
        PictureError: If the file is missing, damaged, not a picture, too large or too small.
    """
    path = Path(path)
    with _reading(path) as image:
        _check_size(path.name, Size(image.height, image.width), max_pixels)
        notes = _frame_notes(image)
        deep = _deep_levels(path, image)
        if deep is not None:
            return _picture_from_levels(deep, 16, notes)
        levels, colour_notes = _byte_levels(image)
        return _picture_from_levels(levels.astype(np.float32) / 255, 8, notes + colour_notes)


def picture_from_array(array: np.ndarray) -> Picture:
    """Make a picture of an array, for callers that have no file.

    Args:
        array: [H,W], [H,W,3] or [H,W,4] (with alpha): bool, uint8, uint16, or floats in [0,1].
            Pixels are taken as sRGB. For a Pillow image, `numpy.asarray(image)`.

    Returns:
        The picture; 16 bits unless the array is bool or uint8.

    Raises:
        PictureError: If shape, type or values are others, or a side is below MIN_SIDE.
    """
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (3, 4)):
        raise PictureError(
            f"a picture must be [H,W], [H,W,3] or [H,W,4], got {list(array.shape)}; "
            "put the channels last"
        )
    _check_size("the array", Size(array.shape[0], array.shape[1]), array.size)
    levels = array if array.ndim == 3 else array[..., None]
    if array.dtype == bool:
        return _picture_from_levels(levels.astype(np.float32), 8)
    if array.dtype.kind == "u" and array.itemsize <= 2:
        top = np.iinfo(array.dtype).max
        return _picture_from_levels(levels.astype(np.float32) / top, 8 * array.itemsize)
    if not np.issubdtype(array.dtype, np.floating):
        raise PictureError(
            f"a picture must be bool, uint8, uint16 or float, got {array.dtype}; convert it first"
        )
    _check_unit_range("the array", levels)
    return _picture_from_levels(levels.astype(np.float32), 16)


def _picture_from_levels(levels: np.ndarray, bits: int, notes: tuple[str, ...] = ()) -> Picture:
    """Split levels [H,W,1|3|4] float32 in [0,1] into colour and alpha."""
    rgb = np.ascontiguousarray(np.broadcast_to(levels[..., :3], (*levels.shape[:2], 3)))
    alpha = np.ascontiguousarray(levels[..., 3]) if levels.shape[2] == 4 else None
    return Picture(rgb, alpha, bits, notes)


@contextmanager
def _reading(path: Path) -> Generator[ImageFile.ImageFile]:
    """Open a file with Pillow; whatever its decoders raise inside becomes a PictureError."""
    _check_file(path)
    try:
        with _open(path) as image:
            yield image
    except PictureError:
        raise
    except UnidentifiedImageError as error:
        raise PictureError(
            f"{path.name} is not a picture of a kind that can be read; "
            "save it as PNG, JPEG, WebP or TIFF (8 or 16 bits a channel)"
        ) from error
    except Image.DecompressionBombError as error:
        raise PictureError(f"{path.name} has far too many pixels; make it smaller") from error
    except _DECODER_ERRORS as e:
        raise PictureError(
            f"{path.name} is damaged or incomplete ({e}); save or download it again"
        ) from e


def _check_file(path: Path) -> None:
    if not path.exists():
        raise PictureError(f"there is no file {path}; check the name")
    if not path.is_file():
        raise PictureError(f"{path} is not a file; give a picture file")
    if path.stat().st_size == 0:
        raise PictureError(f"{path.name} is empty; save or download it again")


def _open(path: Path) -> ImageFile.ImageFile:
    with warnings.catch_warnings():
        # Pillow warns of large pictures; the callers here have limits of their own.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        return Image.open(path, formats=FORMATS)


def _check_size(name: str, size: Size, max_pixels: int) -> None:
    if min(size) < MIN_SIDE:
        raise PictureError(
            f"{name} is {size} pixels; pictures from {MIN_SIDE}x{MIN_SIDE} can be upscaled"
        )
    if size.height * size.width > max_pixels or max(size) > MAX_SIDE:
        raise PictureError(
            f"{name} is {size} pixels; the limit is {max_pixels:,} pixels "
            f"and {MAX_SIDE:,} on a side; make it smaller or cut out a part"
        )


def _check_unit_range(name: str, levels: np.ndarray) -> None:
    low, high = float(levels.min()), float(levels.max())
    # Written so that NaN, which compares false with everything, is refused too.
    if not (low >= 0.0 and high <= 1.0):
        raise PictureError(
            f"{name} has values from {low:g} to {high:g}; floating-point pictures must be "
            "in [0, 1]: scale it, or save it with 8 or 16 bits a channel"
        )


def _frame_notes(image: ImageFile.ImageFile) -> tuple[str, ...]:
    # The further frames of an MPO are a phone's depth or gain maps, nothing a person looks for.
    frames = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
    return (f"only the first of its {frames} frames is used",) if frames > 1 else ()


def _deep_levels(path: Path, image: ImageFile.ImageFile) -> np.ndarray | None:
    """Read a picture of more than 8 bits: [H,W,1|3|4] float32 in [0,1]; None if it has 8."""
    if _layout(image) in _OTHER_BYTE and _foreign_profile(image) is None:
        values = _read_16_bit_colour(path, image)
    elif image.mode.startswith(("I", "F")):
        values = np.asarray(ImageOps.exif_transpose(image)).astype(np.float32)[..., None]
    else:
        return None
    levels = values if image.mode == "F" else values / 65535
    _check_unit_range(path.name, levels)
    clear = image.info.get("transparency")
    if clear is None:
        return levels
    # A PNG without an alpha channel may name one colour that is transparent.
    alpha = (values != clear).any(axis=2, keepdims=True)
    rgb = np.broadcast_to(levels, (*levels.shape[:2], 3))
    return np.concatenate([rgb, alpha], axis=2, dtype=np.float32)


def _layout(image: ImageFile.ImageFile) -> str:
    """Pillow's name for how the file stores pixels, such as "RGB;16B"."""
    args = image.tile[0].args if image.tile else None
    return str(args[0] if isinstance(args, tuple) and args else args)


def _read_16_bit_colour(path: Path, image: ImageFile.ImageFile) -> np.ndarray:
    """Read 16-bit RGB(A): [H,W,3|4] float32 in [0,65535].

    Pillow keeps one byte of each two. Which one it keeps follows from the byte order it takes
    the file for, so a second reading in the opposite order gives the lower bytes.
    """
    with _open(path) as again:
        again.tile = [tile._replace(args=_in_other_order(tile.args)) for tile in again.tile]
        low = np.asarray(ImageOps.exif_transpose(again))
    high = np.asarray(ImageOps.exif_transpose(image))
    return high.astype(np.float32) * 256 + low


def _in_other_order(args: tuple[object, ...] | str | None) -> tuple[object, ...] | str:
    if isinstance(args, tuple):
        return (_OTHER_BYTE[str(args[0])], *args[1:])
    return _OTHER_BYTE[str(args)]


def _byte_levels(image: ImageFile.ImageFile) -> tuple[np.ndarray, tuple[str, ...]]:
    """Read a picture as 8-bit sRGB: [H,W,3|4] uint8, and what to tell about it."""
    notes = ()
    if ";16" in _layout(image):
        notes = ("its 16 bits a channel are read as 8",)
    upright = ImageOps.exif_transpose(image)
    opaque = upright
    alpha = None
    if upright.has_transparency_data:
        with_alpha = upright.convert("RGBA")
        alpha = with_alpha.getchannel("A")
        opaque = with_alpha.convert("L" if upright.mode in ("1", "L", "LA") else "RGB")
    rgb, colour_notes = _to_srgb(opaque)
    if alpha is not None:
        rgb.putalpha(alpha)
    return np.asarray(rgb), notes + colour_notes


def _foreign_profile(image: Image.Image) -> ImageCms.ImageCmsProfile | None:
    """The embedded colour profile, unless there is none or it is sRGB."""
    embedded = image.info.get("icc_profile")
    if not embedded:
        return None
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(embedded))
        return None if ImageCms.getProfileName(profile).startswith("sRGB") else profile
    except (ImageCms.PyCMSError, OSError):
        return None


def _to_srgb(image: Image.Image) -> tuple[Image.Image, tuple[str, ...]]:
    """Convert an 8-bit image without alpha to sRGB, through its profile if it has one."""
    profile = _foreign_profile(image)
    # The header of a profile names the colours it is for.
    space = profile.tobytes()[16:20] if profile else b""
    mode = {b"RGB ": "RGB", b"GRAY": "L", b"CMYK": "CMYK"}.get(space)
    # A profile of another kind than the pixels (a grey picture with an RGB profile is common)
    # still applies after a conversion that loses nothing.
    applies = mode == image.mode or (mode == "RGB" and image.mode != "CMYK")
    if profile is not None and mode is not None and applies:
        # A profile without its tables, found only now, counts as none.
        with suppress(ImageCms.PyCMSError):
            converted = ImageCms.profileToProfile(
                image.convert(mode),
                profile,
                ImageCms.createProfile("sRGB"),
                renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
                outputMode="RGB",
                flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
            )
            if converted is not None:
                return converted, ()
    approximate = ("it is CMYK without a usable colour profile, so its colours are approximate",)
    return image.convert("RGB"), approximate if image.mode == "CMYK" else ()


def to_tensor(rgb: np.ndarray) -> torch.Tensor:
    """Turn rgb [H,W,3] into a tensor [1,3,H,W] float32 of its own memory."""
    return torch.from_numpy(rgb.astype(np.float32)).permute(2, 0, 1)[None].contiguous()


def to_array(x: torch.Tensor, *, overwrite: bool = False) -> np.ndarray:
    """Turn a tensor [3,H,W] or [1,3,H,W] into rgb [H,W,3] float32, clamped to [0,1].

    With `overwrite` the array takes the memory of x, if its pixels lie there in their order.
    """
    if x.ndim == 4:
        x = x.squeeze(0)
    if x.ndim != 3:
        raise ValueError(f"a picture must be [3,H,W] or [1,3,H,W], got {list(x.shape)}")
    pixels = x.detach().float().cpu().permute(1, 2, 0)
    out = pixels if overwrite and pixels.is_contiguous() else torch.empty(pixels.shape)
    return torch.clamp(pixels, 0, 1, out=out).numpy()


def to_uint8(rgb: np.ndarray) -> np.ndarray:
    """Round values in [0,1] to uint8, halves upwards; values outside are clamped."""
    return np.floor(np.clip(rgb, 0, 1) * 255 + 0.5).astype(np.uint8)


def to_uint16(rgb: np.ndarray) -> np.ndarray:
    """Round values in [0,1] to uint16, halves upwards; values outside are clamped."""
    # In float32 the product would be rounded itself, by up to 1/256 of a level.
    return np.floor(np.clip(rgb, 0, 1).astype(np.float64) * 65535 + 0.5).astype(np.uint16)


def resize(x: torch.Tensor, size: Size) -> torch.Tensor:
    """Resample pictures x [B,C,H,W] in [0,1] to `size`, bicubically, clamped to [0,1].

    The one resampling of the product: it makes the LR of training and enlarges the LR for the
    model. Its kernel has a = -0.5 and widens when reducing, as Pillow's BICUBIC.
    """
    return torch.nn.functional.interpolate(
        x, size=tuple(size), mode="bicubic", antialias=True, align_corners=False
    ).clamp_(0, 1)


def pad_to_multiple(x: torch.Tensor, multiple: int, minimum: int = 0) -> tuple[torch.Tensor, Size]:
    """Grow x [B,C,H,W] at the bottom and right until its sides are multiples of `multiple`.

    What is added mirrors the picture without repeating its edge; where that runs out, the
    mirror is mirrored again, so any size can be padded to any other.

    Args:
        x: Pictures or latents.
        multiple: What the sides must be divisible by, at least 1.
        minimum: The least length of a side.

    Returns:
        The padded tensor and the size before, for `crop_to`.
    """
    size = Size(x.shape[-2], x.shape[-1])
    for dim, length in ((-2, size.height), (-1, size.width)):
        padded = -(-max(length, minimum) // multiple) * multiple
        if padded > length:
            x = x.index_select(dim, _mirrored(length, padded).to(x.device))
    return x, size


def _mirrored(length: int, padded: int) -> torch.Tensor:
    """Where the `padded` entries come from: 0 1 2 1 0 1 ... for length 3."""
    period = max(2 * (length - 1), 1)
    position = torch.arange(padded) % period
    return torch.minimum(position, period - position) if length > 1 else position


def crop_to(x: torch.Tensor, size: Size) -> torch.Tensor:
    """Cut x [B,C,H,W] back to its top left part, undoing `pad_to_multiple`.

    Raises:
        ValueError: If x is smaller than `size`.
    """
    if x.shape[-2] < size.height or x.shape[-1] < size.width:
        raise ValueError(f"cannot cut {size} out of {Size(x.shape[-2], x.shape[-1])}")
    return x[..., : size.height, : size.width]


def save_png(
    path: str | Path,
    picture: Picture,
    text: Mapping[str, str] | None = None,
    *,
    overwrite: bool = False,
) -> None:
    """Write a picture as PNG, 8 or 16 bits a channel as it says, whole or not at all.

    Args:
        path: Where to; a name that ends in .png, in a folder that exists.
        picture: What to write.
        text: Keywords (1 to 79 Latin-1 characters) and texts to store in the file.
        overwrite: Whether a file that is there already may be replaced.

    Raises:
        ValueError: If the name does not end in .png.
        FileNotFoundError: If the folder does not exist.
        FileExistsError: If the file exists and may not be replaced.
    """
    path = Path(path)
    if path.suffix.lower() != ".png":
        raise ValueError(f"results are PNG files, got the name {path.name}; end it in .png")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {path.parent}; make it first")
    chunks = PngInfo()
    for key, value in (text or {}).items():
        chunks.add_itxt(key, value)
    levels = picture.rgb
    if picture.alpha is not None:
        levels = np.concatenate([levels, picture.alpha[..., None]], axis=2)
    encoded = (_png_16 if picture.bits == 16 else _png_8)(levels, chunks)
    _write_whole(path, encoded, overwrite)


def _png_8(levels: np.ndarray, chunks: PngInfo) -> bytes:
    """Encode levels [H,W,3|4] in [0,1] as an 8-bit PNG."""
    buffer = io.BytesIO()
    # Photographs become no smaller by the default of 6, which takes twice as long.
    Image.fromarray(to_uint8(levels)).save(buffer, "PNG", pnginfo=chunks, compress_level=4)
    return buffer.getvalue()


def _png_16(levels: np.ndarray, chunks: PngInfo) -> bytes:
    """Encode levels [H,W,3|4] in [0,1] as a 16-bit PNG, which Pillow cannot write.

    https://www.w3.org/TR/png-3/: big-endian samples; every row begins with its filter, here
    Up, the difference to the row above.
    """
    height, width, channels = levels.shape
    rows = to_uint16(levels).astype(">u2").reshape(height, -1).view(np.uint8)
    differences = np.diff(rows, axis=0, prepend=np.zeros((1, rows.shape[1]), np.uint8))
    filtered = np.pad(differences, ((0, 0), (1, 0)), constant_values=2)
    colour_type = {3: 2, 4: 6}[channels]
    buffer = io.BytesIO()
    buffer.write(b"\x89PNG\r\n\x1a\n")
    putchunk(buffer, b"IHDR", struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0))
    for name, data, _ in chunks.chunks:
        putchunk(buffer, name, data)
    putchunk(buffer, b"IDAT", zlib.compress(filtered.tobytes()))
    putchunk(buffer, b"IEND")
    return buffer.getvalue()


def _write_whole(path: Path, data: bytes, overwrite: bool) -> None:
    """Write data under a name of its own and move it to `path`: no reader sees half a file."""
    part = path.with_name(f".{uuid.uuid4().hex}.part")
    try:
        part.write_bytes(data)
        if overwrite:
            part.replace(path)
        else:
            _move_to_free_name(part, path)
    finally:
        part.unlink(missing_ok=True)


def _move_to_free_name(part: Path, path: Path) -> None:
    try:
        # Taking the name first decides which of two writers has it.
        path.open("xb").close()
    except FileExistsError as error:
        raise FileExistsError(f"{path} exists; choose another name or overwrite it") from error
    try:
        part.replace(path)
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def read_png_text(path: str | Path) -> dict[str, str]:
    """Read the texts stored in a PNG, by keyword, without decoding its pixels.

    Raises:
        PictureError: If the file is missing, damaged or not a picture.
    """
    with _reading(Path(path)) as image:
        texts = {key: value for key, value in image.info.items() if isinstance(value, str)}
        return {str(key): str(value) for key, value in texts.items()}
