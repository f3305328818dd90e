import pytest
import torch
from diffusers import ModelMixin
from torch import nn

from ccsr.models.compact_autoencoder import ResidualBlock
from ccsr.models.residual_branches import (
    recorded_branches,
    residual_blocks,
    switched_off,
)
from tests.tiny import tiny_unet, tiny_vae


def test_share_and_peak_of_a_block() -> None:
    block = ResidualBlock(2, "zeros")
    for parameter in block.parameters():
        nn.init.zeros_(parameter)
    nn.init.constant_(block.conv2.bias, 0.5)  # type: ignore[arg-type]
    with recorded_branches(nn.Sequential(block)) as found:
        block(torch.full((1, 2, 4, 4), -2.0))
    assert found["0"].share == pytest.approx(0.25)
    assert found["0"].peak == pytest.approx(1.5)


def test_blocks_of_all_networks_are_found_and_left_as_they_were() -> None:
    vae, unet = tiny_vae("compact-lr"), tiny_unet(attention=False)
    latents, pixels = torch.randn(1, 4, 8, 8), torch.randn(1, 3, 64, 64)
    expected = vae.decode(latents, pixels)
    with recorded_branches(vae) as of_vae, recorded_branches(unet) as of_unet:
        vae.decode(vae.encode(pixels), pixels)
        unet(latents, 5, None)
    # One in the encoder, three in the decoder and four in its LR branch.
    assert len(of_vae) == 8
    assert any("mid_block" in name for name in of_unet)
    assert all(0 < s.share < 10 for s in (*of_vae.values(), *of_unet.values()))
    torch.testing.assert_close(vae.decode(latents, pixels), expected)


@pytest.mark.parametrize("network", [tiny_vae("compact-lr").decoder, tiny_unet(attention=False)])
def test_block_that_is_switched_off_gives_its_stream(network: nn.Module) -> None:
    blocks = residual_blocks(network)
    assert len(blocks) > 5
    for block in blocks.values():
        with recorded_branches(block) as found:
            evaluate(network)
        assert found[""].share > 0
        # Hooks are called in the order in which they were registered.
        with switched_off(block), recorded_branches(block) as found:
            evaluate(network)
        assert found[""].share == 0


def evaluate(network: nn.Module) -> None:
    latents = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    if isinstance(network, ModelMixin):
        network(latents, 5, None)
    else:
        network(latents, torch.zeros(1, 3, 64, 64))
