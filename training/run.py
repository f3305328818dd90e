"""A run: a recipe, its folders, and the networks that are there so far."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ccsr.config import Variant
from ccsr.diffusion.scheduler import NonUniformScheduler
from ccsr.diffusion.timesteps import LoopStart
from ccsr.errors import InputError
from ccsr.models.denoiser import Denoiser
from ccsr.models.fusion import fuse_rms_norms
from ccsr.models.prompt_embeds import EmptyPrompt
from training.autoencoder import TrainedAutoencoder, load_autoencoder
from training.config import MachineConfig, PairsConfig, Recipe
from training.latent_cache import cache_name
from training.network import build_denoiser, load_denoiser
from training.origin import Origin
from training.sources import Source

EXPORTED_FILE = "export.json"
"""In the folder of a training step: whose networks are in its folder "export"."""


@dataclass(frozen=True)
class Run:
    """A recipe and its folders.

    Raises:
        InputError: If the recipe trains the networks of a model, and there is none.
    """

    recipe: Recipe
    sources: tuple[Source, ...]
    folder: Path
    origin: Origin | None = None
    """Its weights initialise the networks, wherever names and shapes agree. A model also stands for
    the steps that are not run."""
    machine: MachineConfig = MachineConfig()
    held_out: tuple[Source, ...] = ()
    """Pictures for `Validation`; without them there is none."""
    checkpoint: str = "best"
    """Whose networks a training step exports, by `chosen_checkpoint`."""

    def __post_init__(self) -> None:
        if self.recipe.autoencoder is None and self.origin is None:
            raise InputError(
                "the recipe has no table autoencoder, so it trains the networks of a model; give "
                "one by --init, such as a folder of Stable Diffusion 2.1"
            )

    def exported(self, step: str) -> Path:
        """Folder of the networks that a training step exported, or of the same ones of `origin`.

        Raises:
            FileNotFoundError: If the step is not finished, and there is no other model.
        """
        folder = self.folder / step / "export"
        if folder.exists():
            return folder
        found = None if self.origin is None else self.origin.networks_of(step)
        if found is None:
            raise FileNotFoundError(
                f"{folder} does not exist; run the step {step!r} first, or give a model that has "
                "its networks by --init"
            )
        return found

    def exported_step(self, step: str) -> int | None:
        """Optimiser steps of the networks that a training step has exported; None if unknown."""
        file = self.folder / step / EXPORTED_FILE
        return json.loads(file.read_text())["step"] if file.exists() else None

    def has(self, step: str) -> bool:
        """Whether there are networks of a training step."""
        try:
            self.exported(step)
        except FileNotFoundError:
            return False
        return True

    def autoencoder(self, step: str = "autoencoder") -> TrainedAutoencoder:
        """The autoencoder as exported by "autoencoder" or "stage2", with fused norms.

        Raises:
            InputError: If it is of another class than can be trained.
        """
        vae = load_autoencoder(self.exported(step))
        fuse_rms_norms(vae)
        return vae

    def denoiser(self, step: str) -> Denoiser:
        """UNet and ControlNet as exported by "uniform" or "stage1"."""
        return load_denoiser(self.exported(step), self.empty_prompt())

    def first_denoiser(self) -> Denoiser:
        """UNet and ControlNet that training starts from."""
        if self.recipe.network is None:
            assert self.origin is not None  # checked when the run was made
            return load_denoiser(self.origin.folder, self.empty_prompt())
        vae = self.autoencoder()
        denoiser = build_denoiser(self.recipe.network, vae.config["latent_channels"])
        self.warm_start(denoiser.unet, "unet")
        self.warm_start(denoiser.controlnet, "controlnet")
        return denoiser

    def empty_prompt(self) -> EmptyPrompt | None:
        """Embeddings of the empty prompt; None without cross-attention or for a new UNet."""
        if self.recipe.network is not None or self.origin is None:
            return None
        return self.origin.empty_prompt()

    def scheduler(self) -> NonUniformScheduler:
        """The noise schedule that the network is trained and sampled with."""
        network, official = self.recipe.network, self.recipe.implementation == "official"
        loop_start: LoopStart = "official" if official else "paper"
        if network is not None:
            return NonUniformScheduler(
                prediction_type=network.prediction_type, loop_start=loop_start
            )
        assert self.origin is not None  # checked when the run was made
        config: Any = NonUniformScheduler.load_config(self.origin.folder, subfolder="scheduler")
        scheduler = NonUniformScheduler.from_config(config, loop_start=loop_start)
        assert isinstance(scheduler, NonUniformScheduler)
        return scheduler

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
            weights = self.origin.weights_of(part, variant)
            copy_matching(network, {k: w for k, w in weights.items() if k.startswith(prefix)})

    def cache(self, name: str, config: PairsConfig) -> Path:
        """Folder of the latent cache of the step "pairs" or "rollouts"."""
        return self.folder / f"{name}-{cache_name(config)}"


def copy_matching(network: nn.Module, weights: dict[str, torch.Tensor]) -> int:
    """Copy the weights whose name and shape `network` has; returns their number."""
    own = network.state_dict()
    matching = {k: w for k, w in weights.items() if k in own and own[k].shape == w.shape}
    network.load_state_dict(matching, strict=False)
    return len(matching)
