"""The steps of a recipe: autoencoder, pairs, uniform, stage1, rollouts, stage2, export.

Each step reads the files of earlier ones from the run folder and writes its own there.
"""

import json
import shutil
from collections.abc import Callable, Collection, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from diffusers.utils import CONFIG_NAME
from torch import nn

from ccsr.config import Variant
from ccsr.degradation.models import mixture
from ccsr.diffusion.timesteps import non_uniform_plan, uniform_plan
from ccsr.errors import InputError
from ccsr.inference.hub import json_object
from ccsr.models.compact_autoencoder import CompactAutoencoder
from ccsr.option import Config
from ccsr.whole_file import whole_folder, write_whole
from training.autoencoder import AutoencoderObjective, stage2_autoencoder
from training.checkpoints import checkpoints, chosen_checkpoint, kept_at_the_end
from training.config import LoopConfig, PairsConfig, Recipe
from training.data import Crops, Pairs, Pictures
from training.export import export
from training.fingerprint import (
    Fingerprint,
    ensure_fingerprint,
    fingerprint_of,
    read_fingerprint,
)
from training.latent_cache import Compute, encoded_pairs, roll_outs, write_latent_cache
from training.loop import Objective, TrainStep, take_checkpoint, train
from training.origin import Origin
from training.perceptual import require_weights
from training.processes import is_sharded, join_processes, own_device
from training.run import EXPORTED_FILE, Run
from training.sources import digest_of
from training.stage1 import (
    DenoiserObjective,
    official_stage1_losses,
    stage1_losses,
    uniform_losses,
)
from training.stage2 import DecoderObjective, build_discriminator
from training.validation import (
    Validation,
    best_step,
    held_out_pairs,
    reconstruction,
    super_resolution,
)

TableConfig = TypeVar("TableConfig", bound=Config)
N = TypeVar("N", bound=nn.Module)

STEPS = ("autoencoder", "pairs", "uniform", "stage1", "rollouts", "stage2", "export")


def steps_of(recipe: Recipe) -> tuple[str, ...]:
    """The steps that a recipe has tables for, in their order."""
    pairs = recipe.uniform is not None or recipe.stage1 is not None
    present = {
        "autoencoder": recipe.autoencoder is not None,
        "pairs": pairs,
        "uniform": recipe.uniform is not None,
        "stage1": recipe.stage1 is not None,
        "rollouts": recipe.stage2 is not None,
        "stage2": recipe.stage2 is not None,
        "export": pairs or recipe.stage2 is not None,
    }
    return tuple(step for step in STEPS if present[step])


def require_steps(recipe: Recipe, steps: Collection[str]) -> None:
    """Check that a recipe has the tables of steps, and that the packages they need are installed.

    Raises:
        InputError: If a table is missing.
        FileNotFoundError: If a package is.
    """
    known = steps_of(recipe)
    for step in steps:
        if step not in known:
            raise InputError(f"the recipe has no step {step!r}; its steps are {', '.join(known)}")
    if "stage1" in steps and recipe.stage1 and recipe.stage1.perceptual_weight > 0:
        require_weights(recipe.stage1.perceptual)
    if "stage2" in steps and recipe.stage2:
        require_weights(recipe.stage2.perceptual)
        if recipe.stage2.discriminator == "features":
            require_weights("vgg")


def require_checkpoints(
    recipe: Recipe, steps: Collection[str], folder: Path, choice: str, *, held_out: bool
) -> None:
    """Check that all training steps among `steps` can export the checkpoint `choice`.

    Args:
        recipe: What is trained.
        steps: Some of STEPS.
        folder: Of the run; need not exist.
        choice: As of `chosen_checkpoint`.
        held_out: Whether there are pictures to score networks on.

    Raises:
        InputError: If one cannot: none of that step is written, or it is not kept.
    """
    every = recipe.validation.every if held_out else None
    for step in (step for step in steps if step in OBJECTIVES):
        kept = kept_at_the_end(checkpoints(folder / step), getattr(recipe, step).loop, every)
        if choice not in ("best", "last") and not (choice.isdecimal() and int(choice) in kept):
            raise InputError(
                f"there is no checkpoint {choice!r} of {step} after its training, which keeps "
                f"those of its steps {', '.join(map(str, sorted(kept)))}; give one of them, best "
                "or last"
            )


