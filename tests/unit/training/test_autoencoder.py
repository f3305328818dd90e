from pathlib import Path

import pytest
import torch

from ccsr.models.autoencoder import decode
from tests.tiny import tiny_vae
from training.autoencoder import (
    ReconstructionLosses,
    build_autoencoder,
    load_autoencoder,
    stage2_autoencoder,
)
from training.config import AutoencoderConfig, LoopConfig
from training.draws import Draws

LOOP = LoopConfig(max_steps=1, batch_size=1, learning_rate=1e-3, crop_px=64, warmup_steps=0)


def losses_of(trained: str, progress: float, **others: float) -> dict[str, torch.Tensor]:
    config = AutoencoderConfig(
        loop=LOOP,
        trained=trained,  # type: ignore[arg-type]
        encoder_block_out_channels=(8, 8, 16),
        decoder_block_out_channels=(8, 8, 16),
        decoder_layers_per_block=(1, 1, 1),
        perceptual_from=0.5,
        **others,  # type: ignore[arg-type]
    )
    torch.manual_seed(0)
    module = ReconstructionLosses(build_autoencoder(config), config)
    batch = {"hr": torch.rand(1, 3, 64, 64)}
    losses = module(batch, progress, Draws(0, 0, range(1), 1))
    losses["loss"].backward()
    trained_parts = {
        name.partition(".")[0]
        for name, parameter in module.autoencoder.named_parameters()
        if parameter.grad is not None
    }
    assert trained_parts == ({"encoder", "decoder"} if trained == "both" else {"decoder"})
    return losses


def test_kl_keeps_the_scale_of_latents_where_the_encoder_is_trained() -> None:
    light, heavy = (losses_of("both", 0.0, kl_weight=weight) for weight in (0.5, 2.0))
    assert float((heavy["loss"] - light["loss"]).detach()) == pytest.approx(
        1.5 * float(light["kl"].detach()), rel=1e-4
    )
    assert float(light["kl"].detach()) > 0
    assert "kl" not in losses_of("decoder", 0.0)


def test_perceptual_distance_joins_at_its_share_of_the_run() -> None:
    assert "lpips" not in losses_of("decoder", 0.49, perceptual_weight=2.0)
    losses = losses_of("decoder", 0.5, perceptual_weight=2.0)
    expected = float((losses["l1"] + 2 * losses["lpips"]).detach())
    assert float(losses["loss"].detach()) == pytest.approx(expected)


@torch.no_grad()
def test_a_new_lr_branch_changes_nothing_before_it_is_trained() -> None:
    vae = tiny_vae("compact")
    with_branch = stage2_autoencoder(vae, 2, None)
    latents, lr_up = torch.randn(1, 4, 6, 6), torch.rand(1, 3, 48, 48)
    assert with_branch.reads_lr
    torch.testing.assert_close(decode(with_branch, latents, lr_up=lr_up), decode(vae, latents))


@torch.no_grad()
def test_another_padding_changes_the_border_alone() -> None:
    vae = tiny_vae("compact")
    padded = stage2_autoencoder(vae, 0, "replicate")
    assert padded.config["decoder_padding_mode"] == "replicate"
    latents = torch.randn(1, 4, 24, 24)
    difference = (decode(padded, latents) - decode(vae, latents)).abs().amax((0, 1))
    assert difference[80:-80, 80:-80].max() < 1e-6
    assert difference[:8].max() > 1e-3


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("[]", r"config\.json holds no JSON object"),
        ("[" * 100_000, r"config\.json is no JSON"),
        ("{}", "holds None, not a CompactAutoencoder or AutoencoderKL"),
    ],
)
def test_damaged_config_is_refused(config: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(config)
    with pytest.raises(ValueError, match=message):
        load_autoencoder(tmp_path)
