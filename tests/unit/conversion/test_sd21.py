from pathlib import Path

import pytest
import torch

from ccsr.conversion.checkpoint import CheckpointError
from ccsr.conversion.sd21 import open_sd21
from ccsr.conversion.v2 import BASE_FOLDER
from ccsr.models.controlnet import LatentControlNetModel
from tests.tiny import save_tiny_sd21, tiny_unet


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return save_tiny_sd21(tmp_path / "sd")


def test_controlnet_has_the_weights_of_the_unet_and_changes_nothing(source: Path) -> None:
    plan, weights = open_sd21(source)
    unet, controlnet = (
        plan.networks[name].load(weights, torch.float32) for name in ("unet", "controlnet")
    )
    assert isinstance(controlnet, LatentControlNetModel)
    own, others = controlnet.state_dict(), unet.state_dict()
    shared = own.keys() & others.keys()
    assert all(torch.equal(own[name], others[name]) for name in shared)
    silent = {name.partition(".")[0] for name in own.keys() - shared}
    assert silent == {"controlnet_down_blocks", "controlnet_mid_block", "condition_conv_in"}
    latent, states = torch.randn(1, 4, 8, 8), torch.randn(1, 77, 16)
    features = controlnet.condition_features(latent)
    down, middle = controlnet(latent, 5, states, controlnet_cond=features, return_dict=False)
    assert all(residual.abs().max() == 0 for residual in [*down, middle])


def test_folder_of_the_authors_before_training_has_it_as_a_subfolder(
    source: Path, tmp_path: Path
) -> None:
    source.rename(tmp_path / BASE_FOLDER)
    plan, _ = open_sd21(tmp_path)
    assert plan.networks.keys() == {"unet", "vae", "controlnet"}
    assert plan.scheduler.prediction_type == "epsilon"
    assert plan.scheduler.start_point == "noise"


def test_components_of_another_model_are_refused(source: Path) -> None:
    unet = tiny_unet(attention=True)
    del unet.mid_block
    unet.save_pretrained(source / "unet")
    with pytest.raises(CheckpointError, match=r"not those of Stable Diffusion 2\.1: missing: unet"):
        open_sd21(source)
