import pytest
import torch

from ccsr.models.autoencoder import decode, encode, receptive_field
from tests.tiny import tiny_vae

KINDS = ["compact", "compact-lr", "compact-replicate", "dc"]


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_autoencoder_in_tiles_gives_the_result_of_the_whole(kind: str) -> None:
    torch.manual_seed(0)
    vae = tiny_vae(kind)
    pixels = torch.rand(1, 3, 8 * 40, 8 * 48)
    whole = encode(vae, pixels, tile=1000)
    torch.testing.assert_close(encode(vae, pixels, tile=16), whole, rtol=1e-4, atol=1e-4)
    tiled, decoded = (decode(vae, whole, tile, pixels) for tile in (16, 1000))
    torch.testing.assert_close(tiled, decoded, rtol=1e-4, atol=1e-4)


def reach(gradient: torch.Tensor | None, centre: int) -> int:
    """Distance of the furthest row with a gradient from the row `centre`."""
    assert gradient is not None
    rows = gradient.abs().sum((0, 1, 3)).nonzero().flatten()
    return int(max(centre - rows.min(), rows.max() - centre))


@pytest.mark.parametrize("kind", KINDS)
def test_receptive_field_is_that_of_the_gradient(kind: str) -> None:
    """It holds all latents and LR pixels that a pixel in the middle depends on, and few more."""
    torch.manual_seed(0)
    vae = tiny_vae(kind)
    latents = torch.randn(1, 4, 41, 41, requires_grad=True)
    lr_up = torch.rand(1, 3, 8 * 41, 8 * 41, requires_grad=True)
    decode(vae, latents, lr_up=lr_up)[0, :, 8 * 20 + 4, 8 * 20 + 4].sum().backward()
    furthest = reach(latents.grad, 20)
    if kind in ("compact-lr", "compact-replicate"):
        furthest = max(furthest, -(-reach(lr_up.grad, 8 * 20 + 4) // 8))
    assert furthest <= receptive_field(vae, "decoder") <= furthest + 3


@torch.no_grad()
def test_one_lr_picture_serves_all_latents_of_a_batch() -> None:
    torch.manual_seed(0)
    vae, latents, lr_up = tiny_vae("compact-lr"), torch.randn(2, 4, 6, 6), torch.rand(1, 3, 48, 48)
    together = decode(vae, latents, lr_up=lr_up)
    alone = torch.cat([decode(vae, latent, lr_up=lr_up) for latent in latents.split(1)])
    torch.testing.assert_close(together, alone)


def test_decoder_that_reads_lr_says_that_there_is_none() -> None:
    with pytest.raises(ValueError, match="reads the enlarged LR picture too"):
        decode(tiny_vae("compact-lr"), torch.randn(1, 4, 6, 6))


@pytest.mark.parametrize(("kind", "is_flat"), [("compact-lr", False), ("compact-replicate", True)])
def test_flat_areas_end_at_the_border_only_of_a_decoder_that_pads_with_its_values(
    kind: str, is_flat: bool
) -> None:
    vae, lr_up = tiny_vae(kind), torch.full((1, 3, 64, 64), 0.3)
    pixels = decode(vae, torch.full((1, 4, 8, 8), 0.7), lr_up=lr_up)
    # Pixels of a patch come from channels of their own, so those of one place are compared.
    spread = pixels.unfold(2, 8, 8).unfold(3, 8, 8).std(dim=(2, 3)).max()
    assert (spread < 1e-6) == is_flat
