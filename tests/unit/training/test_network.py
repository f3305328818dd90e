from pathlib import Path
from typing import Literal

import pytest
import torch

from ccsr.models.denoiser import Denoiser
from ccsr.models.prompt_embeds import EmptyPrompt
from tests.tiny import TOKEN_WIDTH, TOKENS, tiny_latent_controlnet, tiny_unet
from training.config import (
    NetworkConfig,
)
from training.network import build_denoiser, freeze_untrained, load_denoiser, save_denoiser


@pytest.mark.parametrize("kind", ["lr-adapter", "controlnet"])
def test_denoiser_of_either_kind_comes_back_from_its_files(
    kind: Literal["lr-adapter", "controlnet"], tmp_path: Path
) -> None:
    config = NetworkConfig(
        block_out_channels=(8, 16),
        condition_network=kind,
        lr_adapter_channels=(8, 16),
        lr_adapter_layers=(1, 1),
        norm_num_groups=4,
    )
    denoiser = build_denoiser(config, latent_channels=4)
    save_denoiser(denoiser, tmp_path)
    again = load_denoiser(tmp_path)
    assert type(again.controlnet) is type(denoiser.controlnet)
    x_t, lr_latent = torch.randn(2, 4, 8, 8), torch.randn(2, 4, 8, 8)
    t = torch.tensor([10, 900])
    torch.testing.assert_close(
        *(network(x_t, t, network.features(lr_latent)) for network in (again, denoiser))
    )


def full_size_denoiser() -> Denoiser:
    """Of the full size's kind, with a prompt."""
    torch.manual_seed(0)
    prompt = EmptyPrompt(TOKENS, TOKEN_WIDTH)
    torch.nn.init.normal_(prompt.states)
    unet = tiny_unet(attention=True)
    return Denoiser(unet, tiny_latent_controlnet(unet), prompt)


def gradients_of_controlnet(denoiser: Denoiser, *, from_x_t: bool) -> list[torch.Tensor]:
    """Of a prediction at an x_t that depends on the ControlNet, or does not."""
    noise, lr_latent = torch.randn(2, 1, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    predict = denoiser.predictor(denoiser.features(lr_latent))
    x_t = predict(noise, 999)
    x_t = x_t if from_x_t else x_t.detach()
    loss = predict(x_t, 667).square().mean()
    return list(torch.autograd.grad(loss, list(denoiser.controlnet.parameters())))


def test_unet_without_gradient_in_its_encoder_passes_it_on_by_the_controlnet_alone() -> None:
    plain, official = full_size_denoiser(), full_size_denoiser()
    freeze_untrained(plain, "controlnet")
    freeze_untrained(official, "controlnet", encoder_gradient=False)
    assert not any(p.requires_grad for p in official.unet.parameters())
    assert all(p.requires_grad for p in official.controlnet.parameters())
    # One evaluation has the same gradients; only those through x_t take another way.
    for from_x_t in (False, True):
        expected, found = (
            gradients_of_controlnet(denoiser, from_x_t=from_x_t) for denoiser in (plain, official)
        )
        close = [torch.allclose(a, b, atol=1e-7) for a, b in zip(expected, found, strict=True)]
        assert all(close) is not from_x_t
        assert all(gradient.isfinite().all() for gradient in found)


def test_unet_with_cross_attention_is_told_the_empty_prompt() -> None:
    denoiser = full_size_denoiser()
    x_t, lr_latent = torch.randn(2, 1, 4, 8, 8)
    features = denoiser.features(lr_latent)
    assert denoiser.empty_prompt is not None
    told = denoiser(x_t, 5, features, denoiser.empty_prompt(1))
    assert torch.equal(denoiser.predictor(features)(x_t, 5), told)
    torch.nn.init.zeros_(denoiser.empty_prompt.states)
    assert not torch.equal(denoiser.predictor(features)(x_t, 5), told)
