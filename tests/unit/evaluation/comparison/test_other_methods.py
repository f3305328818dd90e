"""Methods of others: pipelines of diffusers, networks of spandrel and of ncnn."""

import importlib.util
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import (
    DDIMScheduler,
    LDMSuperResolutionPipeline,
    UNet2DModel,
    VQModel,
)
from safetensors.torch import save_file
from torch import nn

from ccsr.evaluation.comparison.other_methods import (
    MARGIN,
    TILE,
    diffusers_pipeline,
    ncnn_network,
    spandrel_network,
)
from ccsr.evaluation.comparison.test_set import Sample
from ccsr.images.picture import Picture
from ccsr.images.tensors import to_array, to_tensor

CPU = torch.device("cpu")
SAMPLE = Sample("set", 0, "picture", Path(), "bicubic", 4)


def noise_lr(height: int, width: int) -> Picture:
    return Picture(np.random.default_rng(0).random((height, width, 3), np.float32))


@pytest.fixture(scope="module")
def ldm(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder of LDM-SR, untrained and of the smallest size."""
    torch.manual_seed(0)
    widths = {"block_out_channels": (8, 8), "norm_num_groups": 4, "layers_per_block": 1}
    unet = UNet2DModel(
        sample_size=64, in_channels=6, out_channels=3,
        down_block_types=("DownBlock2D",) * 2, up_block_types=("UpBlock2D",) * 2, **widths,
    )  # fmt: skip
    vqvae = VQModel(
        down_block_types=("DownEncoderBlock2D",) * 3, up_block_types=("UpDecoderBlock2D",) * 3,
        latent_channels=3, num_vq_embeddings=16, **widths | {"block_out_channels": (8, 8, 8)},
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("ldm")
    pipeline = LDMSuperResolutionPipeline(vqvae, unet, DDIMScheduler())
    pipeline.save_pretrained(folder)
    return str(folder)


class TestDiffusers:
    def test_ldm_sr_enlarges_any_size_without_stretching(self, ldm: str) -> None:
        method = diffusers_pipeline("LDM-SR", ldm, 4, CPU, num_steps=2)
        result = method.restore(SAMPLE, noise_lr(40, 70), 0)
        assert result.shape == (160, 280, 3)
        assert result.min() >= 0
        assert result.max() <= 1

    def test_seed_is_a_result(self, ldm: str) -> None:
        method = diffusers_pipeline("LDM-SR", ldm, 4, CPU, num_steps=2)
        lr = noise_lr(64, 64)
        one, again, other = (method.restore(SAMPLE, lr, seed) for seed in (0, 0, 1))
        np.testing.assert_array_equal(one, again)
        assert np.abs(one - other).max() > 0.01
        assert method.seeds((4, 5)) == (4, 5)

    def test_parameters_are_those_of_all_networks(self, ldm: str) -> None:
        pipeline = LDMSuperResolutionPipeline.from_pretrained(ldm)
        expected = pipeline.unet.num_parameters() + pipeline.vqvae.num_parameters()
        assert diffusers_pipeline("LDM-SR", ldm, 4, CPU).parameters == expected

    def test_folder_that_is_no_pipeline_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="X cannot be loaded from"):
            diffusers_pipeline("X", str(tmp_path), 4, CPU)

    def test_size_that_is_too_small_is_an_error_of_that_method(self, ldm: str) -> None:
        """A pipeline that enlarges by 4 cannot give pictures 8 times as large."""
        method = diffusers_pipeline("LDM-SR", ldm, 8, CPU, num_steps=1)
        with pytest.raises(ValueError, match="cannot cut"):
            method.restore(SAMPLE, noise_lr(64, 64), 0)


class Doubling(nn.Module):
    """Enlarges by 4 by repetition, after a blur with a small receptive field."""

    scale, device, dtype = 4, CPU, torch.float32
    tiling = types.SimpleNamespace(name="SUPPORTED")

    def __init__(self) -> None:
        super().__init__()
        self.blur = nn.Conv2d(3, 3, 5, padding=2, padding_mode="zeros", groups=3, bias=False)
        nn.init.constant_(self.blur.weight, 0.04)
        self.largest = 0

    @property
    def model(self) -> nn.Module:
        return self.blur

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.largest = max(self.largest, *x.shape[2:])
        return self.blur(x).repeat_interleave(4, 2).repeat_interleave(4, 3)


@pytest.fixture
def fake_spandrel(monkeypatch: pytest.MonkeyPatch) -> Doubling:
    network = Doubling()

    class Loader:
        def __init__(self, device: torch.device) -> None: ...

        def load_from_state_dict(self, state: dict[str, torch.Tensor]) -> Doubling:
            if "weight" not in state:
                raise RuntimeError("unsupported")
            return network

    fake = types.ModuleType("spandrel")
    fake.__spec__ = importlib.util.spec_from_loader("spandrel", None)
    fake.ModelLoader, fake.ImageModelDescriptor = Loader, Doubling  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "spandrel", fake)
    return network


def weights_file(folder: Path, suffix: str = ".safetensors") -> Path:
    path = folder / f"weights{suffix}"
    if suffix == ".safetensors":
        save_file({"weight": torch.zeros(1)}, path)
    else:
        torch.save({"weight": torch.zeros(1)}, path)
    return path


class TestSpandrel:
    @pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
    def test_large_pictures_are_worked_on_in_tiles_without_seams(
        self, fake_spandrel: Doubling, tmp_path: Path, suffix: str
    ) -> None:
        method = spandrel_network("Net", weights_file(tmp_path, suffix), 4, CPU)
        lr = noise_lr(TILE + 20, TILE + 50)
        with torch.no_grad():
            whole = to_array(fake_spandrel(to_tensor(lr.rgb)))
        fake_spandrel.largest = 0
        np.testing.assert_allclose(method.restore(SAMPLE, lr, 0), whole, atol=1e-6)
        assert fake_spandrel.largest <= TILE + 2 * MARGIN
        assert method.parameters == 75
        assert method.seeds((3, 4)) == (0,)

    def test_tiling_can_be_left_out(self, fake_spandrel: Doubling, tmp_path: Path) -> None:
        method = spandrel_network("Net", weights_file(tmp_path), 4, CPU, tiling=False)
        method.restore(SAMPLE, noise_lr(TILE + 90, 40), 0)
        assert fake_spandrel.largest == TILE + 90

    def test_another_scale_is_refused(self, fake_spandrel: Doubling, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="enlarges by 4, and the scale is 2"):
            spandrel_network("Net", weights_file(tmp_path), 2, CPU)

    def test_pickle_that_runs_code_is_refused(
        self, fake_spandrel: Doubling, tmp_path: Path
    ) -> None:
        path = tmp_path / "evil.pth"
        torch.save({"weight": Path("x")}, path)
        with pytest.raises(ValueError, match="holds no network that spandrel knows"):
            spandrel_network("Net", path, 4, CPU)

    def test_missing_file_is_refused(self, fake_spandrel: Doubling, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="there is no file"):
            spandrel_network("Net", tmp_path / "none.pth", 4, CPU)

    def test_without_spandrel_it_is_said_how_to_get_it(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
        with pytest.raises(ValueError, match="pip install -r requirements-eval"):
            spandrel_network("Net", weights_file(tmp_path), 4, CPU)

    def test_weights_of_esrgan_run(self, tmp_path: Path) -> None:
        """With the real spandrel, where it is installed."""
        pytest.importorskip("spandrel")
        from spandrel.architectures.ESRGAN import ESRGAN  # type: ignore[import-not-found]

        torch.manual_seed(0)
        network = ESRGAN(num_filters=8, num_blocks=1, scale=4)
        path = tmp_path / "esrgan.pth"
        torch.save({"params_ema": network.state_dict()}, path)
        method = spandrel_network("ESRGAN", path, 4, CPU)
        lr = noise_lr(24, 40)
        with torch.no_grad():
            expected = to_array(network(to_tensor(lr.rgb)))
        np.testing.assert_allclose(method.restore(SAMPLE, lr, 0), expected, atol=1e-5)
        assert method.parameters == sum(p.numel() for p in network.parameters())


class TestNcnn:
    def test_without_ncnn_it_is_said_how_to_get_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
        with pytest.raises(ValueError, match="real-esrgan needs ncnn; pip install ncnn"):
            ncnn_network("real-esrgan", 4)

    def test_another_scale_is_refused(self) -> None:
        with pytest.raises(ValueError, match="enlarges by 4, and the scale is 3"):
            ncnn_network("realsr-df2k", 3)

    @pytest.mark.parametrize("name", ["real-esrgan", "realsr-df2k"])
    def test_installed_network_enlarges_by_4(self, name: str) -> None:
        """Where it is installed."""
        pytest.importorskip("ncnn")
        try:
            method = ncnn_network(name, 4)
        except ValueError as error:
            pytest.skip(str(error))
        flat = Picture(np.full((16, 24, 3), 0.5, np.float32))
        result = method.restore(SAMPLE, flat, 0)
        assert result.shape == (64, 96, 3)
        assert np.abs(result[16:-16, 16:-16] - 0.5).max() < 0.1


def test_pipeline_that_takes_no_picture_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Blind:
        def __call__(self, prompt: str) -> None: ...

    monkeypatch.setattr("diffusers.DiffusionPipeline.from_pretrained", lambda *_, **__: Blind())
    with pytest.raises(ValueError, match="is a Blind, which takes no picture"):
        diffusers_pipeline("X", str(tmp_path), 4, CPU)
