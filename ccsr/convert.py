"""The authors' v1 checkpoint -> a model folder.

The checkpoint is one file with all networks, under the names of the classes they were written with.
Which weight goes where is decided from names and shapes alone, before any weight is read, and every
name is accounted for: converted, left out for a reason, or reported.
"""

import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, ModelMixin, UNet2DConditionModel
from diffusers.loaders.single_file_utils import (
    convert_controlnet_checkpoint,
    convert_ldm_unet_checkpoint,
    convert_ldm_vae_checkpoint,
)
from safetensors import SafetensorError, safe_open
from transformers import CLIPTextConfig, CLIPTextModel

from ccsr.controlnet import LatentControlNetModel
from ccsr.pipeline import CCSRPipeline
from ccsr.prompt import EmptyPrompt
from ccsr.schedule import NonUniformScheduler

HEAD_CHANNELS = 64
"""Channels of an attention head of Stable Diffusion 2.1; weights do not tell."""
SCALING_FACTOR = 0.18215
EMPTY_PROMPT = (49406, 49407)
"""Token ids of the empty prompt: start and end, then zeros."""
SHARD_SIZE = "1GB"

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
"""Weights that no checkpoint has: zero, for the bias is with the other half of the convolution."""
MAX_NAMED = 20
"""Names that a message lists at most."""

Shapes = Mapping[str, tuple[int, ...]]


class CheckpointError(ValueError):
    """A file is not the checkpoint that it should be."""


@dataclass(frozen=True)
class Source:
    """Where a weight comes from."""

    name: str
    """Its name in the checkpoint."""
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


