"""The networks of a run as a model folder, in float16, which `--model` takes."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from diffusers import ConfigMixin
from torch import nn

from ccsr.config import SamplingConfig, Variant
from ccsr.conversion.convert import SHARD_SIZE
from ccsr.errors import InputError
from ccsr.inference.hub import OWN_COMPONENTS
from ccsr.inference.pipeline import CCSRPipeline
from ccsr.inference.weights import write_checksums
from ccsr.models.compact_autoencoder import COMPACT_BORDER, CompactAutoencoder
from ccsr.models.sd21 import WORKING_SIZE
from ccsr.whole_file import whole_folder, write_whole
from training.fingerprint import FINGERPRINT_FILE
from training.run import Run

ORIGIN_OF_MODEL = "training.json"
"""File of a model folder that says how the model was made."""
STEPS_OF: dict[Variant, tuple[str, str]] = {
    "ccsr": ("stage1", "stage2"),
    "v2": ("stage1", "autoencoder"),
    "v1": ("uniform", "autoencoder"),
}
"""Variant -> the steps that make its denoising network and its autoencoder."""


def finished_variants(run: Run) -> tuple[Variant, ...]:
    """The variants that there are networks of, the best first."""
    return tuple(v for v, steps in STEPS_OF.items() if all(run.has(step) for step in steps))


def export(run: Run, output: Path, variant: Variant | None = None) -> None:
    """Write a model folder in diffusers layout.

    Args:
        run: What was trained.
        output: A new folder.
        variant: Write this one alone. None: the best, and with "ccsr" also the others that there
            are, "v1" and "v2" in subfolders.

    Raises:
        FileExistsError: If there is something in `output`.
        InputError: If no variant is complete.
    """
    finished = finished_variants(run)
    if not finished:
        raise InputError(f"{run.folder} holds no trained networks; run the steps before export")
    main = finished[0] if variant is None else variant
    others = finished[1:] if variant is None and main == "ccsr" else ()
    with whole_folder(output) as folder:
        write_whole(folder / ORIGIN_OF_MODEL, _origin_of_model(run, (main, *others)))
        _pipeline(run, main).save_pretrained(folder, max_shard_size=SHARD_SIZE)
        for other in others:
            pipeline = _pipeline(run, other)
            for part, subfolder in OWN_COMPONENTS[other].items():
                if subfolder == other:
                    network = getattr(pipeline, part)
                    network.save_pretrained(folder / subfolder / part, max_shard_size=SHARD_SIZE)
        # Once more, with those of all variants.
        write_checksums(folder)


def _origin_of_model(run: Run, variants: Sequence[Variant]) -> str:
    """The recipe, and the SHA-256 of the fingerprint of every step of the run, as JSON."""
    files = sorted(run.folder.glob(f"*/{FINGERPRINT_FILE}"))
    digests = {file.parent.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
    recipe = run.recipe.model_dump(exclude_none=True)
    made = {"variants": ", ".join(variants), "recipe": recipe, "fingerprints": digests}
    return json.dumps(made, indent=1)


def _num_steps(run: Run) -> int:
    """The grid that stage 2 fine-tunes the decoder for, or that the model it starts from has."""
    if run.recipe.stage2 is not None:
        return run.recipe.stage2.num_steps
    return SamplingConfig().num_steps if run.origin is None else run.origin.num_steps


def _pipeline(run: Run, variant: Variant) -> CCSRPipeline:
    network_step, autoencoder_step = STEPS_OF[variant]
    denoiser, vae = run.denoiser(network_step), run.autoencoder(autoencoder_step)
    pipeline = CCSRPipeline(
        unet=denoiser.unet,
        controlnet=denoiser.controlnet,
        vae=vae,
        scheduler=run.scheduler(),
        empty_prompt=denoiser.empty_prompt,
        working_size=0 if isinstance(vae, CompactAutoencoder) else WORKING_SIZE,
        variant=variant,
        border=COMPACT_BORDER if isinstance(vae, CompactAutoencoder) else 0,
        num_steps=_num_steps(run),
    )
    for part in pipeline.components.values():
        if isinstance(part, ConfigMixin):
            # The path that a network was read from does not belong into what is published.
            part.register_to_config(_name_or_path="")
        if isinstance(part, nn.Module):
            # Not by diffusers' own method, which warns of modules to be kept in float32 though
            # there are none.
            nn.Module.half(part)
    return pipeline
