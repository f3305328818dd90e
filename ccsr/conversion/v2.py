"""CCSR v2: a folder of diffusers components, with those of Stable Diffusion 2.1 base."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from diffusers import AutoencoderKL, ConfigMixin, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel

from ccsr.conversion.checkpoint import COMPONENTS, CheckpointError, Shapes
from ccsr.conversion.plan import (
    TEXT_ENCODER,
    ConversionPlan,
    Network,
    Source,
    checked_plan,
    names_below,
)
from ccsr.diffusion.scheduler import NonUniformScheduler, PredictionType
from ccsr.inference.hub import json_object
from ccsr.models.controlnet import LatentControlNetModel

BASE_FOLDER = "stable-diffusion-2-1-base"
BASE_COMPONENTS = ("unet", "text_encoder", "tokenizer", "scheduler")
"""Folders that may lie in BASE_FOLDER; the vae there is not the fine-tuned one."""
CONDITION_CONVOLUTION = "controlnet/condition_conv_in.weight"
NEW_NAMES = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
"""Layers of the autoencoder's attention: name in older files -> name today."""
POSITIONS = "a buffer of the tokens' positions, computed here"
LEFT_OUT = {
    "text_encoder/text_model.embeddings.position_ids": POSITIONS,
    "text_encoder/embeddings.position_ids": POSITIONS,
    "controlnet/controlnet_cond_embedding.": "of pictures; condition_conv_in reads the latent",
}
"""Prefixes of weights that are not converted, with the reason."""
PREDICTION_TYPES: tuple[PredictionType, ...] = ("epsilon", "v_prediction")
"""Of networks of Stable Diffusion 2."""

Built = TypeVar("Built", bound=ConfigMixin)


def find_components(
    source: Path, names: Collection[str] = tuple(COMPONENTS), of: str = "CCSR v2"
) -> dict[str, Path]:
    """The component folders, by default `controlnet`, `vae`, `unet` and `text_encoder`.

    All lie in `source`; those of Stable Diffusion may lie in its subfolder BASE_FOLDER instead.

    Args:
        source: The folder.
        names: The components.
        of: Whose they are, for the message.

    Raises:
        CheckpointError: If components are missing; the message names all of them.
    """
    folders: dict[str, Path] = {}
    missing: list[str] = []
    for name in names:
        places = places_of(source, name)
        found = [place for place in places if (place / "config.json").is_file()]
        if found:
            folders[name] = found[0]
        else:
            missing.append(f"{name} (no config.json in {' or '.join(map(str, places))})")
    if missing:
        raise CheckpointError(f"{source} is no folder of {of}; missing: " + "; ".join(missing))
    return folders


def places_of(source: Path, name: str) -> list[Path]:
    """Folders in which a component may lie, the preferred one first."""
    base = [source / BASE_FOLDER / name] if name in BASE_COMPONENTS else []
    return [source / name, *base]


def scheduler_of(source: Path) -> NonUniformScheduler:
    """The scheduler of the model folder, with the prediction type of the one in `source`."""
    return NonUniformScheduler(
        prediction_type=prediction_type_of(source), timestep_spacing="leading", start_point="lr"
    )


def prediction_type_of(source: Path) -> PredictionType:
    """The prediction type of the scheduler in `source`; that of the noise if there is none.

    Raises:
        CheckpointError: If its prediction type is unknown.
    """
    files = [place / "scheduler_config.json" for place in places_of(source, "scheduler")]
    config = next((json_object(file) for file in files if file.is_file()), {})
    prediction_type = config.get("prediction_type", "epsilon")
    if prediction_type not in PREDICTION_TYPES:
        raise CheckpointError(
            f"the scheduler in {source} has prediction_type {prediction_type!r}; "
            f"it must be {' or '.join(PREDICTION_TYPES)}"
        )
    return prediction_type


