"""The authors' weights -> a model folder.

Those of v1 are one file with all networks, under the names of the classes they were written with;
those of v2 are a folder of diffusers' components. Which weight goes where is decided from names and
shapes alone, before any weight is read, and every name is accounted for: converted, left out for a
reason, or reported.
"""

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from diffusers import AutoencoderKL, ConfigMixin, ModelMixin, UNet2DConditionModel
from diffusers.loaders.single_file_utils import (
    convert_controlnet_checkpoint,
    convert_ldm_unet_checkpoint,
    convert_ldm_vae_checkpoint,
)
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from ccsr.conversion.checkpoint import (
    COMPONENTS,
    MAX_NAMED,
    Checkpoint,
    CheckpointError,
    Components,
    Shapes,
    json_object,
)
from ccsr.diffusion.scheduler import NonUniformScheduler
from ccsr.inference.engine import from_hub
from ccsr.inference.pipeline import CCSRPipeline
from ccsr.models.controlnet import LatentControlNetModel
from ccsr.models.prompt_embeds import EMPTY_TOKENS, EmptyPrompt, embed_tokens
from ccsr.models.sd21 import HEAD_CHANNELS, WORKING_SIZE, unet_config, vae_config

SHARD_SIZE = "1GB"
TOKENIZER = "openai/clip-vit-large-patch14"
"""Where CLIP's tokenizer is on the hub; checkpoints do not hold it."""
TOKENIZER_FILES = ("tokenizer*.json", "vocab.json", "merges.txt", "special_tokens_map.json")

UNET, CONTROLNET = "model.diffusion_model.", "control_model."
VAE, CONDITION_ENCODER = "first_stage_model.", "cond_encoder."
TEXT = "cond_stage_model.model."
TEXT_BLOCKS = TEXT + "transformer.resblocks."
INPUT_CONVOLUTION = CONTROLNET + "input_blocks.0.0.weight"
"""Over the channels of x_t and of the condition together."""
LEFT_OUT = {
    "decoder_loss.": "of training only",
    TEXT + "text_projection": "not used by the text states",
    TEXT + "logit_scale": "not used by the text states",
}
"""Beginnings of names that are left out, and why; and names without a dot are buffers."""
TEXT_NAMES = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
    "attn.out_proj": "self_attn.out_proj",
}
MADE_HERE = ("condition_conv_in.bias",)
"""Weights that v1 has not: zero, for the bias is with the other half of the convolution."""

BASE_FOLDER = "stable-diffusion-2-1-base"
OF_BASE = ("unet", "text_encoder", "tokenizer", "scheduler")
"""Folders of v2 that may lie in BASE_FOLDER; the vae there is not the fine-tuned one."""
CONDITION_CONVOLUTION = "controlnet/condition_conv_in.weight"
NEW_NAMES = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
"""Parts of names in the attention of older files, and what they are today."""
POSITIONS = "a buffer of the tokens' positions, computed here"
LEFT_OUT_V2 = {
    "text_encoder/text_model.embeddings.position_ids": POSITIONS,
    "text_encoder/embeddings.position_ids": POSITIONS,
    "controlnet/controlnet_cond_embedding.": "of pictures; condition_conv_in reads the latent",
}
"""Beginnings of names of v2 that are left out, and why."""
PREDICTION_TYPES = ("epsilon", "v_prediction")
"""What networks of Stable Diffusion 2 predict."""

Built = TypeVar("Built", bound=ConfigMixin)


@dataclass(frozen=True)
class Source:
    """Where a weight comes from."""

    name: str
    """Its name among the weights that are converted."""
    part: slice | None = None
    """Which of its rows, if not all."""
    channels: slice | None = None
    """Which of its input channels, if not all."""

    def take(self, weight: torch.Tensor) -> torch.Tensor:
        """What is meant of the whole weight."""
        weight = weight if self.part is None else weight[self.part]
        return weight if self.channels is None else weight[:, self.channels]