class Checkpoint(Mapping[str, torch.Tensor]):
    """The weights of a file by name, each read when it is asked for.

    Args:
        path: A .safetensors file, or a .ckpt or .pt file, which is read as weights only.

    Raises:
        CheckpointError: If it is no such file.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise CheckpointError(f"{path} is not there; give the authors' .ckpt or .safetensors")
        try:
            self._read, shapes = _opened(path)
        except pickle.UnpicklingError as error:
            raise CheckpointError(
                f"{path} holds other objects than weights, and is not opened: they could run code; "
                "save its state_dict alone, or give a .safetensors file"
            ) from error
        except (SafetensorError, RuntimeError, EOFError, ValueError) as error:
            reason = str(error).strip().partition("\n")[0]
            raise CheckpointError(
                f"{path} cannot be read as a checkpoint ({reason}); it may be incomplete"
            ) from error
        # Distributed training puts a prefix before all names.
        self._names = {name.removeprefix("module."): name for name in shapes}
        self.shapes: Shapes = {name: shapes[old] for name, old in self._names.items()}

    def __getitem__(self, name: str) -> torch.Tensor:
        return self._read(self._names[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def _opened(path: Path) -> tuple[Callable[[str], torch.Tensor], dict[str, tuple[int, ...]]]:
    """How to read a weight of a file, and the shapes of all."""
    if path.suffix == ".safetensors":
        file = safe_open(path, "pt")
        names = file.keys()
        return file.get_tensor, {k: tuple(file.get_slice(k).get_shape()) for k in names}
    # Mapped into memory: what is not asked for is not read.
    tree = torch.load(path, map_location="cpu", mmap=True, weights_only=True)
    weights = tree.get("state_dict", tree) if isinstance(tree, dict) else {}
    tensors = {name: w for name, w in weights.items() if isinstance(w, torch.Tensor)}
    if not tensors:
        raise ValueError("it holds no weights")
    return tensors.__getitem__, {name: tuple(w.shape) for name, w in tensors.items()}


def convert(path: Path, output: Path, *, keep_text_encoder: bool = False) -> Plan:
    """Write a model folder of the weights in a checkpoint, in float16.

    Args:
        path: The authors' v1 checkpoint, of stage 1 or 2.
        output: The folder to make.
        keep_text_encoder: Write the text encoder too, not just its states of the empty prompt.

    Returns:
        What was converted and what was left out.

    Raises:
        CheckpointError: If the file is not such a checkpoint; nothing is written then.
        FileExistsError: If there is a model already.
    """
    if (output / "model_index.json").exists():
        raise FileExistsError(f"{output} holds a model; move it away or give another folder")
    checkpoint = Checkpoint(path)
    plan = plan_conversion(checkpoint.shapes)
    text = load(plan.text, checkpoint, torch.float32)
    assert isinstance(text, CLIPTextModel)
    prompt = empty_prompt(text)
    prompt.save_pretrained(output / "empty_prompt")
    if keep_text_encoder:
        text.half().save_pretrained(output / "text_encoder", max_shard_size=SHARD_SIZE)
    # One network at a time is in memory.
    text.to_empty(device="meta")
    for folder, network in plan.networks.items():
        model = load(network, checkpoint, torch.float16)
        assert isinstance(model, ModelMixin)
        model.save_pretrained(output / folder, max_shard_size=SHARD_SIZE)
        model.to_empty(device="meta")
    NonUniformScheduler().save_pretrained(output / "scheduler")
    # Last, so that a folder that was not finished is not taken for a model.
    write_index(plan, prompt, output)
    return plan


def plan_conversion(shapes: Shapes, head_channels: int = HEAD_CHANNELS) -> Plan:
    """Decide where every weight goes.

    Args:
        shapes: The shape of every weight in the checkpoint.
        head_channels: Channels of an attention head.

    Raises:
        CheckpointError: If a weight is missing, unknown or of a wrong shape; the message names it.
    """
    _refuse_others(shapes)
    unet = _unet(shapes, head_channels)
    networks = {"unet": unet, "controlnet": _controlnet(shapes, unet.model), "vae": _vae(shapes)}
    text = _text(shapes, head_channels)
    parts = networks | {"text_encoder": text}
    used = {source.name for part in parts.values() for source in part.sources.values()}
    left_out = _left_out(shapes, used)
    problems = [problem for name, part in parts.items() for problem in _wrong(name, part, shapes)]
    problems += [f"unknown: {name}" for name in shapes if name not in used | left_out.keys()]
    if problems:
        more = len(problems) - MAX_NAMED
        listed = problems[:MAX_NAMED] + ([f"{more} more"] if more > 0 else [])
        raise CheckpointError("the weights are not those of CCSR v1: " + "; ".join(listed))
    return Plan(networks, text, left_out)


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
    length, width = text.config.max_position_embeddings, text.config.hidden_size
    tokens = torch.zeros(1, length, dtype=torch.long)
    tokens[0, : len(EMPTY_PROMPT)] = torch.tensor(EMPTY_PROMPT)
    prompt = EmptyPrompt(length, width)
    # A model that was built without weights has no positions of its own.
    positions = torch.arange(length)[None]
    prompt.states.copy_(text(tokens, position_ids=positions).last_hidden_state)
    return prompt


def write_index(plan: Plan, prompt: EmptyPrompt, output: Path) -> None:
    """Write the file that makes the folder a model; the networks may be without weights."""
    parts: dict[str, Any] = {name: network.model for name, network in plan.networks.items()}
    pipeline = CCSRPipeline(scheduler=NonUniformScheduler(), empty_prompt=prompt, **parts)
    pipeline.save_config(output)


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
    channels = tuple(base * factor for factor in (1, 2, 4, 4))
    width = shapes.get(
        UNET + "input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight", (0, 4 * base)
    )[1]
    config: dict[str, Any] = {
        "in_channels": 4,
        "out_channels": 4,
        "block_out_channels": channels,
        "down_block_types": ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
        "up_block_types": ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
        "layers_per_block": 2,
        "cross_attention_dim": width,
        # The number of heads, whatever diffusers calls it.
        "attention_head_dim": tuple(max(c // head_channels, 1) for c in channels),
        "use_linear_projection": True,
    }
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
    config: dict[str, Any] = {
        "down_block_types": ("DownEncoderBlock2D",) * 4,
        "up_block_types": ("UpDecoderBlock2D",) * 4,
        "block_out_channels": tuple(base * factor for factor in (1, 2, 4, 4)),
        "layers_per_block": 2,
        "latent_channels": 4,
        "scaling_factor": SCALING_FACTOR,
    }
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
                bos_token_id=EMPTY_PROMPT[0],
                eos_token_id=EMPTY_PROMPT[1],
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
        if source is None or source.name not in shapes:
            if name not in MADE_HERE:
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