def plan_v2(
    folders: Mapping[str, Path], shapes: Shapes, scheduler: NonUniformScheduler
) -> ConversionPlan:
    """The plan of the component folders of v2.

    Args:
        folders: The components, whose configurations are read.
        shapes: The shape of every stored weight, by its name in `Components`.
        scheduler: The scheduler of the model folder.

    Raises:
        CheckpointError: If a weight is missing, unknown or of a wrong shape, which the message
            names, or if the components are not of one model.
    """
    if CONDITION_CONVOLUTION not in shapes:
        raise CheckpointError(
            f"{folders['controlnet']} is an ordinary ControlNet: it has no condition_conv_in, "
            "which reads the latent of the picture in CCSR v2; give that of CCSR v2"
        )
    configs = {name: network_config(folder) for name, folder in folders.items()}
    unet = on_meta(UNet2DConditionModel, configs["unet"])
    vae = on_meta(AutoencoderKL, configs["vae"])
    # The condition is a latent; the stored configuration may have the channels of a picture.
    condition = {"conditioning_channels": vae.config["latent_channels"]}
    controlnet = on_meta(LatentControlNetModel, configs["controlnet"] | condition)
    with torch.device("meta"):
        text = CLIPTextModel(CLIPTextConfig.from_dict(configs["text_encoder"]))
    refuse_mixed_models(unet.config, controlnet.config, vae.config, text.config)
    models = {"unet": unet, "controlnet": controlnet, "vae": vae, TEXT_ENCODER: text}
    networks = {name: network_of(name, model, shapes) for name, model in models.items()}
    left_out = {
        name: why for name in shapes for prefix, why in LEFT_OUT.items() if name.startswith(prefix)
    }
    return checked_plan("CCSR v2", networks, left_out, shapes, scheduler)


def network_config(folder: Path) -> dict[str, Any]:
    """The configuration of a component, without records of how it was saved.

    Raises:
        ModelError: If its file holds no JSON object.
    """
    config = json_object(folder / "config.json")
    # LatentControlNetModel implies this option, and diffusers would warn that it is unknown.
    config.pop("use_vae_encode_condition", None)
    return {name: value for name, value in config.items() if not name.startswith("_")}


def on_meta(kind: type[Built], config: dict[str, Any]) -> Built:
    """A network without weights, on the meta device."""
    with torch.device("meta"):
        model = kind.from_config(config)
    assert isinstance(model, kind)
    return model


def refuse_mixed_models(
    unet: Mapping[str, Any],
    controlnet: Mapping[str, Any],
    vae: Mapping[str, Any],
    text: CLIPTextConfig,
) -> None:
    """Refuse components of several models, each of which may have all its weights."""
    shared = {
        "channels of the latent": {
            "unet": unet["in_channels"],
            "controlnet": controlnet["in_channels"],
            "vae": vae["latent_channels"],
        },
        "widths of the prompt embeddings": {
            "unet": unet["cross_attention_dim"],
            "controlnet": controlnet["cross_attention_dim"],
            TEXT_ENCODER: text.hidden_size,
        },
        "channels of the blocks": {
            "unet": list(unet["block_out_channels"]),
            "controlnet": list(controlnet["block_out_channels"]),
        },
    }
    for what, values in shared.items():
        if any(value != values["unet"] for value in values.values()):
            listed = ", ".join(f"{value} in {name}" for name, value in values.items())
            raise CheckpointError(f"the components are not of one model: {what} are {listed}")


def network_of(component: str, model: torch.nn.Module, shapes: Shapes) -> Network:
    """A network whose weights have the names of its component's file, older ones included."""
    prefix = f"{component}/"
    stored = {_new_name(name.removeprefix(prefix)): name for name in names_below(shapes, prefix)}
    sources = {name: Source(stored.get(name, prefix + name)) for name in model.state_dict()}
    return Network(model, sources)


def _new_name(name: str) -> str:
    """The name of a weight in diffusers and transformers today."""
    parts = name.removeprefix("text_model.").split(".")
    return ".".join(NEW_NAMES.get(part, part) for part in parts)
