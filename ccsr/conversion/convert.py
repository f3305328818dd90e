"""The authors' weights -> a model folder in diffusers layout, in float16."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import ModelMixin
from transformers import CLIPTextModel, CLIPTokenizer

from ccsr.conversion.checkpoint import Checkpoint, CheckpointError, Components, Weights
from ccsr.conversion.plan import TEXT_ENCODER, ConversionPlan
from ccsr.conversion.v1 import plan_v1
from ccsr.conversion.v2 import find_components, places_of, plan_v2, scheduler_of
from ccsr.inference.hub import from_hub, write_custom_pipeline
from ccsr.inference.pipeline import CCSRPipeline
from ccsr.inference.weights import write_checksums
from ccsr.models.prompt_embeds import EMPTY_TOKENS, EmptyPrompt, embed_tokens
from ccsr.models.sd21 import WORKING_SIZE
from ccsr.whole_file import refuse_filled, whole_folder

SHARD_SIZE = "1GB"
TOKENIZER = "openai/clip-vit-large-patch14"
"""Repository of CLIP's tokenizer on the hub; checkpoints do not have it."""
TOKENIZER_FILES = ("tokenizer*.json", "vocab.json", "merges.txt", "special_tokens_map.json")


def convert(
    source: Path, output: Path, *, keep_text_encoder: bool = False, tokenizer: str = TOKENIZER
) -> ConversionPlan:
    """Write a model folder of the authors' weights, in float16.

    Args:
        source: The v1 checkpoint, of stage 1 or 2, or the folder of v2, see `find_components`.
        output: The folder to make.
        keep_text_encoder: Write the text encoder too, not just the embeddings of the empty prompt.
        tokenizer: Folder or hub repository of the text encoder's tokenizer, if `source` has none.

    Returns:
        What was converted and what was left out.

    Raises:
        CheckpointError: If the source is not what it should be; nothing is written then.
        FileExistsError: If there is something in the output folder already.
    """
    refuse_filled(output)
    plan, weights = _plan_and_weights(source)
    # Before anything is written, because it may be missing.
    clip_tokenizer = find_tokenizer(source, tokenizer) if keep_text_encoder else None
    with whole_folder(output) as folder:
        prompt = write_components(plan, weights, folder, tokenizer=clip_tokenizer)
        write_custom_pipeline(folder)
        _write_index(plan, prompt, folder, clip_tokenizer)
        write_checksums(folder)
    return plan


def write_components(
    plan: ConversionPlan,
    weights: Weights,
    output: Path,
    *,
    dtype: torch.dtype = torch.float16,
    tokenizer: CLIPTokenizer | None = None,
) -> EmptyPrompt:
    """Write the networks and the scheduler of a plan, each to its folder in `output`.

    The text encoder is written if there is a tokenizer. Without index they are no model yet.

    Returns:
        The embeddings of the empty prompt, which are written too.
    """
    prompt = _write_text_encoder(plan, weights, output, tokenizer)
    for folder, network in plan.networks.items():
        model = network.load(weights, dtype)
        assert isinstance(model, ModelMixin)
        model.save_pretrained(output / folder, max_shard_size=SHARD_SIZE)
        # Only one network at a time is in memory.
        model.to_empty(device="meta")
    plan.scheduler.save_pretrained(output / "scheduler")
    return prompt


def _plan_and_weights(source: Path) -> tuple[ConversionPlan, Weights]:
    """Of a v2 folder or a v1 checkpoint."""
    if not source.is_dir():
        checkpoint = Checkpoint(source)
        return plan_v1(checkpoint.shapes), checkpoint
    folders = find_components(source)
    components = Components(folders)
    return plan_v2(folders, components.shapes, scheduler_of(source)), components


def find_tokenizer(source: Path, name: str) -> CLIPTokenizer:
    """The tokenizer in a folder of v2, or else in the folder or hub repository of that name.

    Raises:
        CheckpointError: If there is none, or it is not CLIP's.
    """
    places = places_of(source, "tokenizer") if source.is_dir() else []
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


def _write_text_encoder(
    plan: ConversionPlan,
    weights: Mapping[str, torch.Tensor],
    output: Path,
    tokenizer: CLIPTokenizer | None,
) -> EmptyPrompt:
    """Write the embeddings of the empty prompt, and with a tokenizer the text encoder too."""
    encoder = plan.text_encoder.load(weights, torch.float32)
    assert isinstance(encoder, CLIPTextModel)
    prompt = EmptyPrompt(encoder.config.max_position_embeddings, encoder.config.hidden_size)
    prompt.load_state_dict({"states": embed_tokens(encoder, EMPTY_TOKENS)})
    prompt.save_pretrained(output / "empty_prompt")
    if tokenizer is not None:
        encoder.half().save_pretrained(output / TEXT_ENCODER, max_shard_size=SHARD_SIZE)
        tokenizer.save_pretrained(output / "tokenizer")
    encoder.to_empty(device="meta")
    return prompt


def _write_index(
    plan: ConversionPlan, prompt: EmptyPrompt, output: Path, tokenizer: CLIPTokenizer | None
) -> None:
    """Write `model_index.json`; the networks may be without weights."""
    parts: dict[str, Any] = {name: network.model for name, network in plan.networks.items()}
    if tokenizer is not None:
        parts |= {TEXT_ENCODER: plan.text_encoder.model, "tokenizer": tokenizer}
    pipeline = CCSRPipeline(
        scheduler=plan.scheduler, empty_prompt=prompt, working_size=WORKING_SIZE, **parts
    )
    pipeline.save_config(output)