@dataclass(frozen=True)
class Network:
    """One network of the model folder, without weights, and where these are."""

    model: torch.nn.Module
    """On the meta device."""
    sources: Mapping[str, Source]


@dataclass(frozen=True)
class Plan:
    """Where everything goes."""

    networks: Mapping[str, Network]
    """By their folder."""
    text: Network
    left_out: Mapping[str, str]
    """Names that are not converted, and why."""
    scheduler: NonUniformScheduler
    """With the steps and the start that the networks were trained for."""


def convert(
    source: Path, output: Path, *, keep_text_encoder: bool = False, tokenizer: str = TOKENIZER
) -> Plan:
    """Write a model folder of the authors' weights, in float16.

    Args:
        source: The v1 checkpoint, of stage 1 or 2, or the folder of v2, see `find_components`.
        output: The folder to make.
        keep_text_encoder: Write the text encoder too, not just its states of the empty prompt.
        tokenizer: Folder or hub name of what splits prompts for it, if `source` has none.

    Returns:
        What was converted and what was left out.

    Raises:
        CheckpointError: If the source is not what it should be; nothing is written then.
        FileExistsError: If there is a model already, or if a component would be overwritten.
    """
    if (output / "model_index.json").exists():
        raise FileExistsError(f"{output} holds a model; move it away or give another folder")
    if source.is_dir():
        folders = find_components(source)
        _refuse_overwriting(folders, output)
        weights = Components(folders)
        plan = plan_components(folders, weights.shapes, scheduler_of(source))
    else:
        weights = Checkpoint(source)
        plan = plan_conversion(weights.shapes)
    # First what may not be there.
    splitter = find_tokenizer(source, tokenizer) if keep_text_encoder else None
    text = load(plan.text, weights, torch.float32)
    assert isinstance(text, CLIPTextModel)
    prompt = empty_prompt(text)
    prompt.save_pretrained(output / "empty_prompt")
    if splitter is not None:
        text.half().save_pretrained(output / "text_encoder", max_shard_size=SHARD_SIZE)
        splitter.save_pretrained(output / "tokenizer")
    # One network at a time is in memory.
    text.to_empty(device="meta")
    for folder, network in plan.networks.items():
        model = load(network, weights, torch.float16)
        assert isinstance(model, ModelMixin)
        model.save_pretrained(output / folder, max_shard_size=SHARD_SIZE)
        model.to_empty(device="meta")
    plan.scheduler.save_pretrained(output / "scheduler")
    # Last, so that a folder that was not finished is not taken for a model.
    write_index(plan, prompt, output, splitter)
    return plan


def find_components(source: Path) -> dict[str, Path]:
    """The component folders of v2: `controlnet`, `vae`, `unet` and `text_encoder`.

    All lie in `source`, or those of Stable Diffusion in its subfolder BASE_FOLDER.

    Raises:
        CheckpointError: If one is missing; the message names all that are.
    """
    folders: dict[str, Path] = {}
    missing: list[str] = []
    for name in COMPONENTS:
        places = _places(source, name)
        found = [place for place in places if (place / "config.json").is_file()]
        if found:
            folders[name] = found[0]
        else:
            missing.append(f"{name} (no config.json in {' or '.join(map(str, places))})")
    if missing:
        raise CheckpointError(f"{source} is no folder of CCSR v2; missing: " + "; ".join(missing))
    return folders


def find_tokenizer(source: Path, name: str) -> CLIPTokenizer:
    """The tokenizer in a folder of v2, or the one of that name.

    Raises:
        CheckpointError: If there is none, or it is not CLIP's.
    """
    places = _places(source, "tokenizer") if source.is_dir() else []
    folder = next((place for place in [*places, Path(name)] if place.is_dir()), None)
    try:
        folder = folder or from_hub(name, TOKENIZER_FILES)
        tokenizer = CLIPTokenizer.from_pretrained(str(folder), local_files_only=True)
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"the text encoder needs CLIP's tokenizer, to be given by --tokenizer: {error}"
        ) from error
    if tuple(tokenizer("").input_ids) != EMPTY_TOKENS:
        raise CheckpointError(f"the tokenizer in {folder} is not CLIP's; give CLIP's")
    return tokenizer


