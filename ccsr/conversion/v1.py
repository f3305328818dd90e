"""CCSR v1: all networks in one file, under the names of latent diffusion's classes."""

from collections.abc import Callable, Mapping, Set
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.loaders.single_file_utils import (
    convert_controlnet_checkpoint,
    convert_ldm_unet_checkpoint,
    convert_ldm_vae_checkpoint,
)
from transformers import CLIPTextConfig, CLIPTextModel

from ccsr.conversion.checkpoint import MAX_NAMED, CheckpointError, Shapes
from ccsr.conversion.plan import (
    TEXT_ENCODER,
    ConversionPlan,
    Network,
    Source,
    checked_plan,
    converted_names,
    names_below,
)
from ccsr.diffusion.scheduler import NonUniformScheduler
from ccsr.models.controlnet import LatentControlNetModel
from ccsr.models.prompt_embeds import EMPTY_TOKENS
from ccsr.models.sd21 import HEAD_CHANNELS, unet_config, vae_config

UNET, CONTROLNET = "model.diffusion_model.", "control_model."
VAE, CONDITION_ENCODER = "first_stage_model.", "cond_encoder."
TEXT = "cond_stage_model.model."
TEXT_BLOCKS = TEXT + "transformer.resblocks."
"""Prefixes of the networks."""
INPUT_CONVOLUTION = CONTROLNET + "input_blocks.0.0.weight"
"""Over the channels of x_t and of the condition together."""
LEFT_OUT = {
    "decoder_loss.": "of training only",
    TEXT + "text_projection": "not used by CCSR",
    TEXT + "logit_scale": "not used by CCSR",
}
"""Prefixes of weights that are not converted, with the reason."""
TEXT_LAYERS = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
    "attn.out_proj": "self_attn.out_proj",
}
"""Layers of a block of the text encoder: OpenCLIP's name -> that of transformers."""

Converter = Callable[..., dict[str, torch.Tensor | None]]
"""A conversion of diffusers from weights by old names to weights by new ones."""


def plan_v1(shapes: Shapes, head_channels: int = HEAD_CHANNELS) -> ConversionPlan:
    """The plan of a v1 checkpoint, of stage 1 or 2.

    Args:
        shapes: The shape of every stored weight.
        head_channels: Channels of an attention head.

    Raises:
        CheckpointError: If a weight is missing, unknown or of a wrong shape; the message names it.
    """
    _refuse_other_checkpoints(shapes)
    unet = _unet(shapes, head_channels)
    networks = {
        "unet": unet,
        "controlnet": _controlnet(shapes, unet.model),
        "vae": _vae(shapes),
        TEXT_ENCODER: _text_encoder(shapes, head_channels),
    }
    left_out = _left_out(shapes, converted_names(networks))
    return checked_plan("CCSR v1", networks, left_out, shapes, NonUniformScheduler())


def _refuse_other_checkpoints(shapes: Shapes) -> None:
    if not names_below(shapes, UNET):
        found = ", ".join(sorted({name.partition(".")[0] for name in shapes})[:MAX_NAMED])
        raise CheckpointError(f"this is no checkpoint of CCSR v1: it has {found or 'no weights'}")
    if INPUT_CONVOLUTION not in shapes:
        raise CheckpointError(
            "this is a checkpoint of Stable Diffusion: it has no control_model, which is what "
            "CCSR adds; give real-world_ccsr.ckpt or a file made of it"
        )


def _unet(shapes: Shapes, head_channels: int) -> Network:
    channels = shapes[UNET + "input_blocks.0.0.weight"][0]
    text_width = shapes.get(
        UNET + "input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight", (0, 4 * channels)
    )[1]
    config = unet_config(channels, text_width, head_channels)
    with torch.device("meta"):
        model = UNet2DConditionModel(**config)
    names = {name: name for name in names_below(shapes, UNET)}
    return Network(model, _sources_by(convert_ldm_unet_checkpoint, shapes, names, config))


def _controlnet(shapes: Shapes, unet: torch.nn.Module) -> Network:
    assert isinstance(unet, UNet2DConditionModel)
    latents = unet.config["in_channels"]
    with torch.device("meta"):
        model = LatentControlNetModel.from_unet(
            unet, conditioning_channels=latents, load_weights_from_unet=False
        )
    config = {"layers_per_block": unet.config["layers_per_block"]}
    names = {name: name for name in names_below(shapes, CONTROLNET)}
    sources = _sources_by(convert_controlnet_checkpoint, shapes, names, config)
    # One convolution over both inputs is the sum of one over each; the bias belongs to the first.
    sources["conv_in.weight"] = Source(INPUT_CONVOLUTION, channels=slice(latents))
    sources["condition_conv_in.weight"] = Source(INPUT_CONVOLUTION, channels=slice(latents, None))
    return Network(model, sources, zeros=frozenset({"condition_conv_in.bias"}))


