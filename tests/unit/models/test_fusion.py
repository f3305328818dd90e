"""Fused blocks give what diffusers' blocks give, and are saved as these."""

import copy
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderDC
from diffusers.models.autoencoders.autoencoder_dc import DCDownBlock2d, DCUpBlock2d, ResBlock
from diffusers.models.normalization import RMSNorm
from torch import nn

from ccsr.models.fusion import (
    FusedDownBlock,
    FusedResBlock,
    FusedRMSNorm,
    FusedUpBlock,
    fuse_autoencoder,
    fuse_down_block,
    fuse_rms_norms,
    fuse_up_block,
)


@pytest.fixture
def norm() -> RMSNorm:
    torch.manual_seed(0)
    norm = RMSNorm(48, eps=1e-5, bias=True)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    return norm


def fused(norm: RMSNorm) -> FusedRMSNorm:
    """A fused copy."""
    norm = copy.deepcopy(norm)
    fuse_rms_norms(norm)
    assert isinstance(norm, FusedRMSNorm)
    return norm


@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [(torch.float32, 2e-6), (torch.bfloat16, 0.02), (torch.float16, 0.002)],
)
def test_agrees_with_diffusers(norm: RMSNorm, dtype: torch.dtype, tolerance: float) -> None:
    x = (3 * torch.randn(2, 5, 7, 48)).to(dtype)
    expected = norm(x.float())
    found = fused(norm).to(dtype)(x)
    assert found.dtype == dtype
    assert (found.float() - expected).norm() <= tolerance * expected.norm()


def test_float16_does_not_overflow(norm: RMSNorm) -> None:
    found = fused(norm).half()(torch.full((1, 1, 1, 48), 1000.0).half())
    assert torch.allclose(found.float(), (norm.weight + norm.bias).float(), atol=0.01)


def test_gradients_agree(norm: RMSNorm) -> None:
    x = torch.randn(1, 4, 4, 48, requires_grad=True)
    weights = torch.randn(1, 4, 4, 48)
    expected, found = (
        torch.autograd.grad((kind(x) * weights).sum(), (x, kind.weight, kind.bias))
        for kind in (norm, fused(norm))
    )
    for one, other in zip(found, expected, strict=True):
        assert torch.allclose(one, other, atol=1e-5)


def autoencoder(**others: object) -> AutoencoderDC:
    """A tiny one of the compact model's kind, with norms that do something."""
    torch.manual_seed(0)
    kind = {
        "encoder_block_types": "ResBlock",
        "decoder_block_types": "ResBlock",
        "downsample_block_type": "pixel_unshuffle",
    }
    vae = AutoencoderDC(
        latent_channels=4,
        encoder_block_out_channels=(4, 8, 32),
        decoder_block_out_channels=(4, 8, 32),
        encoder_layers_per_block=(0, 1, 1),
        decoder_layers_per_block=(0, 1, 2),
        encoder_qkv_multiscales=((), (), ()),
        decoder_qkv_multiscales=((), (), ()),
        **{**kind, **others},
    ).eval()
    for module in vae.modules():
        if isinstance(module, RMSNorm):
            nn.init.normal_(module.weight)
            nn.init.normal_(module.bias)
    return vae


def both_ways(vae: AutoencoderDC) -> list[torch.Tensor]:
    """What it makes of a picture and of a latent."""
    generator = torch.Generator().manual_seed(1)
    picture = torch.randn(2, 3, 24, 16, generator=generator)
    latent = torch.randn(2, 4, 6, 4, generator=generator)
    with torch.no_grad():
        pixels, latents = picture.to(vae.dtype), latent.to(vae.dtype)
        return [vae.encode(pixels).latent, vae.decode(latents).sample]


