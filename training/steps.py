"""The steps of a recipe: autoencoder, pairs, uniform, stage1, rollouts, stage2, export.

Each step reads the files of earlier ones from the run folder and writes its own there.
"""

import json
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import ConfigMixin
from diffusers.utils import CONFIG_NAME
from safetensors.torch import load_file
from torch import nn

from ccsr.config import Variant
from ccsr.degradation.chains import mixture
from ccsr.inference.device import choose_dtype
from ccsr.inference.hub import component_of
from ccsr.inference.pipeline import CCSRPipeline
from ccsr.models.compact_autoencoder import CompactAutoencoder
from ccsr.models.fusion import fuse_rms_norms
from training.autoencoder import AutoencoderObjective, with_lr_branch
from training.config import PairsConfig, Recipe
from training.data import Crops, Pairs, PictureFolder
from training.fingerprint import Fingerprint, ensure_fingerprint, fingerprint_of
from training.latent_cache import (
    Compute,
    cache_name,
    encoded_pairs,
    roll_outs,
    write_latent_cache,
)
from training.loop import Objective, TrainStep, train
from training.network import build_denoiser, build_scheduler, load_denoiser
from training.perceptual import require_weights
from training.stage1 import stage1_objective, uniform_objective
from training.stage2 import DecoderObjective

NETWORKS_OF = {"autoencoder": "v2/vae", "uniform": "v1", "stage1": "", "stage2": "vae"}
"""Training step -> where a model folder holds the networks that it exports."""

STEPS = ("autoencoder", "pairs", "uniform", "stage1", "rollouts", "stage2", "export")


def require_installed(recipe: Recipe, steps: Collection[str]) -> None:
    """Check, before the first step starts, that the packages of all steps are installed.

    Raises:
        FileNotFoundError: If a package is missing.
    """
    if "stage1" in steps and recipe.stage1.perceptual_weight > 0:
        require_weights(recipe.stage1.perceptual)
    if "stage2" in steps:
        require_weights(recipe.stage2.perceptual)
        if recipe.stage2.discriminator == "features":
            require_weights("vgg")


@dataclass(frozen=True)
class Run:
    """A recipe and its folders."""

    recipe: Recipe
    pictures: Path
    folder: Path
    origin: Path | None = None
    """Model folder whose weights initialise the networks, wherever names and shapes agree. It also
    stands for the steps that are not run."""

    def exported(self, step: str) -> Path:
        """Folder of the networks that a training step exported, or of the same ones of `origin`.

        Raises:
            FileNotFoundError: If the step is not finished, and there is no other model.
        """
        folder = self.folder / step / "export"
        if folder.exists():
            return folder
        if self.origin is None:
            raise FileNotFoundError(
                f"{folder} does not exist; run the step {step!r} first, or give a model that has "
                "its networks by --init"
            )
        return self.origin / NETWORKS_OF[step]

    def autoencoder(self, step: str = "autoencoder") -> CompactAutoencoder:
        """The autoencoder as exported by "autoencoder" or "stage2", with fused norms.

        Raises:
            ValueError: If it is of another class.
        """
        folder = self.exported(step)
        kind = json.loads((folder / CONFIG_NAME).read_text())["_class_name"]
        if kind != CompactAutoencoder.__name__:
            raise ValueError(
                f"{folder} holds an {kind}, not a {CompactAutoencoder.__name__}, which is what "
                "this recipe trains; run the step 'autoencoder' first"
            )
        vae = CompactAutoencoder.from_pretrained(folder)
        fuse_rms_norms(vae)
        return vae

    def warm_start(
        self, network: nn.Module, part: str, variant: Variant = "ccsr", prefix: str = ""
    ) -> None:
        """Initialise `network` with weights of `origin`, if there is one.

        Args:
            network: The network to train.
            part: Subfolder of `origin`.
            variant: The variant whose weights are taken.
            prefix: Only weights whose names begin so are copied.
        """
        if self.origin is not None:
            (file,) = component_of(self.origin, variant, part).weights()
            weights = load_file(file)
            copy_matching(network, {k: w for k, w in weights.items() if k.startswith(prefix)})

    def cache(self, name: str, config: PairsConfig) -> Path:
        """Folder of the latent cache of the step "pairs" or "rollouts"."""
        return self.folder / f"{name}-{cache_name(config)}"


@dataclass(frozen=True)
class CacheProgress:
    """Examples in the latent cache: `done` of `total`."""

    done: int
    total: int


def run_step(run: Run, step: str, output: Path) -> Iterator[TrainStep | CacheProgress]:
    """Run one step, yielding its progress; a stopped step continues where it was.

    Args:
        run: Recipe and folders.
        step: One of STEPS.
        output: Folder that "export" writes the model to.

    Raises:
        ValueError: If the step is unknown, or its folder has another fingerprint.
        FileNotFoundError: If an earlier step is not finished.
    """
    if step in OBJECTIVES:
        folder = run.folder / step
        fingerprint = step_fingerprint(run, step)
        objective = OBJECTIVES[step](run)
        # After the objective, whose constructor rejects bad recipes: none leaves a fingerprint.
        ensure_fingerprint(folder, fingerprint)
        yield from train(objective, getattr(run.recipe, step).loop, folder)
        objective.export(folder / "export")
    elif step == "pairs":
        for config in dict.fromkeys((run.recipe.uniform.pairs, run.recipe.stage1.pairs)):
            yield from _write_cache(run, step, config, encoded_pairs(run.autoencoder()))
    elif step == "rollouts":
        denoiser = load_denoiser(run.exported("stage1")).requires_grad_(False)
        scheduler = build_scheduler(run.recipe.network)
        compute = roll_outs(run.autoencoder(), denoiser, scheduler, run.recipe.stage2)
        yield from _write_cache(run, step, run.recipe.stage2.rollouts, compute)
    elif step == "export":
        export(run, output)
    else:
        raise ValueError(f"step must be one of {', '.join(STEPS)}, got {step!r}")


