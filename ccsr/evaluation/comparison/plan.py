"""What a comparison is asked for, checked before the work begins."""

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import torch

from ccsr.config import (
    PRESETS,
    VARIANTS,
    DegradationModel,
    EvaluationConfig,
    LoadingConfig,
    Variant,
    parse_seeds,
)
from ccsr.errors import InputError
from ccsr.evaluation.comparison.illustration import slug
from ccsr.evaluation.comparison.jobs import PICTURES
from ccsr.evaluation.comparison.methods import (
    Bicubic,
    Family,
    Method,
    RestoredFolder,
    our_methods,
    settings,
)
from ccsr.evaluation.comparison.other_methods import (
    NCNN_FILES,
    diffusers_pipeline,
    ncnn_network,
    spandrel_network,
)
from ccsr.evaluation.comparison.published import names_in
from ccsr.evaluation.comparison.scores import Scorer, make_scorer
from ccsr.evaluation.comparison.test_set import Dataset, Sample, size_of
from ccsr.evaluation.scoring_memory import tile_within
from ccsr.images.picture import Size
from ccsr.inference.device import choose_device
from ccsr.inference.engine import ModelEngine, load_engine
from ccsr.inference.weights import weights_hash
from ccsr.whole_file import nearest_folder

NO_MODEL = "none"
"""Compares the methods of others alone."""


RECORDED = {"convention", "degradation", "scale", "limit", "trajectories", "illustrations",
            "diffusers_steps"}  # fmt: skip
"""Settings that results depend on as they are given."""


@dataclass(frozen=True)
class Request:
    """What a person asks for."""

    hr: tuple[Path, ...]
    lr: Path | None
    output: Path
    restored: tuple[str, ...] = ()
    """Each NAME=DIR; so, too, are those below."""
    weights: tuple[str, ...] = ()
    diffusers: tuple[str, ...] = ()
    published: tuple[str, ...] = ()
    model: str = NO_MODEL
    loading: LoadingConfig = field(default_factory=LoadingConfig)
    config: EvaluationConfig = field(default_factory=EvaluationConfig)
    dry_run: bool = False


@dataclass(frozen=True)
class Plan:
    """A request that can be carried out."""

    request: Request
    test_sets: tuple[Dataset, ...]
    samples: tuple[Sample, ...]
    families: tuple[Family, ...]
    seeds: tuple[int, ...]
    scorer: Scorer
    published: dict[str, str]
    """Test set of the paper by that of ours."""
    engine: ModelEngine | None
    device: torch.device
    dtype: str

    @property
    def methods(self) -> list[Method]:
        """All methods in the order of the rows."""
        return [method for family in self.families for method in family]

    @property
    def keeps_pictures(self) -> bool:
        """Whether results stay on disk."""
        with_fid = any(column.name == "fid" for column in self.scorer.columns)
        return self.request.config.keep_pictures or with_fid

    def manifest_config(self) -> dict[str, Any]:
        """What the results depend on."""
        config = self.request.config
        return {
            "hr": [str(path.resolve()) for path in self.request.hr],
            "lr": self.request.lr and str(self.request.lr.resolve()),
            "pictures": len(self.samples),
            "methods": {method.name: method.source for method in self.methods},
            "seeds": list(self.seeds),
            "metrics": [column.name for column in self.scorer.columns],
            "number format": self.dtype,
            **config.model_dump(include=RECORDED),
            "keep_pictures": self.keeps_pictures,
        }

    def needed_bytes(self) -> int:
        """Most that the results take that are to be kept and are not there yet.

        Pictures whose size cannot be read count nothing.
        """
        if not self.keeps_pictures:
            return 0
        kept = sum(len(m.seeds(self.seeds)) for m in self.methods if m.runs_here)
        there = sum(1 for _ in (self.request.output / PICTURES).rglob("*.png"))
        missing = max(1 - there / max(kept * len(self.samples), 1), 0)
        sizes = (size_of(sample.hr_path) for sample in self.samples)
        pixels = sum(size.height * size.width for size in sizes if size is not None)
        return round(3 * kept * pixels * missing)


def make_plan(request: Request) -> Plan:
    """Check a request and load what it needs.

    Raises:
        InputError: If it cannot be carried out; the message says why and what to do.
        OSError: If a folder cannot be read, or the disk has no room for the results.
    """
    config = request.config
    seeds = parse_seeds(config.seeds)
    test_sets = tuple(_test_sets(request))
    samples = tuple(sample for test_set in test_sets for sample in test_set.check())
    published = _published(request.published, test_sets)
    device = choose_device(request.loading.device)
    metrics = names(config.metrics, "metrics")
    tile = _scoring_tile(metrics, samples, request.loading.max_memory)
    scorer = make_scorer(metrics, config.convention, device, tile)
    if config.limit is not None and any(column.name == "fid" for column in scorer.columns):
        raise InputError("fid compares whole folders; leave --limit or fid out")
    engine, ours = _ours(request)
    families: list[Family] = [(method,) for method in _others(request, samples, device)]
    families += [ours] if ours else []
    plan = Plan(
        request, test_sets, samples, tuple(families), seeds, scorer, published, engine, device,
        engine.info.dtype if engine else "float32",
    )  # fmt: skip
    _check_names(plan)
    _check_room(plan)
    return plan


