"""The quick blocks give what diffusers' give."""

from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderDC
from diffusers.models.autoencoders.autoencoder_dc import DCDownBlock2d, DCUpBlock2d, ResBlock
from diffusers.models.normalization import RMSNorm
from torch import nn

from ccsr.models.fusion import (
    QuickResBlock,
    QuickRMSNorm,
    Upsampling,
    downsampling,
    fuse,
    fuse_norms,
)


@pytest.fixture
def norm() -> RMSNorm:
    torch.manual_seed(0)
    norm = RMSNorm(48, eps=1e-5, bias=True)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    return norm


def quick(norm: RMSNorm) -> QuickRMSNorm:
    network = nn.Sequential(norm)
    fuse_norms(network)
    assert isinstance(network[0], QuickRMSNorm)
    return network[0]


@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [(torch.float32, 2e-6), (torch.bfloat16, 0.02), (torch.float16, 0.002)],
)
def test_agrees_with_diffusers(norm: RMSNorm, dtype: torch.dtype, tolerance: float) -> None:
    x = (3 * torch.randn(2, 5, 7, 48)).to(dtype)
    expected = norm(x.float())
    found = quick(norm).to(dtype)(x)
    assert found.dtype == dtype
    assert (found.float() - expected).norm() <= tolerance * expected.norm()


def test_float16_does_not_overflow(norm: RMSNorm) -> None:
    found = quick(norm).half()(torch.full((1, 1, 1, 48), 1000.0).half())
    assert torch.allclose(found.float(), (norm.weight + norm.bias).float(), atol=0.01)


def test_gradients_agree(norm: RMSNorm) -> None:
    x = torch.randn(1, 4, 4, 48, requires_grad=True)
    weights = torch.randn(1, 4, 4, 48)
    inputs = (x, norm.weight, norm.bias)
    expected = torch.autograd.grad((norm(x) * weights).sum(), inputs)
    found = torch.autograd.grad((quick(norm)(x) * weights).sum(), inputs)
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


def test_an_autoencoder_keeps_its_weights_and_its_results() -> None:
    vae = autoencoder()
    names, expected = set(vae.state_dict()), both_ways(vae)
    fuse_norms(vae)
    assert set(vae.state_dict()) == names
    assert any(isinstance(module, QuickRMSNorm) for module in vae.decoder.modules())
    for one, other in zip(both_ways(vae), expected, strict=True):
        assert torch.allclose(one, other, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_folded_autoencoder_is_as_good_in_half_the_precision(dtype: torch.dtype) -> None:
    exact, plain, folded = autoencoder(), autoencoder().to(dtype), autoencoder().to(dtype)
    fuse(folded)
    folded.to(memory_format=torch.channels_last)
    for true, one, other in zip(*map(both_ways, (exact, plain, folded)), strict=True):
        errors = [(x.float() - true).norm() / true.norm() for x in (one, other)]
        assert errors[1] < 1.5 * errors[0]


def test_a_folded_autoencoder_is_not_saved(tmp_path: Path) -> None:
    vae = autoencoder()
    fuse(vae)
    with pytest.raises(ValueError, match="cannot be saved"):
        vae.save_pretrained(tmp_path / "vae")
    assert not list(tmp_path.iterdir())


def test_a_folded_autoencoder_gives_the_same() -> None:
    vae = autoencoder()
    expected = both_ways(vae)
    fuse(vae)
    for one, other in zip(both_ways(vae), expected, strict=True):
        assert (one - other).norm() <= 1e-5 * other.norm()
    kinds = {type(module) for module in vae.modules()}
    assert {QuickRMSNorm, QuickResBlock, Upsampling} <= kinds
    assert not {DCDownBlock2d, DCUpBlock2d, ResBlock, RMSNorm} & kinds
    fuse(vae)  # one that two variants share
    assert torch.equal(both_ways(vae)[1], one)


def test_blocks_of_other_kinds_are_left_alone() -> None:
    vae = autoencoder(
        downsample_block_type="conv", upsample_block_type="interpolate", decoder_act_fns="relu"
    )
    expected = both_ways(vae)
    fuse(vae)
    kinds = {type(module) for module in vae.decoder.modules()}
    assert {DCUpBlock2d, ResBlock} <= kinds
    for one, other in zip(both_ways(vae), expected, strict=True):
        assert torch.allclose(one, other, atol=1e-5)


@pytest.mark.parametrize("shortcut", [True, False])
@pytest.mark.parametrize(("inputs", "outputs"), [(8, 8), (8, 16), (8, 32), (16, 8)])
def test_one_convolution_does_the_work_of_two(inputs: int, outputs: int, shortcut: bool) -> None:
    torch.manual_seed(0)
    down = DCDownBlock2d(inputs, outputs, downsample=True, shortcut=shortcut)
    up = DCUpBlock2d(inputs, outputs, shortcut=shortcut)
    x = torch.randn(1, inputs, 6, 10)
    before = [down.conv.weight.clone(), up.conv.weight.clone()]
    with torch.no_grad():
        assert torch.allclose(downsampling(down)(x), down(x), atol=1e-5)
        assert torch.allclose(Upsampling(up)(x), up(x), atol=1e-5)
    assert torch.equal(down.conv.weight, before[0])
    assert torch.equal(up.conv.weight, before[1])


def test_the_residual_block_is_right_where_silu_is_cut() -> None:
    torch.manual_seed(0)
    block = ResBlock(8, 8, "rms_norm", "silu").requires_grad_(False)
    fuse_norms(block)
    x = 1000 * torch.randn(1, 8, 6, 6)
    expected = block(x)
    block.__class__ = QuickResBlock
    assert torch.allclose(block(x), expected, atol=1e-3)