def _vae(shapes: Shapes) -> Network:
    channels = shapes.get(VAE + "decoder.conv_out.weight", (3, 128))[1]
    config = vae_config(channels)
    with torch.device("meta"):
        model = AutoencoderKL(**config)
    # The authors encode the condition by a second encoder of equal weights; a checkpoint has both
    # or one of them.
    second = {
        VAE + name.removeprefix(CONDITION_ENCODER): name
        for name in names_below(shapes, CONDITION_ENCODER)
    }
    first = {
        name: name for name in names_below(shapes, VAE) if not (second and _is_of_encoder(name))
    }
    return Network(model, _sources_by(convert_ldm_vae_checkpoint, shapes, first | second, config))


def _is_of_encoder(name: str) -> bool:
    return name.startswith((VAE + "encoder.", VAE + "quant_conv."))


def _text_encoder(shapes: Shapes, head_channels: int) -> Network:
    """All layers but the last, because CCSR uses the states before the last layer."""
    numbers = _text_layer_numbers(shapes)
    length, width = shapes.get(TEXT + "positional_embedding", (77, 1024))
    config = CLIPTextConfig(
        vocab_size=shapes.get(TEXT + "token_embedding.weight", (49408,))[0],
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=max(len(numbers) - 1, 1),
        num_attention_heads=max(width // head_channels, 1),
        max_position_embeddings=length,
        hidden_act="gelu",
        projection_dim=width,
        pad_token_id=0,
        bos_token_id=EMPTY_TOKENS[0],
        eos_token_id=EMPTY_TOKENS[1],
    )
    with torch.device("meta"):
        model = CLIPTextModel(config)
    sources = {
        "embeddings.token_embedding.weight": Source(TEXT + "token_embedding.weight"),
        "embeddings.position_embedding.weight": Source(TEXT + "positional_embedding"),
        "final_layer_norm.weight": Source(TEXT + "ln_final.weight"),
        "final_layer_norm.bias": Source(TEXT + "ln_final.bias"),
    }
    for number in numbers[:-1]:
        sources |= _text_layer_sources(number, width)
    return Network(model, sources)


def _text_layer_sources(number: int, width: int) -> dict[str, Source]:
    """Sources of one layer; v1 stores queries, keys and values as one matrix."""
    old, new = f"{TEXT_BLOCKS}{number}.", f"encoder.layers.{number}."
    sources: dict[str, Source] = {}
    for kind in ("weight", "bias"):
        for part, name in enumerate("qkv"):
            rows = slice(part * width, (part + 1) * width)
            source = Source(f"{old}attn.in_proj_{kind}", rows)
            sources[f"{new}self_attn.{name}_proj.{kind}"] = source
        for before, after in TEXT_LAYERS.items():
            sources[f"{new}{after}.{kind}"] = Source(f"{old}{before}.{kind}")
    return sources


def _text_layer_numbers(shapes: Shapes) -> list[int]:
    """Numbers of the text encoder's layers, ascending."""
    names = names_below(shapes, TEXT_BLOCKS)
    return sorted({int(name.removeprefix(TEXT_BLOCKS).partition(".")[0]) for name in names})


def _left_out(shapes: Shapes, converted: Set[str]) -> dict[str, str]:
    """Names that are not converted, with the reason; unknown names are not among them."""
    last = f"{TEXT_BLOCKS}{max(_text_layer_numbers(shapes), default=0)}."
    prefixes = LEFT_OUT | {last: "the states before the last layer are used"}
    reasons = {name: _reason(name, prefixes) for name in shapes if name not in converted}
    return {name: reason for name, reason in reasons.items() if reason is not None}


def _reason(name: str, prefixes: Mapping[str, str]) -> str | None:
    """Why a weight is not converted; None if it is unknown."""
    if "." not in name:
        return "a buffer of the noise schedule, computed here"
    if _is_of_encoder(name):
        return "cond_encoder has the encoder"
    return next((why for prefix, why in prefixes.items() if name.startswith(prefix)), None)


def _sources_by(
    convert: Converter, shapes: Shapes, names: Mapping[str, str], config: Mapping[str, Any]
) -> dict[str, Source]:
    """The sources that a conversion of diffusers takes, by new name.

    It is run on tensors of one number each, which stand for the weights, with as many dimensions.

    Args:
        convert: The conversion.
        shapes: The shape of every stored weight.
        names: The name that the conversion expects -> the name of the stored weight.
        config: Configuration of the network.
    """
    stored = list(names.values())
    numbers = {
        name: torch.full((1,) * len(shapes[weight]), number)
        for number, (name, weight) in enumerate(names.items())
    }
    converted = convert(numbers, config=config)
    return {
        name: Source(stored[int(number)])
        for name, number in converted.items()
        if number is not None
    }
