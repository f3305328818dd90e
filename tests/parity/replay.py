"""Replay a recorded run of the authors' implementation, and print how far ours is from it.

    python -m tests.parity.replay CASE_DIR --weights STATE_DICT

A case is a folder with `meta_<mode>.json` (settings, order of draws) and `trace_<mode>.safetensors`
(noises, text states, and everything that was computed). Exit status 1 beyond tolerance.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from ccsr.config import TilingConfig
from ccsr.conversion.checkpoint import Checkpoint
from ccsr.conversion.v1 import plan_v1
from ccsr.diffusion.sampler import Predict, sample
from ccsr.diffusion.scheduler import NonUniformScheduler
from ccsr.diffusion.timesteps import non_uniform_plan
from ccsr.images.color import aligner
from ccsr.inference.pipeline import CCSRPipeline
from ccsr.models.autoencoder import decode, encode
from ccsr.models.denoiser import Features
from ccsr.models.prompt_embeds import EmptyPrompt, PromptEmbeds
from ccsr.models.sd21 import HEAD_CHANNELS
from ccsr.models.tiling import Window, blended, windows

TOLERANCES = {"dec": 1e-4, "final_rgb": 1e-4, "final_uint8": 1.0}
"""Of these the largest absolute difference counts, of all else the relative one."""
RELATIVE = 5e-5
EVERYTHING: Window = (slice(None), slice(None))


@dataclass(frozen=True)
class Difference:
    """How far one quantity is off."""

    name: str
    found: float

    @property
    def tolerance(self) -> float:
        """What is allowed."""
        return TOLERANCES.get(self.name, RELATIVE)


def main(arguments: Sequence[str] | None = None) -> int:
    """Replay all modes of a case that were recorded."""
    parser = argparse.ArgumentParser(prog="python -m tests.parity.replay", description=__doc__)
    parser.add_argument("case", type=Path, metavar="CASE_DIR")
    parser.add_argument("--weights", type=Path, required=True, metavar="STATE_DICT")
    options = parser.parse_args(arguments)
    metas = sorted(options.case.glob("meta_*.json"))
    if not metas:
        print(f"error: {options.case} holds no meta_*.json", file=sys.stderr)
        return 2
    status = 0
    for meta_path in metas:
        meta = json.loads(meta_path.read_text())
        trace = load_file(options.case / f"trace_{meta['mode']}.safetensors")
        for difference in replay(pipeline_of(options.weights, meta), meta, trace):
            beyond = difference.found > difference.tolerance
            status = 1 if beyond else status
            remark = f", beyond {difference.tolerance:.0e}" if beyond else ""
            print(f"{meta['mode']} {difference.name}: {difference.found:.2e}{remark}")
    return status


def pipeline_of(weights: Path, meta: dict[str, Any]) -> CCSRPipeline:
    """The pipeline of a recorded state dict, in float32."""
    checkpoint = Checkpoint(weights)
    head_channels = meta.get("reduced_size", {}).get("num_head_channels", HEAD_CHANNELS)
    plan = plan_v1(checkpoint.shapes, head_channels)
    parts: dict[str, Any] = {
        name: network.load(checkpoint, torch.float32) for name, network in plan.networks.items()
    }
    # The text states are those of the trace.
    prompt = EmptyPrompt(width=parts["unet"].config["cross_attention_dim"])
    return CCSRPipeline(
        scheduler=NonUniformScheduler(loop_start="official"), empty_prompt=prompt, **parts
    )


@torch.no_grad()
def replay(
    pipeline: CCSRPipeline, meta: dict[str, Any], trace: dict[str, torch.Tensor]
) -> Iterator[Difference]:
    """Run with the recorded noises and text states; the differences of every quantity."""
    settings, tiled = meta["settings"], meta["mode"] != "plain"
    latent = encode(pipeline.vae, trace["cond_img"])
    yield Difference("cond_latent", relative(latent, trace["cond_latent"]))

    tiling = TilingConfig(
        tile=settings["tile_size"] // 8, stride=settings["tile_stride"] // 8, weights="official"
    )
    pieces = windows(*latent.shape[2:], tiling)
    features = features_in(pipeline, trace["cond_img"], pieces[0] if tiled else EVERYTHING)
    x, t = trace["net_000_x"], meta["network_call_timesteps"][0]
    down, middle = pipeline.controlnet(
        x, t, trace["context"], controlnet_cond=features, return_dict=False
    )
    for number, residual in enumerate([*down, middle]):
        name = f"control_{number:02d}"
        yield Difference(name, relative(settings["strength"] * residual, trace[name]))

    text = PromptEmbeds(trace["context"], trace.get("uncond_context"), settings["cfg_scale"])

    def network(window: Window) -> Predict:
        features = features_in(pipeline, trace["cond_img"], window)
        return pipeline.denoiser.predictor(features, text, settings["strength"])

    predict = blended(network, *latent.shape[2:], tiling) if tiled else network(EVERYTHING)
    plan = non_uniform_plan(
        settings["steps"], settings["t_max"], settings["t_min"], pipeline.scheduler.loop_start
    )
    draws = [trace[name] for name in meta["draws"]]
    if not tiled:
        # The authors' code draws a noise in the jump that it does not use.
        del draws[1]
    predictions: list[torch.Tensor] = []

    def recorded(x_t: torch.Tensor, t: int) -> torch.Tensor:
        predictions.append(predict(x_t, t))
        return predictions[-1]

    steps = sample(recorded, pipeline.scheduler, plan, lambda draw, _: draws[draw], latent.shape)
    x0_hat = latent
    for number, step in enumerate(steps):
        x0_hat = step.x0_hat
        yield Difference(
            f"step_{number:03d}_eps", relative(predictions[-1], trace[f"step_{number:03d}_eps"])
        )
        yield Difference(f"step_{number:03d}_x0", relative(x0_hat, trace[f"step_{number:03d}_x0"]))

    decoded = decode(pipeline.vae, x0_hat)
    yield Difference("dec", largest(2 * decoded - 1, trace["dec_out_00"]))
    final = aligner(trace["cond_img"], settings["color_fix_type"])(decoded)
    yield Difference("final_rgb", largest(final, trace["final_rgb"]))
    levels = (final.clamp(0, 1) * 255).round()[0].permute(1, 2, 0)
    yield Difference("final_uint8", largest(levels, trace["final_uint8_hwc"].float()))


def features_in(pipeline: CCSRPipeline, cond_img: torch.Tensor, window: Window) -> Features:
    """Condition features of a piece, encoded by itself, as the authors' code does it."""
    rows, columns = (slice(*(8 * at if at else at for at in (s.start, s.stop))) for s in window)
    latent = encode(pipeline.vae, cond_img[..., rows, columns])
    return pipeline.denoiser.features(latent)


def largest(found: torch.Tensor, expected: torch.Tensor) -> float:
    """Largest absolute difference."""
    return float((found - expected).abs().max())


def relative(found: torch.Tensor, expected: torch.Tensor) -> float:
    """Largest difference, relative to the largest value."""
    return largest(found, expected) / float(expected.abs().max())


if __name__ == "__main__":
    sys.exit(main())
