"""The report of a comparison: one HTML file that needs nothing else, also offline."""

import base64
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import jinja2
import numpy as np
from PIL import Image

from ccsr.evaluation.comparison.figures import Drawing, Summaries, drawings, scale_bar
from ccsr.evaluation.comparison.illustration import JPEG_QUALITY, folder_of, read_map, slug
from ccsr.evaluation.comparison.methods import OurMethod
from ccsr.evaluation.comparison.results import Results
from ccsr.evaluation.comparison.tables import Table, cell_text
from ccsr.evaluation.comparison.test_set import Dataset
from ccsr.evaluation.heatmap import heatmap, nice_maximum
from ccsr.images.tensors import to_uint8

REPORT_FILE = "report.html"
MAX_PICTURE_BYTES = 7_000_000
"""Of all pictures in a report, coded as text; those of later rows are left out beyond it."""


@dataclass(frozen=True)
class MethodPictures:
    """What a method made of a picture, as data URIs."""

    name: str
    best: str
    worst: str | None
    """None for a method with one seed; so is the map."""
    std: str | None
    caption: str


@dataclass(frozen=True)
class PictureRow:
    """A picture as all methods restored it, side by side."""

    name: str
    reasons: tuple[str, ...]
    """Why it is shown, such as "highest PSNR of CCSR"."""
    hr: str
    lr: str
    methods: tuple[MethodPictures, ...]


@dataclass(frozen=True)
class Section:
    """A test set."""

    name: str
    tables: tuple[Table, ...]
    drawings: tuple[Drawing, ...]
    pictures: tuple[PictureRow, ...] = ()
    scale: Drawing | None = None
    """Of the maps."""


@dataclass
class Budget:
    """Bytes that pictures may still take."""

    left: int = field(default=MAX_PICTURE_BYTES)

    def take(self, row: PictureRow) -> bool:
        """Whether a row fits; then it is taken."""
        uris = [row.hr, row.lr, *(u for m in row.methods for u in (m.best, m.worst, m.std) if u)]
        size = sum(map(len, uris))
        if size > self.left:
            return False
        self.left -= size
        return True


def html_report(results: Results, tables: Sequence[Table], output: Path) -> str:
    """The report as one HTML file.

    Args:
        results: What the tables are made of.
        tables: All tables.
        output: Folder of the comparison, for the small pictures in it.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True,
        trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined,
    )  # fmt: skip
    budget = Budget()
    sections = [
        _section(results, test_set, tables, output, budget) for test_set in results.test_sets
    ]
    times = [table for table in tables if table.name == "table2"]
    return environment.get_template("report.html.jinja").render(
        sections=[section for section in sections if section.tables],
        times=times, machine=results.machine, digest=str(results.summary.digest),
        cell_text=cell_text,
    )  # fmt: skip


def _section(
    results: Results, test_set: Dataset, tables: Sequence[Table], output: Path, budget: Budget
) -> Section:
    own = tuple(table for table in tables if table.name.startswith(f"{slug(test_set.name)}-table")
                or table.name == f"{slug(test_set.name)}-stability")  # fmt: skip
    summaries = {
        method.name: results.summary.methods[test_set.name, method.name]
        for method in results.methods
        if (test_set.name, method.name) in results.summary.methods
    }
    ours = [method for method in results.methods if isinstance(method, OurMethod)]
    variant = ours[0].setting.variant if ours else None
    settings = [method.name for method in ours if method.setting.variant == variant]
    trajectory = results.summary.trajectories.get((test_set.name, settings[0]), {}) if ours else {}
    figures = tuple(drawings(summaries, settings, trajectory))
    chosen = _chosen(summaries, output, test_set.name)
    maximum = _maximum(chosen, summaries, output, test_set.name)
    rows = (
        _row(name, reasons, summaries, folder_of(output, test_set.name, name), maximum)
        for name, reasons in chosen.items()
    )
    pictures = tuple(row for row in rows if budget.take(row))
    with_maps = any(method.std for row in pictures for method in row.methods)
    scale = scale_bar(maximum) if with_maps else None
    return Section(test_set.name, own, figures, pictures, scale)


def _chosen(summaries: Summaries, output: Path, test_set: str) -> dict[str, tuple[str, ...]]:
    """The best and worst of the pictures that small ones were kept of, with reasons."""
    found: dict[str, dict[str, list[str]]] = {}
    for score, sign, reason in (
        ("l_std", 1, "highest L-STD"), ("psnr", -1, "lowest PSNR"), ("psnr", 1, "highest PSNR"),
    ):  # fmt: skip
        for method, summary in summaries.items():
            candidates = [
                (sign * point[score], name)
                for name, point in summary.points.items()
                if score in point and folder_of(output, test_set, name).is_dir()
            ]
            if candidates:
                name = max(candidates)[1]
                found.setdefault(name, {}).setdefault(reason, []).append(method)
    return {
        name: tuple(f"{reason} of {', '.join(methods)}" for reason, methods in reasons.items())
        for name, reasons in found.items()
    }


def _maximum(
    chosen: dict[str, tuple[str, ...]], summaries: Summaries, output: Path, test_set: str
) -> float:
    """The end of the scale of all maps that are shown."""
    maps = [
        read_map(path).ravel()
        for name in chosen
        for method in summaries
        if (path := folder_of(output, test_set, name) / f"{slug(method)}-std.png").exists()
    ]
    return nice_maximum(np.concatenate(maps)) if maps else 1.0


def _row(
    name: str, reasons: tuple[str, ...], summaries: Summaries, folder: Path, maximum: float
) -> PictureRow:
    return PictureRow(
        name, reasons, _jpeg_uri(folder / "hr.jpg"), _jpeg_uri(folder / "lr.jpg"),
        tuple(_methods(name, summaries, folder, maximum)),
    )  # fmt: skip


def _methods(
    name: str, summaries: Summaries, folder: Path, maximum: float
) -> Iterator[MethodPictures]:
    for method, summary in summaries.items():
        best, worst, std = (
            folder / f"{slug(method)}-{which}" for which in ("best.jpg", "worst.jpg", "std.png")
        )
        point = summary.points.get(name)
        if point is None or not best.exists():
            continue
        several = std.exists()
        yield MethodPictures(
            method,
            _jpeg_uri(best),
            _jpeg_uri(worst) if several and worst.exists() else None,
            _map_uri(std, maximum) if several else None,
            _caption(point),
        )


def _caption(point: Mapping[str, float]) -> str:
    return ", ".join(
        f"{label} {point[name]:.{digits}f}" for name, label, digits in CAPTIONED if name in point
    )


CAPTIONED = (("psnr", "PSNR", 2), ("lpips", "LPIPS", 3), ("l_std", "L-STD", 4))
"""Scores that stand under a picture: name, label, digits."""


def _jpeg_uri(path: Path) -> str:
    return _uri("jpeg", path.read_bytes())


def _map_uri(path: Path, maximum: float) -> str:
    """A kept map, coloured."""
    buffer = io.BytesIO()
    colored = Image.fromarray(to_uint8(heatmap(read_map(path), maximum)))
    colored.save(buffer, "JPEG", quality=JPEG_QUALITY)
    return _uri("jpeg", buffer.getvalue())


def _uri(kind: str, data: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
