"""Replay recorded losses and gradients of the authors' training; print how far ours are from them.

    python -m tests.parity.replay_training STAGE1_DIR STAGE2_DIR --weights STATE_DICT

A folder holds `losses_stage<N>.json` and `losses_stage<N>.safetensors`: noises, latents, text
states, in- and outputs of networks, and gradients. Exit status 1 beyond tolerance.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from ccsr.conversion.checkpoint import Checkpoint
from ccsr.conversion.plan import Network
from ccsr.conversion.v1 import plan_v1
from ccsr.diffusion.sampler import sample
from ccsr.diffusion.scheduler import NonUniformScheduler
from ccsr.diffusion.timesteps import non_uniform_plan
from ccsr.models.denoiser import Denoiser
from ccsr.models.prompt_embeds import EmptyPrompt
from tests.parity.recorded import replayed
from training.config import LoopConfig, PairsConfig, Stage1Config, Stage2Config
from training.draws import Draws
from training.latent_cache import reused_in_jump
from training.stage1 import official_stage1_losses
from training.stage2 import DecoderLosses, build_discriminator

TOLERANCE = 1e-4
"""Relative to the largest value."""
LOOP = LoopConfig(max_steps=1, batch_size=2, learning_rate=1e-4, crop_px=64, warmup_steps=0)
PAIRS = PairsConfig(count=2)
Differences = Iterator[tuple[str, float]]


def main(arguments: Sequence[str] | None = None) -> int:
    """Replay all folders."""
    parser = argparse.ArgumentParser(prog="python -m tests.parity.replay_training")
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--weights", type=Path, required=True, metavar="STATE_DICT")
    parser.add_argument("--head-channels", type=int, default=16, help="default: %(default)s")
    options = parser.parse_args(arguments)
    checkpoint = Checkpoint(options.weights)
    networks = plan_v1(checkpoint.shapes, options.head_channels).networks
    for network in networks.values():
        network.load(checkpoint, torch.float32)
    status = 0
    for folder in options.folders:
        (path,) = folder.glob("losses_stage*.json")
        meta = json.loads(path.read_text())
        recorded = load_file(path.with_suffix(".safetensors"))
        replay = stage1 if meta["stage"] == 1 else stage2
        for name, found in replay(networks, meta["losses"], recorded):
            beyond = found > TOLERANCE
            status = 1 if beyond else status
            print(f"stage {meta['stage']} {name}: {found:.2e}{', beyond' if beyond else ''}")
    return status


def stage1(
    networks: Mapping[str, Network], losses: dict[str, Any], recorded: dict[str, torch.Tensor]
) -> Differences:
    """Losses and gradients of both optimisers."""
    controlnet = networks["controlnet"]
    prompt = EmptyPrompt(*recorded["context"].shape[1:])
    prompt.load_state_dict({"states": recorded["context"][:1]})
    unet: Any = networks["unet"].model
    denoiser = Denoiser(unet, controlnet.model, prompt)  # type: ignore[arg-type]
    denoiser.requires_grad_(False)
    config = Stage1Config(loop=LOOP, pairs=PAIRS, trained="controlnet")
    controlnet.model.requires_grad_(True)
    modules = official_stage1_losses(denoiser, NonUniformScheduler(), config)
    expected = (
        {"loss": losses["opt0"]["total"]},
        {
            "l_T": losses["opt1"]["train/loss_x0"],
            "l_t_max": losses["opt1"]["train/loss_x0_from_tao"],
            "l_noise_t_max": losses["opt1"]["train/loss_noise_from_tao"],
            "loss": losses["opt1"]["total"],
        },
    )
    noises = iter([recorded[f"noise_{number:03d}"] for number in range(3)])
    batch = {"hr_latent": recorded["x_start"], "lr_latent": recorded["hint"]}
    for number, module in enumerate(modules.values()):
        controlnet.model.zero_grad()
        found = module(batch, 0.0, RecordedDraws(noises))
        found["loss"].backward()
        for name, value in expected[number].items():
            yield f"optimiser {number} {name}", abs(float(found[name].detach()) / value - 1)
        prefix = f"grad_opt{number}."
        for key in recorded:
            if key.startswith(prefix):
                name = key.removeprefix(prefix)
                gradient = _gradient_of(controlnet, f"control_model.{name}")
                yield f"optimiser {number} gradient of {name}", relative(gradient, recorded[key])


class RecordedDraws(Draws):
    """The recorded timesteps and noises in place of drawn ones."""

    def __init__(self, noises: Iterator[torch.Tensor]) -> None:
        super().__init__(seed=0, step=0, part=range(2), batch_size=2)
        self.noises = noises

    def normal(self, like: torch.Tensor) -> torch.Tensor:
        return next(self.noises)

    def timesteps(self, timesteps: range) -> torch.Tensor:
        return torch.tensor([120, 530])


def _gradient_of(network: Network, stored: str) -> torch.Tensor:
    """The gradient of a stored weight, which may have become several weights of the network."""
    weights = dict(network.model.named_parameters())
    parts = [
        (source.channels.start or 0 if source.channels else 0, weights[name].grad)
        for name, source in network.sources.items()
        if source.name == stored
    ]
    return (
        torch.cat([gradient for _, gradient in sorted(parts, key=lambda part: part[0])], 1)
        if len(parts) > 1
        else parts[0][1]
    )


def stage2(
    networks: Mapping[str, Network], losses: dict[str, Any], recorded: dict[str, torch.Tensor]
) -> Differences:
    """The roll-out with the recorded network, the decoder with ours, and its gradient of L1."""
    vae: Any = networks["vae"].model
    calls = [(recorded[f"net_{i:03d}_x"], recorded[f"net_{i:03d}_eps"]) for i in range(16)]
    scheduler = NonUniformScheduler(loop_start="official")
    plan = non_uniform_plan(45, 0.6667, 0.3333, scheduler.loop_start)
    start = recorded["x_start"]
    noise = reused_in_jump(lambda draw, _: recorded[f"noise_{draw:03d}"])
    *_, last = sample(replayed(calls), scheduler, plan, noise, start.shape, start=start)
    config = Stage2Config(
        loop=LOOP, rollouts=PAIRS, perceptual="alex", perceptual_from=1.0, adversarial_weight=0.0
    )
    decoder = DecoderLosses(vae, build_discriminator(config), config)
    difference = recorded["decoder_output"] - recorded["gt"]
    # Where it is near 0, rounding decides on the sign, which is the gradient of L1.
    near = difference.abs() < 1e-4
    hr = (recorded["gt"] - near * 1e-3 * difference.sign() + 1) / 2
    batch = {"x0_hat": last.x0_hat, "hr_latent": start, "hr": hr, "lr": hr[..., ::4, ::4]}
    found = decoder(batch, 0.0, RecordedDraws(iter(())))
    found["loss"].backward()
    assert decoder.sr is not None
    yield "decoded", float((2 * decoder.sr - 1 - recorded["decoder_output"]).abs().max())
    # The authors' pictures are in [-1,1], so that their L1 and its gradient are twice ours.
    yield "L1", abs(2 * float(found["l1"].detach()) / losses["opt0"]["total"] - 1)
    gradient = 2 * vae.decoder.conv_out.weight.grad
    name = "decoder.conv_out.weight"
    yield f"gradient of {name}", relative(gradient, recorded[f"grad.{name}"])


def relative(found: torch.Tensor, expected: torch.Tensor) -> float:
    """Largest difference, relative to the largest value."""
    return float((found - expected).abs().max() / expected.abs().max())


if __name__ == "__main__":
    sys.exit(main())
