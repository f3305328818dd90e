import pytest
import torch

from ccsr.config import TilingConfig
from ccsr.models.denoiser import Denoiser
from ccsr.models.prompt_embeds import PromptEmbeds
from tests.tiny import (
    LATENT_CHANNELS,
    TOKEN_WIDTH,
    TOKENS,
    tiny_latent_controlnet,
    tiny_lr_adapter,
    tiny_unet,
)


def denoiser(kind: str = "latent", attention: bool = False) -> Denoiser:
    torch.manual_seed(0)
    unet = tiny_unet(attention)
    controlnet = tiny_latent_controlnet(unet) if kind == "latent" else tiny_lr_adapter()
    return Denoiser(unet, controlnet)


def latents(seed: int, batch: int = 1, side: int = 8) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, LATENT_CHANNELS, side, side, generator=generator)


@torch.no_grad()
def test_guidance_moves_away_from_the_negative_prompt() -> None:
    network = denoiser(attention=True)
    features = network.features(latents(1))
    states, negative = torch.randn(
        2, 1, TOKENS, TOKEN_WIDTH, generator=torch.Generator().manual_seed(1)
    )
    wanted, unwanted, guided, unguided = (
        network.predictor(features, prompt)(latents(0), 500)
        for prompt in (
            PromptEmbeds(states),
            PromptEmbeds(negative),
            PromptEmbeds(states, negative, guidance_scale=3.0),
            PromptEmbeds(states, negative),
        )
    )
    assert not torch.allclose(wanted, unwanted, atol=1e-3)
    torch.testing.assert_close(unguided, wanted)
    torch.testing.assert_close(guided, unwanted + 3 * (wanted - unwanted), rtol=1e-4, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("kind", ["latent", "picture"])
def test_condition_network_changes_the_prediction(kind: str) -> None:
    network = denoiser(kind)
    alone = network.unet(latents(0), 500, None, return_dict=False)[0]
    conditioned = network.predictor(network.features(latents(1)))(latents(0), 500)
    assert not torch.allclose(conditioned, alone, atol=1e-3)


@torch.no_grad()
@pytest.mark.parametrize(("kind", "sizes"), [("latent", {8}), ("picture", {12})])
def test_only_a_controlnet_is_evaluated_in_tiles(kind: str, sizes: set[int]) -> None:
    network = denoiser(kind)
    features = network.features(latents(1, side=12))
    seen: set[int] = set()
    network.unet.register_forward_pre_hook(lambda _, inputs: seen.update(inputs[0].shape[2:]))
    tiling = TilingConfig(tile=8, stride=4)
    found = network.predictor(features, tiling=tiling)(latents(0, side=12), 500)
    assert seen == sizes
    assert found.shape == (1, LATENT_CHANNELS, 12, 12)


def test_features_of_one_picture_serve_a_batch_of_timesteps() -> None:
    network = denoiser("picture")
    features, x_t = network.features(latents(1)), latents(0, batch=2)
    both = network(x_t, torch.tensor([10, 900]), features)
    for number, t in enumerate((10, 900)):
        alone = network(x_t[number : number + 1], t, features)
        torch.testing.assert_close(both[number : number + 1], alone, rtol=1e-4, atol=1e-5)


def test_both_networks_are_trained() -> None:
    network = denoiser("picture")
    network.predictor(network.features(latents(1)))(latents(0), 500).square().mean().backward()
    for part in (network.unet, network.controlnet):
        assert any(p.grad is not None and p.grad.abs().max() > 0 for p in part.parameters())


@torch.no_grad()
def test_noised_latents_are_brought_to_the_number_format_of_the_network() -> None:
    network = denoiser().to(torch.bfloat16)
    prediction = network(latents(0), 500, network.features(latents(1)))
    assert prediction.dtype == torch.bfloat16
