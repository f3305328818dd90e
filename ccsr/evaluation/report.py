"""Files of an evaluation: the settings inside a PNG, and the files of a stability report."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ccsr.config import SEED, SamplingConfig
from ccsr.errors import InputError
from ccsr.evaluation import heatmap
from ccsr.evaluation.stability import StabilityReport
from ccsr.images.picture import Picture, picture_from_levels
from ccsr.images.reading import read_texts
from ccsr.images.writing import save_png
from ccsr.inference.events import ModelInfo
from ccsr.option import field_names, shortened
from ccsr.whole_file import whole_file, write_whole

SETTINGS_KEY = "ccsr"
"""Keyword of the PNG text that holds the settings as JSON."""

SETTINGS = set(field_names(SamplingConfig))
NEWER = {"prompt", "negative_prompt", "guidance_scale"}
"""Those that pictures of earlier versions do not hold."""

REPORT_FILES = ("mean.png", "l_std.png", "l_std.npy", "report.json")


def settings_text(config: SamplingConfig, seed: int, info: ModelInfo) -> dict[str, str]:
    """Texts for the PNG of one result, enough to make it again."""
    settings = {"model": info.name, "seed": seed, **config.model_dump()}
    return {"Software": "ccsr", SETTINGS_KEY: json.dumps(settings)}


@dataclass(frozen=True)
class Settings:
    """What made a picture, as far as a person chooses it."""

    config: SamplingConfig
    seed: int


def read_settings(path: Path, read: Callable[[Path], Mapping[str, str]] = read_texts) -> Settings:
    """The settings inside a picture made here, a PNG, JPEG or WEBP.

    Args:
        path: Its file.
        read: Returns the texts in it by keyword.

    Raises:
        InputError: If the file is no picture, or holds no settings, or some that are not allowed.
    """
    try:
        texts = read(path)
        found = json.loads(texts[SETTINGS_KEY if SETTINGS_KEY in texts else "UserComment"])
        # Earlier versions wrote it under this name.
        if "guidance" in found:
            found["guidance_scale"] = found.pop("guidance")
        known = {name: found[name] for name in SETTINGS - NEWER} | {
            name: found[name] for name in NEWER if name in found
        }
        return Settings(SamplingConfig(**known), SEED.validate(found["seed"]))
    except (OSError, KeyError, TypeError, RecursionError, json.JSONDecodeError) as error:
        raise InputError(
            f"{shortened(path.name)} holds no settings of this program; give a picture that was "
            "made by it and not saved again by another"
        ) from error


def picture_name(seed: int) -> str:
    """File name of the result of a seed."""
    return f"seed-{seed}.png"


def blended_name(seed: int) -> str:
    """File name of the result of a seed, blended with the mean where the seeds disagree."""
    return f"seed-{seed}-agreed.png"


def point_name(config: SamplingConfig, seed: int) -> str:
    """File name of the result of one setting of a sweep."""
    return f"t_max-{config.t_max:g}_t_min-{config.t_min:g}_seed-{seed}.png"


def write_report(folder: Path, report: StabilityReport, *, overwrite: bool = False) -> list[Path]:
    """Write the mean picture, the L-STD map (with a colour bar, and as numbers) and the statistics.

    Returns:
        The files written, REPORT_FILES in `folder`.

    Raises:
        FileExistsError: If one exists and `overwrite` is not set; then none is written.
    """
    paths = [folder / name for name in REPORT_FILES]
    refuse_existing(paths, overwrite)
    mean, picture, numbers, statistics = paths
    mean_picture = Picture(report.pixels.mean.astype(np.float32), report.alpha)
    drawn = heatmap.with_color_bar(report.pixels.l_std_map, alpha=report.alpha)
    save_png(mean, mean_picture, overwrite=overwrite)
    save_png(picture, picture_from_levels(drawn, 8), overwrite=overwrite)
    write_array(numbers, report.pixels.l_std_map.astype(np.float32), overwrite=overwrite)
    content = json.dumps(report.as_dict(), indent=2) + "\n"
    write_whole(statistics, content, overwrite=overwrite)
    return paths


def write_array(path: Path, array: np.ndarray, *, overwrite: bool = False) -> Path:
    """Write an array as .npy; returns the path."""
    with whole_file(path, overwrite=overwrite) as file:
        np.save(file, array)
    return path


def refuse_existing(paths: list[Path], overwrite: bool) -> None:
    """Raise FileExistsError if one of `paths` exists, unless it may be overwritten."""
    existing = [path for path in paths if path.exists()]
    if existing and not overwrite:
        more = f" and {len(existing) - 1} more" if len(existing) > 1 else ""
        raise FileExistsError(
            f"{existing[0]}{more} would be overwritten; "
            "choose another output folder or allow overwriting"
        )
