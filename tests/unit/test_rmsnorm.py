"""The quick normalisation gives what diffusers' gives."""

import pytest
import torch
from diffusers import AutoencoderDC
from diffusers.models.normalization import RMSNorm
from torch import nn

from ccsr.rmsnorm import QuickRMSNorm, quicken


@pytest.fixture
def norm() -> RMSNorm:
    torch.manual_seed(0)
    norm = RMSNorm(48, eps=1e-5, bias=True)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    return norm


def quick(norm: RMSNorm) -> QuickRMSNorm:
    network = nn.Sequential(norm)
    quicken(network)
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


def test_an_autoencoder_keeps_its_weights_and_its_results() -> None:
    torch.manual_seed(0)
    vae = AutoencoderDC(
        latent_channels=4,
        encoder_block_types="ResBlock",
        decoder_block_types="ResBlock",
        encoder_block_out_channels=(8, 16),
        decoder_block_out_channels=(8, 16),
        encoder_layers_per_block=(1, 1),
        decoder_layers_per_block=(1, 1),
        encoder_qkv_multiscales=((), ()),
        decoder_qkv_multiscales=((), ()),
    ).eval()
    names, latents = set(vae.state_dict()), torch.randn(1, 4, 6, 6)
    with torch.no_grad():
        expected = vae.decode(latents).sample
        quicken(vae)
        found = vae.decode(latents).sample
    assert set(vae.state_dict()) == names
    assert any(isinstance(module, QuickRMSNorm) for module in vae.decoder.modules())
    assert torch.allclose(found, expected, atol=1e-5)
