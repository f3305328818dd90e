import pytest
import torch

from ccsr.models.autoencoder import decode, encode
from tests.tiny import tiny_vae


@torch.no_grad()
@pytest.mark.parametrize("tile", [16, 18])
def test_autoencoder_with_norms_and_attention_gives_the_result_of_the_whole(tile: int) -> None:
    torch.manual_seed(0)
    vae = tiny_vae("kl")
    # A picture that is darker on one side, so that the statistics of tiles would differ.
    pixels = torch.rand(2, 3, 8 * 40, 8 * 48) * torch.linspace(0, 1, 8 * 48)
    whole = encode(vae, pixels, tile=None)
    torch.testing.assert_close(encode(vae, pixels, tile=tile), whole, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(
        decode(vae, whole, tile=tile), decode(vae, whole, tile=None), rtol=1e-4, atol=3e-4
    )