def _scoring_tile(
    metrics: Sequence[str], samples: Sequence[Sample], max_memory: float | None
) -> int:
    """The tiles by which the largest picture is scored within the memory; see `tile_within`."""
    sizes = [size for sample in samples if (size := size_of(sample.hr_path)) is not None]
    largest = max(sizes, key=lambda size: size.height * size.width, default=Size(1, 1))
    return tile_within(metrics, largest, max_memory)


def names(text: str, what: str) -> list[str]:
    """A list with commas between.

    Raises:
        InputError: If it is empty.
    """
    found = [part.strip() for part in text.split(",") if part.strip()]
    if not found:
        raise InputError(f"{what} is empty; give at least one, with commas between")
    return list(dict.fromkeys(found))


def _chosen(text: str, what: str, allowed: Sequence[str]) -> list[str]:
    for name in (found := names(text, what)):
        if name not in allowed:
            raise InputError(f"{what} must be of {', '.join(allowed)}, got {name!r}")
    return found


def _test_sets(request: Request) -> Iterator[Dataset]:
    config = request.config
    if request.lr is not None:
        hr, *others = request.hr
        if others:
            raise InputError("--lr belongs to one folder of HR; give one, or leave --lr out")
        if not request.lr.is_dir():
            raise InputError(f"there is no folder {request.lr}; check the name")
        yield Dataset(_name(hr), hr, request.lr, config.scale, config.limit)
        return
    models: Any = _chosen(config.degradation, "degradation", get_args(DegradationModel))
    for folder in request.hr:
        for model in models:
            name = f"{_name(folder)} {model}"
            yield Dataset(name, folder, model, config.scale, config.limit)


def _name(folder: Path) -> str:
    """A folder called "hr" is named after the one that it is in."""
    folder = folder.resolve()
    return folder.parent.name if folder.name.lower() == "hr" else folder.name


def _published(texts: Sequence[str], test_sets: Sequence[Dataset]) -> dict[str, str]:
    known = [*names_in(1), *names_in(3)]
    found: dict[str, str] = {}
    for text in texts:
        ours, _, theirs = text.rpartition("=")
        if theirs not in known:
            raise InputError(f"the paper publishes {', '.join(known)}, got {theirs!r}")
        if ours and ours not in [test_set.name for test_set in test_sets]:
            listed = ", ".join(test_set.name for test_set in test_sets)
            raise InputError(f"{ours!r} is no test set here; there are {listed}")
        found |= {test_set.name: theirs for test_set in test_sets if ours in ("", test_set.name)}
    return found


def _ours(request: Request) -> tuple[ModelEngine | None, list[Method]]:
    if request.model == NO_MODEL:
        return None, []
    config = request.config
    variants: list[Any] = _chosen(config.variant, "variant", VARIANTS)
    first: Variant = variants[0]
    presets: list[Any] = _chosen(config.preset, "preset", tuple(PRESETS))
    engine = load_engine(request.model, request.loading, first)
    base = engine.info.defaults.replace(scale=float(config.scale))
    chosen = settings(variants, presets, base)
    digest = weights_hash(engine.folder)[:16]
    return engine, our_methods(engine, chosen, f"{engine.info.name} {digest}")


def _others(request: Request, samples: Sequence[Sample], device: torch.device) -> Iterator[Method]:
    """The methods of others: baselines, restored folders, weights, pipelines."""
    config = request.config
    baselines = _chosen(config.baselines, "baselines", ("none", "bicubic", *NCNN_FILES))
    for name in baselines:
        if name == "bicubic":
            yield Bicubic(config.scale)
        elif name != "none":
            yield ncnn_network(name, config.scale)
    if request.restored and len({sample.test_set for sample in samples}) > 1:
        raise InputError(
            "--restored is for one test set; give one folder of HR and one degradation"
        )
    for name, folder in _pairs("--restored", "DIR", request.restored):
        method = RestoredFolder(name, Path(folder))
        method.check(samples)
        yield method
    for name, file in _pairs("--weights", "FILE", request.weights):
        yield spandrel_network(
            name, Path(file), config.scale, device, tiling=request.loading.tiling
        )
    for name, model in _pairs("--diffusers", "MODEL", request.diffusers):
        yield diffusers_pipeline(name, model, config.scale, device, config.diffusers_steps)


def _pairs(flag: str, what: str, texts: Sequence[str]) -> Iterator[tuple[str, str]]:
    for text in texts:
        name, equals, value = text.partition("=")
        if not (name and equals and value):
            raise InputError(f"{flag} must look like NAME={what}, got {text!r}")
        yield name, value


def _check_names(plan: Plan) -> None:
    """Names become parts of file names, which some systems compare without their case."""
    _refuse_repeated("methods", [method.name for method in plan.methods])
    _refuse_repeated("test sets", [test_set.name for test_set in plan.test_sets])
    if not plan.methods:
        raise InputError("there is no method; give a model, a baseline or results of others")


def _refuse_repeated(what: str, found: Sequence[str]) -> None:
    seen: dict[str, str] = {}
    for name in found:
        key = slug(name).lower()
        if key in seen:
            raise InputError(f"two {what} are called {seen[key]} and {name}; rename one")
        seen[key] = name


def _check_room(plan: Plan) -> None:
    folder = nearest_folder(plan.request.output)
    free, needed = shutil.disk_usage(folder).free, plan.needed_bytes()
    if needed > free:
        raise OSError(
            f"the results may take {needed / 1e6:,.1f} MB, and {folder} has {free / 1e6:,.1f} MB "
            "free; leave --keep-pictures and fid out, or give another folder"
        )