def _autoencoder(run: Run) -> Objective:
    config = run.recipe.autoencoder
    objective = AutoencoderObjective(config, run.recipe.data, run.pictures)
    run.warm_start(objective.autoencoder, "vae", "v2")
    if config.trained == "decoder":
        _require_encoder_of(objective.autoencoder, run.origin)
    return objective


def _require_encoder_of(autoencoder: CompactAutoencoder, origin: Path | None) -> None:
    """Check that the encoder has the config of `origin`, and set that model's scaling factor."""
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
    pairs = run.cache("pairs", recipe.uniform.pairs)
    return uniform_objective(denoiser, build_scheduler(recipe.network), recipe.uniform, pairs)


def _stage1(run: Run) -> Objective:
    recipe = run.recipe
    denoiser = load_denoiser(run.exported("uniform"))
    scheduler = build_scheduler(recipe.network)
    pairs = run.cache("pairs", recipe.stage1.pairs)
    return stage1_objective(denoiser, scheduler, run.autoencoder(), recipe.stage1, pairs)


def _stage2(run: Run) -> Objective:
    vae = with_lr_branch(run.autoencoder(), run.recipe.stage2.lr_blocks)
    run.warm_start(vae, "vae", prefix="decoder.")
    return DecoderObjective(
        vae, run.recipe.stage2, run.cache("rollouts", run.recipe.stage2.rollouts)
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
"""Step -> the steps whose networks it uses."""


def step_fingerprint(run: Run, step: str, pairs: PairsConfig | None = None) -> Fingerprint:
    """Fingerprint of a step's folder.

    Args:
        run: Recipe and folders.
        step: Any but "export".
        pairs: The pairs of "pairs" or "rollouts".
    """
    recipe, stage2 = run.recipe, run.recipe.stage2
    sampling = {"num_steps": stage2.num_steps, "t_max": stage2.t_max, "t_min": stage2.t_min}
    sections = {
        "autoencoder": {"data": recipe.data, "autoencoder": recipe.autoencoder},
        "pairs": {"data": recipe.data, "pairs": pairs},
        "uniform": {"network": recipe.network, "uniform": recipe.uniform},
        "stage1": {"network": recipe.network, "stage1": recipe.stage1},
        "rollouts": {"data": recipe.data, "rollouts": pairs, "stage2": sampling},
        "stage2": {"stage2": stage2},
    }[step]
    sources = {source: run.exported(source) for source in SOURCES[step]}
    if step == "autoencoder" and recipe.autoencoder.trained == "decoder" and run.origin is not None:
        sources["the model whose encoder is kept"] = run.origin / "vae"
    return fingerprint_of(sections, sources)


def copy_matching(network: nn.Module, weights: dict[str, torch.Tensor]) -> int:
    """Copy the weights whose name and shape `network` has; returns their number."""
    own = network.state_dict()
    matching = {k: w for k, w in weights.items() if k in own and own[k].shape == w.shape}
    network.load_state_dict(matching, strict=False)
    return len(matching)


def export(run: Run, output: Path) -> None:
    """Write all variants of the model as one diffusers folder, in float16.

    The subfolder "v1" holds UNet and condition network of V1, "v2" the autoencoder as pre-trained.

    Raises:
        FileExistsError: If `output` holds a model.
    """
    if (output / "model_index.json").exists():
        raise FileExistsError(f"{output} holds a model; move it away first")
    scheduler = build_scheduler(run.recipe.network)
    uniform, stage1 = (load_denoiser(run.exported(step)) for step in ("uniform", "stage1"))
    pretrained, finetuned = run.autoencoder(), run.autoencoder("stage2")
    networks = [uniform.unet, uniform.controlnet, stage1.unet, stage1.controlnet]
    for part in (*networks, pretrained, finetuned):
        _clear_path(part)
    pipeline = CCSRPipeline(
        unet=stage1.unet,
        controlnet=stage1.controlnet,
        vae=finetuned,
        scheduler=scheduler,
    )
    pipeline.to(dtype=torch.float16).save_pretrained(output)
    uniform.unet.half().save_pretrained(output / "v1" / "unet")
    uniform.controlnet.half().save_pretrained(output / "v1" / "controlnet")
    pretrained.half().save_pretrained(output / "v2" / "vae")


def _clear_path(part: ConfigMixin) -> None:
    """Remove the path that a network was read from from its config, which is published."""
    part.register_to_config(_name_or_path="")


def _write_cache(
    run: Run, step: str, config: PairsConfig, compute: Compute
) -> Iterator[CacheProgress]:
    """Write the latent cache of the step "pairs" or "rollouts"."""
    data = run.recipe.data
    crops = Crops(
        PictureFolder(run.pictures, config.crop_px), config.crop_px, data, config.seed, config.count
    )
    pairs = Pairs(crops, mixture(data.chains.by_chain(), data.scale))
    # Caches are computed on the CPU.
    dtype = choose_dtype("auto", torch.device("cpu"))
    folder = run.cache(step, config)
    ensure_fingerprint(folder, step_fingerprint(run, step, config))
    for done in write_latent_cache(folder, pairs, config.count, compute, dtype):
        yield CacheProgress(done, config.count)
