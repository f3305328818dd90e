from pathlib import Path
from typing import Literal

import pytest
import torch

from training.config import (
    NetworkConfig,
)
from training.network import build_denoiser, load_denoiser, save_denoiser


@pytest.mark.parametrize("kind", ["picture", "latent"])
def test_denoiser_of_either_kind_comes_back_from_its_files(
    kind: Literal["picture", "latent"], tmp_path: Path
) -> None:
    config = NetworkConfig(
        block_out_channels=(8, 16),
        controlnet=kind,
        controlnet_channels=(8, 16),
        controlnet_layers=(1, 1),
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
