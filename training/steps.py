"""The steps of a recipe, each from the files of the one before: a run folder grows to a model.

autoencoder -> pairs -> uniform -> stage1 -> rollouts -> stage2 -> export
"""

import json
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import AutoencoderDC, ConfigMixin
from diffusers.utils import CONFIG_NAME
from safetensors.torch import load_file
from torch import nn

from ccsr.inference.engine import cpu_computes_in_bfloat16
from ccsr.inference.pipeline import CCSRPipeline
from ccsr.models.fusion import fuse_norms
from training.autoencoder import AutoencoderObjective
from training.config import PairsConfig, Recipe
from training.data import Crops, Pairs, PictureFolder
from training.degradation import mixture
from training.fingerprint import Record, claim, record_of
from training.latent_cache import Compute, encoded_pairs, roll_outs, store_name, write_store
from training.loop import Objective, TrainStep, train
from training.network import Denoiser, build_denoiser, build_scheduler
from training.perceptual import find
from training.stage1 import stage1_objective, uniform_objective
from training.stage2 import DecoderObjective

STEPS = ("autoencoder", "pairs", "uniform", "stage1", "rollouts", "stage2", "export")


def check(recipe: Recipe, steps: Collection[str]) -> None:
    """See that what steps need is installed, before the first of them takes hours.

    Raises:
        FileNotFoundError: If something is missing.
    """
    if "stage1" in steps and recipe.stage1.perceptual_weight > 0:
        find(recipe.stage1.perceptual)
    if "stage2" in steps:
        find(recipe.stage2.perceptual)
        if recipe.stage2.discriminator == "features":
            find("vgg")


@dataclass(frozen=True)
class Run:
    """Where a recipe reads pictures and keeps what it makes."""

    recipe: Recipe
    pictures: Path
    folder: Path
    origin: Path | None = None
    """A model folder whose weights the networks start from, wherever shapes agree."""

    def exported(self, step: str) -> Path:
        """Where a training step leaves its networks.

        Raises:
            FileNotFoundError: If the step is not done yet.
        """
        folder = self.folder / step / "export"
        if not folder.exists():
            raise FileNotFoundError(f"{folder} is not there; run the step {step!r} first")
        return folder

    def autoencoder(self, step: str = "autoencoder") -> AutoencoderDC:
        """The autoencoder, as pre-trained or after "stage2"."""
        vae = AutoencoderDC.from_pretrained(self.exported(step))
        fuse_norms(vae)
        return vae

    def warm_start(
        self, network: nn.Module, part: str, variant: str | None = None, prefix: str = ""
    ) -> None:
        """Give `network` the weights of that part of `origin`, if there is one.

        Args:
            network: What is to be trained.
            part: Folder in `origin`.
            variant: File variant of the weights there.
            prefix: How the names of the weights begin that are taken; the others stay.
        """
        if self.origin is not None:
            name = ".".join(filter(None, ("diffusion_pytorch_model", variant, "safetensors")))
            weights = load_file(self.origin / part / name)
            adopt(network, {k: w for k, w in weights.items() if k.startswith(prefix)})

    def store(self, name: str, config: PairsConfig) -> Path:
        """Folder of a store."""
        return self.folder / f"{name}-{store_name(config)}"


@dataclass(frozen=True)
class Stored:
    """Some examples are stored."""

    done: int
    total: int


def run_step(run: Run, step: str, output: Path) -> Iterator[TrainStep | Stored]:
    """Do one step, telling of its progress; a step that was stopped goes on where it was.

    Args:
        run: Recipe and folders.
        step: One of STEPS.
        output: Where "export" puts the model.

    Raises:
        ValueError: If the run folder holds what another recipe made.
        FileNotFoundError: If an earlier step is not done.
    """
    if step in OBJECTIVES:
        folder = run.folder / step
        made_with = record(run, step)
        objective = OBJECTIVES[step](run)
        # Last: a recipe that will not do claims nothing, and can be corrected.
        claim(folder, made_with)
        yield from train(objective, getattr(run.recipe, step).loop, folder)
        objective.export(folder / "export")
    elif step == "pairs":
        for config in {run.recipe.uniform.pairs, run.recipe.stage1.pairs}:
            yield from _store(run, step, config, encoded_pairs(run.autoencoder()))
    elif step == "rollouts":
        denoiser = Denoiser.load(run.exported("stage1")).requires_grad_(False)
        scheduler = build_scheduler(run.recipe.network)
        compute = roll_outs(run.autoencoder(), denoiser, scheduler, run.recipe.stage2)
        yield from _store(run, step, run.recipe.stage2.rollouts, compute)
    elif step == "export":
        export(run, output)
    else:
        raise ValueError(f"step must be one of {', '.join(STEPS)}, got {step!r}")


def _autoencoder(run: Run) -> Objective:
    config = run.recipe.autoencoder
    objective = AutoencoderObjective(config, run.recipe.data, run.pictures)
    run.warm_start(objective.autoencoder, "vae", "v2")
    if config.trained == "decoder":
        _keep_latents(objective.autoencoder, run.origin)
    return objective


def _keep_latents(autoencoder: AutoencoderDC, origin: Path | None) -> None:
    """See that the encoder is that of `origin`, and scale its latents as there."""
    if origin is None:
        raise ValueError(
            'autoencoder: trained = "decoder" keeps the encoder of a model: give --init'
        )
    kept = json.loads((origin / "vae" / CONFIG_NAME).read_text())
    for key, value in autoencoder.config.items():
        there = kept.get(key)
        if key.startswith(("encoder", "latent")) and json.dumps(value) != json.dumps(there):
            raise ValueError(
                f'autoencoder: trained = "decoder" keeps the encoder of {origin}, and {key} is '
                f"{there} there, {value} in the recipe"
            )
    autoencoder.register_to_config(scaling_factor=kept["scaling_factor"])


