"""Colour profiles -> sRGB: by their curves and primaries, or through LittleCMS if they are tables.

A profile counts by what it does to colours, not by its name. Format: ICC.1:2022,
https://www.color.org/specification/ICC.1-2022-05.pdf.
"""

import io
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageCms

from ccsr.errors import InputError

Notes = tuple[str, ...]
Curve = Callable[[np.ndarray], np.ndarray]
"""Levels in [0,1] -> light."""

MODES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}
"""The colours that a profile is for -> Pillow's mode."""
TOLERANCE = 1.5 / 255
"""How far a profile may differ from sRGB and still count as that."""
_PARAMETERS = {0: "g", 1: "gab", 2: "gabc", 3: "gabcd", 4: "gabcdef"}
"""Of parametric curves, by their type, Table 68 of the specification."""
_UNUSABLE = ("its colour profile cannot be used, so its colours are taken as sRGB",)
_REDUCED = ("its colour profile consists of tables, so its 16 bits a channel are read as 8",)
_APPROXIMATE = ("it is CMYK without a usable colour profile, so its colours are approximate",)


@dataclass(frozen=True)
class Profile:
    """A colour profile."""

    handle: ImageCms.ImageCmsProfile
    mode: str
    """Pillow's mode of the pixels that it is for."""
    to_light: Curve | None
    """Levels [...,1] of grey or [...,3] of colour -> light of the primaries of sRGB; None if it
    consists of tables."""


def to_srgb(levels: np.ndarray, icc: bytes | None, bits: int = 8) -> tuple[np.ndarray, Notes]:
    """Convert levels [H,W,1|3] float32 in [0,1] to sRGB, and say what is lost.

    Profiles of curves and primaries keep the precision; others have that of 8 bits.

    Args:
        levels: Of the file.
        icc: Its colour profile, if it has one.
        bits: How precise the levels are.
    """
    profile = read_profile(icc) if icc else None
    if profile is None:
        return levels, _UNUSABLE if icc else ()
    try:
        # A profile of colours applies to grey too: a grey picture with one is common.
        if profile.mode == "RGB":
            converted = _converted(np.broadcast_to(levels, (*levels.shape[:2], 3)), profile)
            acts_as_srgb = _differs_little(_RGB_SAMPLES, profile)
        elif profile.mode == "L" and levels.shape[2] == 1:
            converted = _converted(levels, profile)
            acts_as_srgb = _differs_little(_GREY_SAMPLES, profile)
        else:
            return levels, _UNUSABLE
    except ImageCms.PyCMSError:
        return levels, _UNUSABLE
    if acts_as_srgb:
        return levels, ()
    return converted, _REDUCED if bits > 8 and profile.to_light is None else ()


def cmyk_to_srgb(image: Image.Image, icc: bytes | None) -> tuple[np.ndarray, Notes]:
    """Convert a CMYK image to levels [H,W,3] float32 of sRGB, and say if they are approximate."""
    profile = read_profile(icc) if icc else None
    if profile is not None and profile.mode == "CMYK":
        try:
            return _through_tables(image, profile), ()
        except ImageCms.PyCMSError:
            pass
    return np.asarray(image.convert("RGB")).astype(np.float32) / 255, _APPROXIMATE


def read_profile(icc: bytes) -> Profile | None:
    """Read a profile; None if it cannot be used."""
    try:
        handle = ImageCms.ImageCmsProfile(io.BytesIO(icc))
        header: Any = handle.profile
        mode = MODES[header.xcolor_space.strip()]
    except (ImageCms.PyCMSError, OSError, KeyError):
        return None
    return Profile(handle, mode, _to_light(icc, mode))


_GREY_SAMPLES = np.linspace(0, 1, 256, dtype=np.float32).reshape(16, 16, 1)
_RGB_SAMPLES = np.stack(np.meshgrid(*[np.linspace(0, 1, 16, dtype=np.float32)] * 3), 3).reshape(
    64, 64, 3
)


def _differs_little(samples: np.ndarray, profile: Profile) -> bool:
    return bool(np.abs(_converted(samples, profile) - samples).max() <= TOLERANCE)


def _converted(levels: np.ndarray, profile: Profile) -> np.ndarray:
    """Levels of sRGB [H,W,1|3] float32."""
    if profile.to_light is not None:
        return srgb_levels(profile.to_light(levels)).astype(np.float32)
    rounded = np.rint(levels * 255).astype(np.uint8)
    image = Image.fromarray(rounded[..., 0] if rounded.shape[2] == 1 else rounded)
    return _through_tables(image, profile)