def test_norms_fused_for_training_keep_weights_and_results() -> None:
    vae = autoencoder()
    names, expected = set(vae.state_dict()), both_ways(vae)
    fuse_rms_norms(vae)
    assert set(vae.state_dict()) == names
    assert any(isinstance(module, FusedRMSNorm) for module in vae.decoder.modules())
    for one, other in zip(both_ways(vae), expected, strict=True):
        assert torch.allclose(one, other, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_fused_autoencoder_is_as_accurate_in_half_the_precision(dtype: torch.dtype) -> None:
    exact, plain, fused = autoencoder(), autoencoder().to(dtype), autoencoder().to(dtype)
    fuse_autoencoder(fused)
    fused.to(memory_format=torch.channels_last)
    for true, one, other in zip(*map(both_ways, (exact, plain, fused)), strict=True):
        errors = [(x.float() - true).norm() / true.norm() for x in (one, other)]
        assert errors[1] < 1.5 * errors[0]


def test_fused_autoencoder_is_saved_as_it_was_loaded(tmp_path: Path) -> None:
    vae = autoencoder()
    loaded, expected = copy.deepcopy(vae.state_dict()), both_ways(vae)
    fuse_autoencoder(vae)
    vae.to(memory_format=torch.channels_last)
    assert vae.state_dict().keys() == loaded.keys()
    vae.save_pretrained(tmp_path)
    again = AutoencoderDC.from_pretrained(tmp_path)
    assert {DCUpBlock2d, FusedUpBlock} & {type(m) for m in again.modules()} == {DCUpBlock2d}
    found = again.state_dict()
    assert found.keys() == loaded.keys()
    assert all(torch.equal(found[name], loaded[name]) for name in loaded)
    assert all(torch.equal(*results) for results in zip(both_ways(again), expected, strict=True))


def test_fused_autoencoder_gives_the_same() -> None:
    vae = autoencoder()
    expected = both_ways(vae)
    fuse_autoencoder(vae)
    for one, other in zip(both_ways(vae), expected, strict=True):
        assert (one - other).norm() <= 1e-5 * other.norm()
    kinds = {type(module) for module in vae.modules()}
    assert {FusedRMSNorm, FusedResBlock, FusedDownBlock, FusedUpBlock} <= kinds
    assert not {DCDownBlock2d, DCUpBlock2d, ResBlock, RMSNorm} & kinds
    fuse_autoencoder(vae)  # one that two variants share
    assert torch.equal(both_ways(vae)[1], one)


def test_blocks_of_other_kinds_are_left_alone() -> None:
    vae = autoencoder(
        downsample_block_type="conv", upsample_block_type="interpolate", decoder_act_fns="relu"
    )
    expected = both_ways(vae)
    fuse_autoencoder(vae)
    kinds = {type(module) for module in vae.decoder.modules()}
    assert {DCUpBlock2d, ResBlock} <= kinds
    for one, other in zip(both_ways(vae), expected, strict=True):
        assert torch.allclose(one, other, atol=1e-5)


@pytest.mark.parametrize("shortcut", [True, False])
@pytest.mark.parametrize(("inputs", "outputs"), [(8, 8), (8, 16), (8, 32), (16, 8)])
@torch.no_grad()
def test_one_convolution_does_the_work_of_two(inputs: int, outputs: int, shortcut: bool) -> None:
    torch.manual_seed(0)
    down = DCDownBlock2d(inputs, outputs, downsample=True, shortcut=shortcut)
    up = DCUpBlock2d(inputs, outputs, shortcut=shortcut)
    x = torch.randn(1, inputs, 6, 10)
    expected = [down(x), up(x)]
    weights = [block.conv.weight.clone() for block in (down, up)]
    fuse_down_block(down)
    fuse_up_block(up)
    for block, result, weight in zip((down, up), expected, weights, strict=True):
        assert torch.allclose(block(x), result, atol=1e-5)
        assert torch.equal(block.conv.weight, weight)


def test_residual_block_is_right_where_silu_is_clamped() -> None:
    torch.manual_seed(0)
    block = ResBlock(8, 8, "rms_norm", "silu").requires_grad_(False)
    fuse_rms_norms(block)
    x = 1000 * torch.randn(1, 8, 6, 6)
    expected = block(x)
    block.__class__ = FusedResBlock
    assert torch.allclose(block(x), expected, atol=1e-3)