def _uniform(run: Run) -> Objective:
    recipe = run.recipe
    denoiser = build_denoiser(recipe.network, recipe.autoencoder.latent_channels)
    run.warm_start(denoiser.unet, "unet")
    run.warm_start(denoiser.controlnet, "controlnet")
    pairs = run.store("pairs", recipe.uniform.pairs)
    return uniform_objective(denoiser, build_scheduler(recipe.network), recipe.uniform, pairs)


def _stage1(run: Run) -> Objective:
    recipe = run.recipe
    denoiser = Denoiser.load(run.exported("uniform"))
    scheduler = build_scheduler(recipe.network)
    pairs = run.store("pairs", recipe.stage1.pairs)
    return stage1_objective(denoiser, scheduler, run.autoencoder(), recipe.stage1, pairs)


def _stage2(run: Run) -> Objective:
    vae = run.autoencoder()
    run.warm_start(vae, "vae", prefix="decoder.")
    return DecoderObjective(
        vae, run.recipe.stage2, run.store("rollouts", run.recipe.stage2.rollouts)
    )


OBJECTIVES: dict[str, Callable[[Run], Objective]] = {
    "autoencoder": _autoencoder,
    "uniform": _uniform,
    "stage1": _stage1,
    "stage2": _stage2,
}

SOURCES = {
    "autoencoder": (),
    "pairs": ("autoencoder",),
    "uniform": ("autoencoder",),
    "stage1": ("autoencoder", "uniform"),
    "rollouts": ("autoencoder", "stage1"),
    "stage2": ("autoencoder", "stage1"),
}
"""The steps whose networks a step uses."""


def record(run: Run, step: str, pairs: PairsConfig | None = None) -> Record:
    """What a step's folder is made with.

    Args:
        run: Recipe and folders.
        step: Any but "export".
        pairs: Of a step that makes a store.
    """
    recipe, stage2 = run.recipe, run.recipe.stage2
    walk = {"num_steps": stage2.num_steps, "t_max": stage2.t_max, "t_min": stage2.t_min}
    sections = {
        "autoencoder": {"data": recipe.data, "autoencoder": recipe.autoencoder},
        "pairs": {"data": recipe.data, "pairs": pairs},
        "uniform": {"network": recipe.network, "uniform": recipe.uniform},
        "stage1": {"network": recipe.network, "stage1": recipe.stage1},
        "rollouts": {"data": recipe.data, "rollouts": pairs, "stage2": walk},
        "stage2": {"stage2": stage2},
    }[step]
    sources = {source: run.exported(source) for source in SOURCES[step]}
    if step == "autoencoder" and recipe.autoencoder.trained == "decoder" and run.origin is not None:
        sources["the model whose encoder is kept"] = run.origin / "vae"
    return record_of(sections, sources)


def adopt(network: nn.Module, weights: dict[str, torch.Tensor]) -> int:
    """Copy those weights that `network` has under the same name and shape; how many they are."""
    own = network.state_dict()
    fitting = {k: w for k, w in weights.items() if k in own and own[k].shape == w.shape}
    network.load_state_dict(fitting, strict=False)
    return len(fitting)


def export(run: Run, output: Path) -> None:
    """Write all variants as one diffusers folder, in float16.

    V1's networks and the decoder as pre-trained lie beside the others as file variants.

    Raises:
        FileExistsError: If there is a model already.
    """
    if (output / "model_index.json").exists():
        raise FileExistsError(f"{output} holds a model; move it away first")
    scheduler = build_scheduler(run.recipe.network)
    uniform, stage1 = (Denoiser.load(run.exported(step)) for step in ("uniform", "stage1"))
    pretrained, finetuned = run.autoencoder(), run.autoencoder("stage2")
    networks = [uniform.unet, uniform.controlnet, stage1.unet, stage1.controlnet]
    for part in (*networks, pretrained, finetuned):
        _forget_origin(part)
    pipeline = CCSRPipeline(
        unet=stage1.unet,
        controlnet=stage1.controlnet,
        vae=finetuned,
        scheduler=scheduler,
    )
    pipeline.to(dtype=torch.float16).save_pretrained(output)
    uniform.unet.half().save_pretrained(output / "unet", variant="v1")
    uniform.controlnet.half().save_pretrained(output / "controlnet", variant="v1")
    pretrained.half().save_pretrained(output / "vae", variant="v2")


def _forget_origin(part: ConfigMixin) -> None:
    """Keep the path that a network was read from out of the files that are given away."""
    part.register_to_config(_name_or_path="")


def _store(run: Run, name: str, config: PairsConfig, compute: Compute) -> Iterator[Stored]:
    data = run.recipe.data
    crops = Crops(PictureFolder(run.pictures), config.crop_px, data, config.seed, config.count)
    pairs = Pairs(crops, mixture(data.scale, data.bicubic_share))
    # Stores are computed on the CPU, whatever there is besides.
    dtype = torch.bfloat16 if cpu_computes_in_bfloat16() else torch.float32
    folder = run.store(name, config)
    claim(folder, record(run, name, config))
    for done in write_store(folder, pairs, config.count, compute, dtype):
        yield Stored(done, config.count)