@dataclass(frozen=True)
class CacheProgress:
    """Examples in the latent cache: `done` of `total`."""

    done: int
    total: int


@dataclass(frozen=True)
class Notice:
    """A sentence for whoever started the run."""

    text: str


Event = TrainStep | CacheProgress | Notice


def run_step(run: Run, step: str, output: Path) -> Generator[Event]:
    """Run one step, yielding its progress; a stopped step continues where it was.

    Args:
        run: Recipe and folders.
        step: One of STEPS.
        output: Folder that "export" writes the model to.

    Raises:
        InputError: If the step is unknown, or its folder has another fingerprint.
        FileNotFoundError: If an earlier step is not finished.
    """
    if step in OBJECTIVES:
        yield from _train_step(run, step)
    elif step == "pairs":
        stages = (run.recipe.uniform, run.recipe.stage1)
        compute = compute_of(run, step)
        for config in dict.fromkeys(stage.pairs for stage in stages if stage is not None):
            yield from _write_cache(run, step, config, compute)
    elif step == "rollouts":
        config = _required(run.recipe.stage2).rollouts
        yield from _write_cache(run, step, config, compute_of(run, step))
    elif step == "export":
        if join_processes().is_main_process:
            export(run, output)
            taken = ((name, run.exported_step(name)) for name in OBJECTIVES)
            made = [f"{name} of step {number}" for name, number in taken if number is not None]
            yield Notice(f"export: {output} has {', '.join(made) or 'the networks of --init'}")
    else:
        raise InputError(f"step must be one of {', '.join(STEPS)}, got {step!r}")


def _train_step(run: Run, step: str) -> Iterator[Event]:
    """Train and export the networks of a step, unless all that is done."""
    folder = run.folder / step
    loop: LoopConfig = getattr(run.recipe, step).loop
    fingerprint = step_fingerprint(run, step)
    # Untrained networks, too, are those of the recipe's seed.
    torch.manual_seed(loop.seed)
    objective = OBJECTIVES[step](run)
    # After the objective, whose constructor rejects bad recipes: none leaves a fingerprint.
    before = read_fingerprint(folder).get(f"{step}.loop", {}).get("max_steps", loop.max_steps)
    with join_processes().main_process_first():
        ensure_fingerprint(folder, fingerprint)
    if before < loop.max_steps:
        yield Notice(
            f"{step}: {before} steps were asked for before, {loop.max_steps} are now; learning "
            "rates go on as those of the longer run"
        )
    steps = 0
    for done in train(objective, loop, folder, run.machine, validation_of(run, step, objective)):
        steps += 1
        yield done
    # The first process may still be writing the last checkpoint.
    join_processes().wait_for_everyone()
    chosen, why = chosen_checkpoint(run.checkpoint, checkpoints(folder), best_step(folder))
    yield Notice(f"{step}: the networks of step {chosen}, {why}, are exported")
    if join_processes().is_main_process and (steps or chosen != run.exported_step(step)):
        if is_sharded():
            # Of weights that are split this process has a part.
            objective = OBJECTIVES[step](run)
        take_checkpoint(objective, folder, chosen)
        with _replaced(folder / "export") as networks:
            objective.export(networks)
        if step in VARIANT_OF:
            shutil.rmtree(folder / "model", ignore_errors=True)
            export(run, folder / "model", VARIANT_OF[step])
        # Last: without it all that is done once more.
        write_whole(folder / EXPORTED_FILE, json.dumps({"step": chosen}), overwrite=True)
    join_processes().wait_for_everyone()


def validation_of(run: Run, step: str, objective: Objective) -> Validation | None:
    """The validation of a training step; None without held-out pictures."""
    if not run.held_out:
        return None
    config, scheduler = run.recipe.validation, run.scheduler()
    plan = non_uniform_plan(config.num_steps, config.t_max, config.t_min, scheduler.loop_start)
    if isinstance(objective, AutoencoderObjective):
        restore = reconstruction(objective.autoencoder)
    elif isinstance(objective, DenoiserObjective):
        if step == "uniform":
            plan = uniform_plan(plan.num_evaluations)
        vae = _frozen(run.autoencoder())
        restore = super_resolution(objective.denoiser, vae, scheduler, plan)
    else:
        assert isinstance(objective, DecoderObjective)
        denoiser = _frozen(run.denoiser("stage1"))
        restore = super_resolution(denoiser, objective.vae, scheduler, plan)
    pairs = held_out_pairs(run.held_out, config, run.recipe.data)
    return Validation(config, pairs, restore, run.folder / step)