def scheduler_of(source: Path) -> NonUniformScheduler:
    """The scheduler of a folder of v2, for what its networks predict.

    Raises:
        CheckpointError: If they predict something unknown.
    """
    paths = [place / "scheduler_config.json" for place in _places(source, "scheduler")]
    config = next((json_object(path) for path in paths if path.is_file()), {})
    prediction_type = config.get("prediction_type", "epsilon")
    if prediction_type not in PREDICTION_TYPES:
        raise CheckpointError(
            f"the scheduler in {source} has prediction_type {prediction_type!r}; "
            f"it must be {' or '.join(PREDICTION_TYPES)}"
        )
    return NonUniformScheduler(
        prediction_type=prediction_type, timestep_spacing="leading", start_point="lr"
    )


def plan_components(
    folders: Mapping[str, Path], shapes: Shapes, scheduler: NonUniformScheduler
) -> Plan:
    """Decide where every weight of v2 goes.

    Args:
        folders: The components; their configurations are read.
        shapes: The shape of every weight, named as by `Components`.
        scheduler: Of the model folder.

    Raises:
        CheckpointError: If a weight is missing, unknown or of a wrong shape, which the message
            names, or if the components are not of one model.
    """
    if CONDITION_CONVOLUTION not in shapes:
        raise CheckpointError(
            f"{folders['controlnet']} is an ordinary ControlNet: it has no condition_conv_in, "
            "which reads the latent of the picture in CCSR v2; give that of CCSR v2"
        )
    configs = {name: _network_config(folder) for name, folder in folders.items()}
    unet = _built(UNet2DConditionModel, configs["unet"])
    vae = _built(AutoencoderKL, configs["vae"])
    # The condition is a latent, though the configuration may still tell of pictures.
    condition = {"conditioning_channels": vae.config["latent_channels"]}
    controlnet = _built(LatentControlNetModel, configs["controlnet"] | condition)
    with torch.device("meta"):
        text = CLIPTextModel(CLIPTextConfig.from_dict(configs["text_encoder"]))
    _refuse_strangers(unet.config, controlnet.config, vae.config, text.config)
    models = {"unet": unet, "controlnet": controlnet, "vae": vae, "text_encoder": text}
    parts = {name: _matched(name, model, shapes) for name, model in models.items()}
    left_out = {
        name: why for name in shapes for start, why in LEFT_OUT_V2.items() if name.startswith(start)
    }
    return _accounted("v2", parts, left_out, shapes, scheduler)


def plan_conversion(shapes: Shapes, head_channels: int = HEAD_CHANNELS) -> Plan:
    """Decide where every weight of v1 goes.

    Args:
        shapes: The shape of every weight in the checkpoint.
        head_channels: Channels of an attention head.

    Raises:
        CheckpointError: If a weight is missing, unknown or of a wrong shape; the message names it.
    """
    _refuse_others(shapes)
    unet = _unet(shapes, head_channels)
    parts = {
        "unet": unet,
        "controlnet": _controlnet(shapes, unet.model),
        "vae": _vae(shapes),
        "text_encoder": _text(shapes, head_channels),
    }
    left_out = _left_out(shapes, _used(parts))
    return _accounted("v1", parts, left_out, shapes, NonUniformScheduler())


def load(
    network: Network, weights: Mapping[str, torch.Tensor], dtype: torch.dtype
) -> torch.nn.Module:
    """The network with its weights."""
    shapes = _shapes(network.model)
    state = {
        name: source.take(weights[source.name]).reshape(shapes[name]).to(dtype)
        for name, source in network.sources.items()
    }
    for name in shapes.keys() - state.keys():
        state[name] = torch.zeros(shapes[name], dtype=dtype)
    network.model.load_state_dict(state, assign=True)
    return network.model.eval()


