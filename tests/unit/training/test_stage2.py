import pytest
import torch
from torch import nn

from tests.tiny import tiny_vae
from training.config import LoopConfig, PairsConfig, Stage2Config
from training.draws import Draws
from training.stage2 import (
    DecoderLosses,
    DiscriminatorLosses,
    build_discriminator,
    gradient_of,
)

LOOP = LoopConfig(max_steps=1, batch_size=2, learning_rate=1e-3, crop_px=64, warmup_steps=0)


def losses_of(**others: float) -> tuple[DecoderLosses, DiscriminatorLosses]:
    torch.manual_seed(0)
    config = Stage2Config(
        loop=LOOP,
        rollouts=PairsConfig(count=2),
        perceptual="alex",
        discriminator_channels=4,
        **others,  # type: ignore[arg-type]
    )
    discriminator = build_discriminator(config)
    decoder = DecoderLosses(tiny_vae("compact-lr"), discriminator, config)
    return decoder, DiscriminatorLosses(discriminator, decoder)


def batch() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    shapes = {
        "x0_hat": (2, 4, 8, 8),
        "hr_latent": (2, 4, 8, 8),
        "hr": (2, 3, 64, 64),
        "lr": (2, 3, 16, 16),
    }
    return {key: torch.rand(shape, generator=generator) for key, shape in shapes.items()}


def step(module: nn.Module, progress: float, **changed: torch.Tensor) -> dict[str, torch.Tensor]:
    return module(batch() | changed, progress, Draws(0, 0, range(2), 2))


@pytest.mark.parametrize(
    ("share", "read", "unread"), [(0.0, "x0_hat", "hr_latent"), (1.0, "hr_latent", "x0_hat")]
)
def test_share_of_true_latents_is_decoded_in_place_of_estimates(
    share: float, read: str, unread: str
) -> None:
    decoder, _ = losses_of(true_latents=share)
    l1 = step(decoder, 0.0)["l1"]
    zeros = torch.zeros(2, 4, 8, 8)
    assert torch.equal(step(decoder, 0.0, **{unread: zeros})["l1"], l1)
    assert not torch.equal(step(decoder, 0.0, **{read: zeros})["l1"], l1)


def test_decoder_is_given_the_lr_picture() -> None:
    decoder, _ = losses_of()
    lr = torch.zeros(2, 3, 16, 16)
    assert not torch.equal(step(decoder, 0.0, lr=lr)["l1"], step(decoder, 0.0)["l1"])


def test_distance_and_discriminator_join_at_their_shares_of_the_run() -> None:
    decoder, discriminator = losses_of(perceptual_from=0.3, adversarial_from=0.6)
    found = [
        (step(decoder, progress).keys(), step(discriminator, progress).keys())
        for progress in (0.29, 0.3, 0.6)
    ]
    alone = {"l1", "loss"}
    assert found[0] == (alone, set())
    assert found[1] == (alone | {"perceptual"}, set())
    assert found[2] == (alone | {"perceptual", "logits", "weight"}, {"loss"})


def test_decoder_of_stable_diffusion_is_trained_with_the_convolution_before_it() -> None:
    config = Stage2Config(loop=LOOP, rollouts=PairsConfig(count=2), perceptual="alex")
    vae = tiny_vae("kl")
    decoder = DecoderLosses(vae, build_discriminator(config), config)
    trained = {name.split(".")[1] for name, p in decoder.named_parameters() if p.requires_grad}
    assert trained == {"decoder", "post_quant_conv"}
    decoder(batch(), 0.0, Draws(0, 0, range(2), 2))["loss"].backward()
    assert vae.post_quant_conv.weight.grad.abs().max() > 0  # type: ignore[union-attr]


def test_gradients_below_the_range_of_float16_reach_the_picture() -> None:
    """As of a mean over the pixels of large crops, whose networks compute in float16."""
    sr = torch.ones(1, 3, 2, 2, requires_grad=True)
    loss = (sr.half().float() * 2.0**-26).sum()
    assert not torch.autograd.grad(loss, sr, retain_graph=True)[0].any()
    assert torch.equal(gradient_of(loss, sr), torch.full_like(sr, 2.0**-26))