@contextmanager
def _replaced(folder: Path) -> Generator[Path]:
    """A folder to fill in place of what an earlier run of the step has left there."""
    shutil.rmtree(folder, ignore_errors=True)
    with whole_folder(folder) as part:
        yield part


def _required(table: TableConfig | None) -> TableConfig:
    """A table of the recipe that the steps of the run need; `require_steps` has checked it."""
    assert table is not None
    return table


def _frozen(network: N) -> N:
    """The network on the device of training, without gradients."""
    nn.Module.to(network, own_device())
    network.requires_grad_(False)
    return network


def _autoencoder(run: Run) -> Objective:
    config = _required(run.recipe.autoencoder)
    objective = AutoencoderObjective(config, run.recipe.data, run.sources)
    run.warm_start(objective.autoencoder, "vae", "v2")
    if config.trained == "decoder":
        _require_encoder_of(objective.autoencoder, run.origin)
    return objective


def _require_encoder_of(autoencoder: CompactAutoencoder, origin: Origin | None) -> None:
    """Check that the encoder has the config of `origin`, and set that model's scaling factor."""
    if origin is None:
        raise InputError(
            'autoencoder: trained = "decoder" keeps the encoder of a model: give --init'
        )
    kept = json_object(origin.folder / "vae" / CONFIG_NAME)
    for key, value in autoencoder.config.items():
        there = kept.get(key)
        if key.startswith(("encoder", "latent")) and json.dumps(value) != json.dumps(there):
            raise InputError(
                f'autoencoder: trained = "decoder" keeps the encoder of {origin.folder}, and '
                f"{key} is {there} there, {value} in the recipe"
            )
    autoencoder.register_to_config(scaling_factor=kept.get("scaling_factor", 1.0))


def _uniform(run: Run) -> Objective:
    config = _required(run.recipe.uniform)
    denoiser = run.first_denoiser()
    losses = uniform_losses(denoiser, run.scheduler(), config)
    return DenoiserObjective(denoiser, losses, config, run.cache("pairs", config.pairs))


def _stage1(run: Run) -> Objective:
    config, scheduler = _required(run.recipe.stage1), run.scheduler()
    denoiser = run.denoiser("uniform") if run.recipe.uniform else run.first_denoiser()
    if run.recipe.implementation == "official":
        losses = official_stage1_losses(denoiser, scheduler, config)
    else:
        losses = stage1_losses(denoiser, scheduler, run.autoencoder(), config)
    return DenoiserObjective(denoiser, losses, config, run.cache("pairs", config.pairs))


def _stage2(run: Run) -> Objective:
    config = _required(run.recipe.stage2)
    vae = run.autoencoder()
    if isinstance(vae, CompactAutoencoder):
        vae = stage2_autoencoder(vae, config.lr_blocks, config.decoder_padding_mode)
        run.warm_start(vae, "vae", prefix="decoder.")
    elif config.lr_blocks > 0:
        raise InputError(
            f"stage2.lr_blocks must be 0 for a decoder of {type(vae).__name__}, got "
            f"{config.lr_blocks}: only that of a CompactAutoencoder can read the LR picture"
        )
    elif config.decoder_padding_mode is not None:
        raise InputError(
            f"stage2.decoder_padding_mode must be left out for a decoder of {type(vae).__name__}, "
            f"got {config.decoder_padding_mode!r}: only a CompactAutoencoder has a choice"
        )
    norm = "batch" if run.recipe.implementation == "official" else "spectral"
    discriminator = build_discriminator(config, norm)
    return DecoderObjective(vae, discriminator, config, run.cache("rollouts", config.rollouts))


OBJECTIVES: dict[str, Callable[[Run], Objective]] = {
    "autoencoder": _autoencoder,
    "uniform": _uniform,
    "stage1": _stage1,
    "stage2": _stage2,
}

VARIANT_OF: dict[str, Variant] = {"uniform": "v1", "stage1": "v2", "stage2": "ccsr"}
"""Training step -> the variant that is complete after it."""