@torch.no_grad()
def empty_prompt(text: CLIPTextModel) -> EmptyPrompt:
    """The states of the empty prompt, of the last layer that there is."""
    prompt = EmptyPrompt(text.config.max_position_embeddings, text.config.hidden_size)
    prompt.states.copy_(embed_tokens(text, EMPTY_TOKENS))
    return prompt


def write_index(
    plan: Plan, prompt: EmptyPrompt, output: Path, tokenizer: CLIPTokenizer | None = None
) -> None:
    """Write the file that makes the folder a model; the networks may be without weights.

    Args:
        plan: The networks and the scheduler.
        prompt: The empty one.
        output: The model folder.
        tokenizer: If the text encoder is kept.
    """
    parts: dict[str, Any] = {name: network.model for name, network in plan.networks.items()}
    if tokenizer is not None:
        parts |= {"text_encoder": plan.text.model, "tokenizer": tokenizer}
    pipeline = CCSRPipeline(
        scheduler=plan.scheduler, empty_prompt=prompt, working_size=WORKING_SIZE, **parts
    )
    pipeline.save_config(output)


def _used(parts: Mapping[str, Network]) -> set[str]:
    """Names of the weights that networks take."""
    return {source.name for part in parts.values() for source in part.sources.values()}


def _accounted(
    version: str,
    parts: Mapping[str, Network],
    left_out: Mapping[str, str],
    shapes: Shapes,
    scheduler: NonUniformScheduler,
) -> Plan:
    """The plan, unless a weight is missing, unknown or of a wrong shape."""
    problems = [problem for name, part in parts.items() for problem in _wrong(name, part, shapes)]
    known = _used(parts) | left_out.keys()
    problems += [f"unknown: {name}" for name in shapes if name not in known]
    if problems:
        more = len(problems) - MAX_NAMED
        listed = problems[:MAX_NAMED] + ([f"{more} more"] if more > 0 else [])
        raise CheckpointError(f"the weights are not those of CCSR {version}: " + "; ".join(listed))
    networks = {name: part for name, part in parts.items() if name != "text_encoder"}
    return Plan(networks, parts["text_encoder"], left_out, scheduler)


def _places(source: Path, name: str) -> list[Path]:
    """Where a folder of v2 may lie, the preferred place first."""
    return [source / name] + ([source / BASE_FOLDER / name] if name in OF_BASE else [])


def _refuse_overwriting(folders: Mapping[str, Path], output: Path) -> None:
    if any((output / name).resolve() == folder.resolve() for name, folder in folders.items()):
        raise FileExistsError(f"{output} holds components to convert; give another folder")


def _network_config(folder: Path) -> dict[str, Any]:
    """The configuration of a component, without where and how it was written."""
    config = json_object(folder / "config.json")
    # The class says that already, and diffusers would warn of an unknown option.
    config.pop("use_vae_encode_condition", None)
    return {name: value for name, value in config.items() if not name.startswith("_")}


def _built(kind: type[Built], config: dict[str, Any]) -> Built:
    """A network without weights, on the meta device."""
    with torch.device("meta"):
        model = kind.from_config(config)
    assert isinstance(model, kind)
    return model


