import pytest
import torch

from ccsr.models.lr_adapter import LRAdapter
from tests.tiny import LATENT_CHANNELS, tiny_lr_adapter, tiny_unet


@pytest.mark.parametrize("layers_per_block", [1, 2])
def test_residuals_fit_the_skip_connections_of_the_unet(layers_per_block: int) -> None:
    unet = tiny_unet(attention=False, layers_per_block=layers_per_block)
    down, middle = tiny_lr_adapter(layers_per_block).condition_features(
        torch.randn(1, LATENT_CHANNELS, 6, 8)
    )
    x, t = torch.randn(2, LATENT_CHANNELS, 6, 8), torch.tensor([3, 700])
    plain = unet(x, t, None, return_dict=False)[0]
    with_condition = unet(
        x,
        t,
        None,
        down_block_additional_residuals=down,
        mid_block_additional_residual=middle,
        return_dict=False,
    )[0]
    assert with_condition.shape == plain.shape
    assert not torch.allclose(with_condition, plain)


def test_every_residual_depends_on_the_picture_everywhere() -> None:
    model = tiny_lr_adapter()
    latent = torch.randn(1, LATENT_CHANNELS, 6, 8, requires_grad=True)
    down, middle = model.condition_features(latent)
    for residual in (*down, middle):
        (gradient,) = torch.autograd.grad(residual.square().sum(), latent, retain_graph=True)
        assert (gradient.abs().sum(dim=1) > 0).all()


def test_step_hands_on_what_was_computed_once() -> None:
    model = tiny_lr_adapter()
    features = model.condition_features(torch.randn(1, LATENT_CHANNELS, 4, 4))
    x = torch.randn(2, LATENT_CHANNELS, 4, 4)
    assert model(x, 7, None, controlnet_cond=features) is features
    assert model(0 * x, 900, None, controlnet_cond=features) is features


def test_deeper_network_starts_as_the_one_whose_weights_it_gets() -> None:
    def network(depth: int) -> LRAdapter:
        return LRAdapter(4, (8, 8), 1, (8, 8), (depth, 1), norm_num_groups=4)

    shallow, deep, latent = network(1), network(3), torch.randn(1, 4, 8, 8)
    with torch.no_grad():
        for weight in shallow.parameters():
            weight.normal_()
    deep.load_state_dict(shallow.state_dict(), strict=False)
    torch.testing.assert_close(
        deep.condition_features(latent), shallow.condition_features(latent), rtol=0, atol=0
    )
