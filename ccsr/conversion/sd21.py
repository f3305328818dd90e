"""Stable Diffusion 2.1, the start of a training: its networks, and a ControlNet of its UNet."""

from collections.abc import Mapping
from pathlib import Path

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel

from ccsr.conversion.checkpoint import Components, Shapes, Weights
from ccsr.conversion.plan import TEXT_ENCODER, ConversionPlan, Network, checked_plan
from ccsr.conversion.v2 import (
    BASE_FOLDER,
    POSITIONS,
    find_components,
    network_config,
    network_of,
    on_meta,
    prediction_type_of,
    refuse_mixed_models,
)
from ccsr.diffusion.scheduler import NonUniformScheduler
from ccsr.models.controlnet import LatentControlNetModel

NAME = "Stable Diffusion 2.1"
PARTS = ("unet", "vae", TEXT_ENCODER)


def open_sd21(source: Path) -> tuple[ConversionPlan, Weights]:
    """The plan and the weights of a folder of Stable Diffusion in diffusers layout.

    Args:
        source: The folder, or one that has it as its subfolder BASE_FOLDER.

    Raises:
        CheckpointError: If components or weights are missing, or are not of one model.
    """
    base = source / BASE_FOLDER
    source = base if base.is_dir() else source
    folders = find_components(source, PARTS, NAME)
    weights = Components(folders)
    scheduler = NonUniformScheduler(prediction_type=prediction_type_of(source))
    return plan_sd21(folders, weights.shapes, scheduler), weights


def plan_sd21(
    folders: Mapping[str, Path], shapes: Shapes, scheduler: NonUniformScheduler
) -> ConversionPlan:
    """The plan of the component folders of Stable Diffusion 2.1.

    The ControlNet has the weights of the UNet's encoder and middle block. Its convolution of the
    condition and those to the UNet are zero, so that an untrained one changes nothing.

    Args:
        folders: The components, whose configurations are read.
        shapes: The shape of every stored weight, by its name in `Components`.
        scheduler: The scheduler of the model folder.

    Raises:
        CheckpointError: If a weight is missing, unknown or of a wrong shape, which the message
            names, or if the components are not of one model.
    """
    configs = {name: network_config(folder) for name, folder in folders.items()}
    unet = on_meta(UNet2DConditionModel, configs["unet"])
    vae = on_meta(AutoencoderKL, configs["vae"])
    with torch.device("meta"):
        text = CLIPTextModel(CLIPTextConfig.from_dict(configs[TEXT_ENCODER]))
        controlnet = LatentControlNetModel.from_unet(
            unet,
            conditioning_channels=vae.config["latent_channels"],
            load_weights_from_unet=False,
        )
    refuse_mixed_models(unet.config, controlnet.config, vae.config, text.config)
    models = {"unet": unet, "vae": vae, TEXT_ENCODER: text}
    networks = {name: network_of(name, model, shapes) for name, model in models.items()}
    networks["controlnet"] = _controlnet(controlnet, networks["unet"])
    left_out = {name: POSITIONS for name in shapes if name.endswith(".position_ids")}
    return checked_plan(NAME, networks, left_out, shapes, scheduler)


def _controlnet(controlnet: LatentControlNetModel, unet: Network) -> Network:
    names = controlnet.state_dict().keys()
    shared = {name: unet.sources[name] for name in names if name in unet.sources}
    return Network(controlnet, shared, zeros=frozenset(names - shared.keys()))