def _refuse_strangers(
    unet: Mapping[str, Any],
    controlnet: Mapping[str, Any],
    vae: Mapping[str, Any],
    text: CLIPTextConfig,
) -> None:
    """Refuse networks that do not fit each other, though each has all its weights."""
    shared = {
        "channels of the latent": {
            "unet": unet["in_channels"],
            "controlnet": controlnet["in_channels"],
            "vae": vae["latent_channels"],
        },
        "widths of the text states": {
            "unet": unet["cross_attention_dim"],
            "controlnet": controlnet["cross_attention_dim"],
            "text_encoder": text.hidden_size,
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


def _matched(part: str, model: torch.nn.Module, shapes: Shapes) -> Network:
    """A network of v2, with its weights under their names in the file."""
    prefix = f"{part}/"
    stored = {_new_name(name.removeprefix(prefix)): name for name in _below(shapes, prefix)}
    return Network(
        model, {name: Source(stored.get(name, prefix + name)) for name in _shapes(model)}
    )


def _new_name(name: str) -> str:
    """What diffusers and transformers call a weight today."""
    parts = name.removeprefix("text_model.").split(".")
    return ".".join(NEW_NAMES.get(part, part) for part in parts)


def _refuse_others(shapes: Shapes) -> None:
    if INPUT_CONVOLUTION in shapes and any(name.startswith(UNET) for name in shapes):
        return
    if any(name.startswith(UNET) for name in shapes):
        raise CheckpointError(
            "this is a checkpoint of Stable Diffusion: it has no control_model, which is what "
            "CCSR adds; give real-world_ccsr.ckpt or a file made of it"
        )
    found = ", ".join(sorted({name.partition(".")[0] for name in shapes})[:MAX_NAMED])
    raise CheckpointError(f"this is no checkpoint of CCSR v1: it has {found or 'no weights'}")


def _unet(shapes: Shapes, head_channels: int) -> Network:
    base = shapes[UNET + "input_blocks.0.0.weight"][0]
    width = shapes.get(
        UNET + "input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight", (0, 4 * base)
    )[1]
    config = unet_config(base, width, head_channels)
    with torch.device("meta"):
        model = UNet2DConditionModel(**config)
    return Network(
        model, _traced(shapes, _below(shapes, UNET), convert_ldm_unet_checkpoint, config)
    )


def _controlnet(shapes: Shapes, unet: torch.nn.Module) -> Network:
    assert isinstance(unet, UNet2DConditionModel)
    latents = unet.config["in_channels"]
    with torch.device("meta"):
        model = LatentControlNetModel.from_unet(
            unet, conditioning_channels=latents, load_weights_from_unet=False
        )
    config = {"layers_per_block": unet.config["layers_per_block"]}
    names = _below(shapes, CONTROLNET)
    sources = _traced(shapes, names, convert_controlnet_checkpoint, config)
    # One convolution over both inputs is the sum of one over each.
    sources["conv_in.weight"] = Source(INPUT_CONVOLUTION, channels=slice(latents))
    sources["condition_conv_in.weight"] = Source(INPUT_CONVOLUTION, channels=slice(latents, None))
    return Network(model, sources)


def _vae(shapes: Shapes) -> Network:
    base = shapes.get(VAE + "decoder.conv_out.weight", (3, 128))[1]
    config = vae_config(base)
    with torch.device("meta"):
        model = AutoencoderKL(**config)
    # The authors encode the picture by a second encoder, of equal weights; files may lack either.
    second = {
        VAE + name.removeprefix(CONDITION_ENCODER): name
        for name in _below(shapes, CONDITION_ENCODER)
    }
    first = {name: name for name in _below(shapes, VAE) if not (second and _is_of_encoder(name))}
    return Network(model, _traced(shapes, first | second, convert_ldm_vae_checkpoint, config))


def _is_of_encoder(name: str) -> bool:
    return name.startswith((VAE + "encoder.", VAE + "quant_conv."))


def _text(shapes: Shapes, head_channels: int) -> Network:
    """All layers but the last: what CCSR conditions on are the states before it."""
    numbers = _text_layers(shapes)
    length, width = shapes.get(TEXT + "positional_embedding", (77, 1024))
    with torch.device("meta"):
        model = CLIPTextModel(
            CLIPTextConfig(
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
        )
    sources = {
        "embeddings.token_embedding.weight": Source(TEXT + "token_embedding.weight"),
        "embeddings.position_embedding.weight": Source(TEXT + "positional_embedding"),
        "final_layer_norm.weight": Source(TEXT + "ln_final.weight"),
        "final_layer_norm.bias": Source(TEXT + "ln_final.bias"),
    }
    for number in numbers[:-1]:
        old, new = f"{TEXT_BLOCKS}{number}.", f"encoder.layers.{number}."
        for kind in ("weight", "bias"):
            for part, name in enumerate("qkv"):
                rows = slice(part * width, (part + 1) * width)
                source = Source(f"{old}attn.in_proj_{kind}", rows)
                sources[f"{new}self_attn.{name}_proj.{kind}"] = source
            for before, after in TEXT_NAMES.items():
                sources[f"{new}{after}.{kind}"] = Source(f"{old}{before}.{kind}")
    return Network(model, sources)


def _text_layers(shapes: Shapes) -> list[int]:
    """Numbers of the text encoder's layers, rising."""
    blocks = _below(shapes, TEXT_BLOCKS)
    return sorted({int(name.removeprefix(TEXT_BLOCKS).partition(".")[0]) for name in blocks})


def _left_out(shapes: Shapes, used: Set[str]) -> dict[str, str]:
    """Names that are not converted, and why."""
    reasons: dict[str, str] = {}
    last = f"{TEXT_BLOCKS}{max(_text_layers(shapes), default=0)}."
    beginnings = LEFT_OUT | {last: "the states before the last layer are used"}
    for name in shapes:
        if name in used:
            continue
        reason = next((why for start, why in beginnings.items() if name.startswith(start)), None)
        if "." not in name:
            reason = "a buffer of the noise schedule, computed here"
        elif _is_of_encoder(name):
            reason = "cond_encoder has the encoder"
        if reason is not None:
            reasons[name] = reason
    return reasons


def _below(shapes: Shapes, prefix: str) -> dict[str, str]:
    """The names that begin so, each under itself."""
    return {name: name for name in shapes if name.startswith(prefix)}


def _traced(
    shapes: Shapes,
    names: Mapping[str, str],
    convert: Callable[..., dict[str, torch.Tensor | None]],
    config: Mapping[str, Any],
) -> dict[str, Source]:
    """Which weight a conversion of diffusers puts where.

    It is run on numbers instead of weights, each of as many dimensions as the weight.

    Args:
        shapes: Of all weights.
        names: What the conversion shall take for which weight.
        convert: The conversion.
        config: Of the network it is for.
    """
    order = list(names.values())
    numbers = {
        name: torch.full((1,) * len(shapes[weight]), number)
        for number, (name, weight) in enumerate(names.items())
    }
    converted = convert(numbers, config=config)
    return {
        name: Source(order[int(number)]) for name, number in converted.items() if number is not None
    }


def _wrong(part: str, network: Network, shapes: Shapes) -> list[str]:
    """What is missing of a network or has another shape."""
    problems = []
    for name, shape in _shapes(network.model).items():
        source = network.sources.get(name)
        if source is None and name in MADE_HERE:
            continue
        if source is None or source.name not in shapes:
            lacking = source.name if source else f"what becomes {name} of {part}"
            problems.append(f"missing: {lacking}")
            continue
        found = shapes[source.name]
        taken = tuple(source.take(torch.empty(found, device="meta")).shape)
        # Attention of the autoencoder is written as a 1x1 convolution there.
        if _without_ones(taken) != _without_ones(shape):
            problems.append(f"wrong shape: {source.name} {list(found)}, expected {list(shape)}")
    return problems


def _without_ones(shape: Sequence[int]) -> tuple[int, ...]:
    return tuple(shape[:2]) if tuple(shape[2:]) == (1, 1) else tuple(shape)


def _shapes(model: torch.nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(weight.shape) for name, weight in model.state_dict().items()}