def _through_tables(image: Image.Image, profile: Profile) -> np.ndarray:
    """An image of 8 bits in the mode of the profile -> levels of sRGB [H,W,3] float32."""
    converted = ImageCms.profileToProfile(
        image,
        profile.handle,
        ImageCms.createProfile("sRGB"),
        renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
        outputMode="RGB",
        flags=ImageCms.Flags.BLACKPOINTCOMPENSATION | ImageCms.Flags.HIGHRESPRECALC,
    )
    return np.asarray(converted).astype(np.float32) / 255


def srgb_levels(light: np.ndarray) -> np.ndarray:
    """Light in [0,1], clamped -> levels of sRGB in [0,1], IEC 61966-2-1."""
    clamped = np.clip(light, 0, 1)
    return np.where(clamped <= 0.0031308, 12.92 * clamped, 1.055 * clamped ** (1 / 2.4) - 0.055)


def _to_light(icc: bytes, mode: str) -> Curve | None:
    """The function of the curves and primaries of a profile; None if it consists of tables."""
    try:
        tags = read_tags(icc)
        if any(name.startswith("A2B") for name in tags):
            return None
        if mode == "L":
            return _compensated(curve(tags["kTRC"]), 1)
        red, green, blue = (curve(tags[f"{colour}TRC"]) for colour in "rgb")
        srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
        mixed = (np.linalg.inv(primaries(read_tags(srgb))) @ primaries(tags)).T
    except (KeyError, ValueError, IndexError, struct.error, np.linalg.LinAlgError):
        return None

    def to_light(x: np.ndarray) -> np.ndarray:
        light = np.dstack([red(x[..., 0]), green(x[..., 1]), blue(x[..., 2])])
        return light @ mixed

    return _compensated(to_light, 3)


def _compensated(to_light: Curve, channels: int) -> Curve:
    """Black point compensation: the darkest level becomes black, white stays."""
    black = float(to_light(np.zeros((1, 1, channels))).mean())
    return to_light if black <= 0 else lambda x: (to_light(x) - black) / (1 - black)


def read_tags(icc: bytes) -> Mapping[str, bytes]:
    """The tags of a profile by name, section 7.3 of the specification."""
    (count,) = struct.unpack_from(">I", icc, 128)
    entries = [struct.unpack_from(">4sII", icc, 132 + 12 * i) for i in range(min(count, 100))]
    return {name.decode("latin-1"): icc[start : start + size] for name, start, size in entries}


def primaries(tags: Mapping[str, bytes]) -> np.ndarray:
    """XYZ of red, green and blue as columns [3,3], relative to D50."""
    columns = [struct.unpack_from(">3i", tags[f"{colour}XYZ"], 8) for colour in "rgb"]
    return np.array(columns).T / 65536


def curve(tag: bytes) -> Curve:
    """The function of a "curv" or "para" tag, sections 10.6 and 10.18 of the specification.

    Raises:
        InputError: If it is another tag.
    """
    kind = tag[:4]
    if kind == b"curv":
        (count,) = struct.unpack_from(">I", tag, 8)
        if count == 0:
            return lambda x: x
        if count == 1:
            exponent = struct.unpack_from(">H", tag, 12)[0] / 256
            return lambda x: x**exponent
        table = np.frombuffer(tag, ">u2", count, 12) / 65535
        return lambda x: np.interp(x, np.linspace(0, 1, count), table)
    if kind == b"para":
        names = _PARAMETERS[struct.unpack_from(">H", tag, 8)[0]]
        numbers = struct.unpack_from(f">{len(names)}i", tag, 12)
        return _parametric({name: n / 65536 for name, n in zip(names, numbers, strict=True)})
    raise InputError(f"{kind!r} is no curve")


def _parametric(p: Mapping[str, float]) -> Curve:
    a, b, c, f = p.get("a", 1.0), p.get("b", 0.0), p.get("c", 0.0), p.get("f", 0.0)
    # Types 1 and 2 begin where the base of the power is 0, and are constant below.
    start = p.get("d", -b / a if a else 0.0)
    slope = c if "d" in p else 0.0
    above, below = (p.get("e", 0.0), f) if "d" in p else (c, c)

    def apply(x: np.ndarray) -> np.ndarray:
        power = np.maximum(a * x + b, 0) ** p["g"] + above
        return np.where(x >= start, power, slope * x + below)

    return apply
