import torch

from ccsr.models.autoencoder import decode, encode, receptive_field
from tests.tiny import tiny_vae


@torch.no_grad()
def test_autoencoder_in_tiles_gives_the_result_of_the_whole() -> None:
    torch.manual_seed(0)
    vae = tiny_vae("dc")
    pixels = torch.rand(1, 3, 8 * 40, 8 * 48)
    whole = encode(vae, pixels, tile=1000)
    torch.testing.assert_close(encode(vae, pixels, tile=16), whole, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(
        decode(vae, whole, tile=16), decode(vae, whole, tile=1000), rtol=1e-4, atol=1e-4
    )


def test_receptive_field_is_that_of_the_gradient() -> None:
    """It holds all latents that a pixel in the middle depends on, and few more."""
    torch.manual_seed(0)
    vae = tiny_vae("dc")
    latents = torch.randn(1, 4, 41, 41, requires_grad=True)
    decode(vae, latents)[0, :, 8 * 20 + 4, 8 * 20 + 4].sum().backward()
    assert latents.grad is not None
    rows = latents.grad.abs().sum((0, 1, 3)).nonzero().flatten()
    furthest = int(max(20 - rows.min(), rows.max() - 20))
    assert furthest <= receptive_field(vae, "decoder") <= furthest + 3