def sources_of(run: Run, step: str) -> dict[str, Path]:
    """Folders of the networks that a step uses, by the step that made them."""
    earlier = {
        "autoencoder": (),
        "pairs": ("autoencoder",),
        "uniform": ("autoencoder",),
        "stage1": ("autoencoder", "uniform") if run.recipe.uniform else ("autoencoder",),
        "rollouts": ("autoencoder", "stage1"),
        "stage2": ("autoencoder", "stage1"),
    }[step]
    sources = {source: run.exported(source) for source in earlier}
    recipe, origin = run.recipe, run.origin
    if origin is not None:
        if step == "autoencoder" and recipe.autoencoder and recipe.autoencoder.trained == "decoder":
            sources["the model whose encoder is kept"] = origin.folder / "vae"
        if recipe.network is None and step in ("uniform", "stage1") and "uniform" not in sources:
            sources["the model that is started from"] = origin.folder
    return sources


STARTED_FROM = {
    "autoencoder": ("vae",),
    "uniform": ("unet", "controlnet"),
    "stage1": ("unet", "controlnet"),
    "stage2": ("vae",),
}
"""Training step -> the networks of the origin that its own may start from."""


def started_from(run: Run, step: str) -> str | None:
    """Hash of the weights that the networks of a step start from; None if they are new ones."""
    if run.origin is None or (step == "stage1" and run.recipe.uniform):
        return None
    variant = "v2" if step == "autoencoder" else "ccsr"
    return run.origin.hash_of(STARTED_FROM[step], variant)


def step_fingerprint(run: Run, step: str, pairs: PairsConfig | None = None) -> Fingerprint:
    """Fingerprint of a step's folder.

    Args:
        run: Recipe and folders.
        step: Any but "export".
        pairs: The pairs of "pairs" or "rollouts".
    """
    recipe, stage2 = run.recipe, run.recipe.stage2
    sections: dict[str, dict[str, Config | Mapping[str, object] | None]] = {
        "autoencoder": {"data": recipe.data, "autoencoder": recipe.autoencoder},
        "pairs": {"data": recipe.data, "pairs": pairs},
        "uniform": {"network": recipe.network, "uniform": recipe.uniform},
        "stage1": {"network": recipe.network, "stage1": recipe.stage1},
        "rollouts": {"data": recipe.data, "rollouts": pairs},
        "stage2": {"stage2": stage2},
    }
    if stage2 is not None:
        sections["rollouts"]["stage2"] = {
            "num_steps": stage2.num_steps, "t_max": stage2.t_max, "t_min": stage2.t_min
        }  # fmt: skip
    if recipe.implementation != "paper":
        for name in ("stage1", "rollouts", "stage2"):
            sections[name]["recipe"] = {"implementation": recipe.implementation}
    if step in ("autoencoder", "pairs", "rollouts"):
        sections[step]["pictures"] = digest_of(run.sources)
    if step in STARTED_FROM:
        sections[step]["started from"] = {"weights": started_from(run, step)}
    present = {name: table for name, table in sections[step].items() if table is not None}
    return fingerprint_of(present, sources_of(run, step))


def compute_of(run: Run, step: str) -> Compute:
    """What the latent cache of the step "pairs" or "rollouts" holds of its examples."""
    vae = _frozen(run.autoencoder())
    if step == "pairs":
        return encoded_pairs(vae)
    official = run.recipe.implementation == "official"
    denoiser, stage2 = _frozen(run.denoiser("stage1")), _required(run.recipe.stage2)
    return roll_outs(vae, denoiser, run.scheduler(), stage2, official=official)


def pairs_of(run: Run, config: PairsConfig) -> Pairs:
    """The examples that a latent cache is made of."""
    data = run.recipe.data
    crops = Crops(
        Pictures(run.sources, config.crop_px, data.scale),
        config.crop_px,
        data,
        config.seed,
        config.count,
    )
    return Pairs(crops, mixture(data.degradations.by_name(), data.scale))


def _write_cache(
    run: Run, step: str, config: PairsConfig, compute: Compute
) -> Iterator[CacheProgress]:
    """Write the latent cache of the step "pairs" or "rollouts"."""
    pairs, folder = pairs_of(run, config), run.cache(step, config)
    with join_processes().main_process_first():
        ensure_fingerprint(folder, step_fingerprint(run, step, config))
    workers = run.machine.num_workers
    for done in write_latent_cache(folder, pairs, config.count, compute, workers):
        yield CacheProgress(done, config.count)
