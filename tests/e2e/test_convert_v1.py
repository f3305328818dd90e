"""The checkpoint of v1: at full size by shapes, and at a tenth of it with weights."""

import gzip
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional

from ccsr.commands import main
from ccsr.config import LoadingConfig, SamplingConfig
from ccsr.conversion.checkpoint import Checkpoint, CheckpointError, Shapes
from ccsr.conversion.plan import converted_names
from ccsr.conversion.v1 import CONDITION_ENCODER, INPUT_CONVOLUTION, UNET, VAE, plan_v1
from ccsr.evaluation.metrics import psnr
from ccsr.images.picture import picture_from_array
from ccsr.inference.engine import load_engine
from ccsr.inference.events import Restored
from ccsr.inference.pipeline import CCSRPipeline
from ccsr.inference.weights import CHECKSUMS
from ccsr.models.controlnet import LatentControlNetModel
from tests.tiny import rewrite_json

pytestmark = pytest.mark.e2e

SHAPES = Path(__file__).parent.parent / "parity" / "data" / "ccsr_v1_shapes.json.gz"
"""Names and shapes of all weights of the authors' stage-1 model at full size, recorded by
instantiating their published class."""
DIVISORS = {UNET: 10, "control_model.": 10, VAE: 4, CONDITION_ENCODER: 4, "cond_stage_model.": 16}
KEPT = {3, 4, 8, 77, 1000, 49408}
"""Sizes that are no widths."""


@pytest.fixture(scope="module")
def full() -> Shapes:
    return {
        name: tuple(shape)
        for name, shape in json.loads(gzip.decompress(SHAPES.read_bytes())).items()
    }


@pytest.fixture(scope="module")
def small(full: Shapes) -> dict[str, torch.Tensor]:
    """A checkpoint of the same layout, with narrow networks."""
    generator = torch.Generator().manual_seed(0)
    return {
        name: 0.05 * torch.randn(narrow(name, shape), generator=generator)
        for name, shape in full.items()
    }


def narrow(name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    divisor = next((d for prefix, d in DIVISORS.items() if name.startswith(prefix)), 1)
    # Of the UNet's sizes, 1024 is the width of the text states.
    return tuple(n if n in KEPT or n < 8 else n // 16 if n == 1024 else n // divisor for n in shape)


@pytest.fixture(scope="module")
def file(small: dict[str, torch.Tensor], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("checkpoint") / "ccsr.safetensors"
    save_file(small, path)
    return path


@pytest.fixture(scope="module")
def model(file: Path) -> Path:
    folder = file.parent / "model"
    assert main(["convert", str(file), str(folder)]) == 0
    return folder


def test_a_converted_model_has_the_checksums_of_all_its_weights(model: Path) -> None:
    weights = {path.relative_to(model).as_posix() for path in model.rglob("*.safetensors")}
    assert json.loads((model / CHECKSUMS).read_text()).keys() == weights


def shapes_of(weights: dict[str, torch.Tensor]) -> Shapes:
    return {name: tuple(weight.shape) for name, weight in weights.items()}


def test_every_weight_of_the_full_size_is_converted_or_left_out_for_a_reason(full: Shapes) -> None:
    plan = plan_v1(full)
    converted = converted_names({**plan.networks, "text_encoder": plan.text_encoder})
    assert converted | plan.left_out.keys() == full.keys()
    assert converted.isdisjoint(plan.left_out)
    parameters = sum(p.numel() for p in plan.networks["unet"].model.parameters())
    assert parameters == 865_910_724
    assert plan.networks["unet"].model.config["attention_head_dim"] == (5, 10, 20, 20)


def test_converted_model_upscales(model: Path) -> None:
    assert json.loads((model / "model_index.json").read_text())["working_size"] == 512
    # As large as the result only, which is faster.
    pipeline = CCSRPipeline.from_pretrained(str(model), working_size=0)
    pipeline.set_progress_bar_config(disable=True)
    picture = picture_from_array(torch.randint(0, 255, (16, 20, 3)).numpy().astype("uint8"))
    (result,) = pipeline.upscale(picture, SamplingConfig(num_steps=3))
    assert result.size == (64, 80)
    assert not (model / "text_encoder").exists()
    assert (model / "empty_prompt").is_dir()


def test_bfloat16_is_close_to_float32(model: Path, tmp_path: Path) -> None:
    """At full depth and reduced width, with attention."""
    quick = shutil.copytree(model, tmp_path / "quick")
    rewrite_json(quick / "model_index.json", working_size=0)
    rng = np.random.default_rng(0)
    picture = picture_from_array(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8))
    results = []
    for dtype in ("float32", "bfloat16"):
        engine = load_engine(str(quick), LoadingConfig(device="cpu", dtype=dtype))
        (*_, last) = engine.run(picture, SamplingConfig(num_steps=12), (0,))
        assert isinstance(last, Restored)
        results.append(last.picture.rgb)
    assert psnr(*results) > 40


def test_weights_are_those_of_the_checkpoint(model: Path, small: dict[str, torch.Tensor]) -> None:
    unet = load_file(model / "unet" / "diffusion_pytorch_model.safetensors")
    before, after = (
        UNET + "output_blocks.3.0.in_layers.2.weight",
        "up_blocks.1.resnets.0.conv1.weight",
    )
    assert torch.equal(unet[after], small[before].half())
    # Attention of the autoencoder is a 1x1 convolution there.
    vae = load_file(model / "vae" / "diffusion_pytorch_model.safetensors")
    before = VAE + "decoder.mid.attn_1.q.weight"
    after = "decoder.mid_block.attentions.0.to_q.weight"
    assert torch.equal(vae[after], small[before][:, :, 0, 0].half())


def test_condition_counts_as_in_the_convolution_over_both(
    model: Path, small: dict[str, torch.Tensor]
) -> None:
    controlnet = LatentControlNetModel.from_pretrained(model / "controlnet")
    x_t, c = torch.randn(2, 1, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    bias = small["control_model.input_blocks.0.0.bias"].half().float()
    weight = small[INPUT_CONVOLUTION].half().float()
    expected = functional.conv2d(torch.cat([x_t, c], 1), weight, bias, padding=1)
    with torch.no_grad():
        found = controlnet.conv_in(x_t) + controlnet.condition_features(c)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_either_encoder_may_be_absent(small: dict[str, torch.Tensor]) -> None:
    shapes = shapes_of(small)
    without_second = {k: s for k, s in shapes.items() if not k.startswith(CONDITION_ENCODER)}
    sources = plan_v1(without_second).networks["vae"].sources
    assert sources["encoder.conv_in.weight"].name == VAE + "encoder.conv_in.weight"
    first = (VAE + "encoder.", VAE + "quant_conv.")
    without_first = {k: s for k, s in shapes.items() if not k.startswith(first)}
    sources = plan_v1(without_first).networks["vae"].sources
    assert sources["encoder.conv_in.weight"].name == CONDITION_ENCODER + "encoder.conv_in.weight"


def test_training_leftovers_of_stage_2_are_left_out(small: dict[str, torch.Tensor]) -> None:
    more = {"decoder_loss.discriminator.main.0.weight": (64, 3, 4, 4), "betas_inter": (45,)}
    assert plan_v1(shapes_of(small) | more).left_out.keys() >= more.keys()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({UNET + "out.2.weight": None}, "missing: what becomes conv_out.weight of unet"),
        (
            {"control_model.zero_convs.3.0.bias": None},
            "missing: what becomes controlnet_down_blocks.3.bias of controlnet",
        ),
        ({UNET + "out.2.weight": (4, 32, 1, 1)}, r"wrong shape: .*out.2.weight \[4, 32, 1, 1\]"),
        ({UNET + "new.weight": (3,)}, "unknown: " + UNET + "new.weight"),
        ({"another.weight": (3,)}, "unknown: another.weight"),
    ],
    ids=["missing", "missing-connection", "shape", "unknown", "unknown-network"],
)
def test_what_does_not_fit_is_named(
    small: dict[str, torch.Tensor], change: dict[str, tuple[int, ...] | None], message: str
) -> None:
    shapes = {k: s for k, s in (shapes_of(small) | change).items() if s is not None}
    with pytest.raises(CheckpointError, match=message):
        plan_v1(shapes)


def test_other_checkpoints_are_refused_with_the_reason(small: dict[str, torch.Tensor]) -> None:
    shapes = shapes_of(small)
    plain = {k: s for k, s in shapes.items() if not k.startswith("control_model.")}
    with pytest.raises(CheckpointError, match=r"checkpoint of Stable Diffusion.*no control_model"):
        plan_v1(plain)
    with pytest.raises(CheckpointError, match="no checkpoint of CCSR v1: it has layer"):
        plan_v1({"layer.weight": (1,)})


def test_wrapped_file_of_the_older_kind_is_read(tmp_path: Path) -> None:
    path = tmp_path / "wrapped.ckpt"
    torch.save({"state_dict": {"module.a.weight": torch.ones(2)}, "epoch": 3}, path)
    checkpoint = Checkpoint(path)
    assert list(checkpoint) == ["a.weight"]
    assert torch.equal(checkpoint["a.weight"], torch.ones(2))


def test_bad_files_get_a_clear_message_and_leave_nothing(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cut, harmful = tmp_path / "cut.safetensors", tmp_path / "harmful.ckpt"
    cut.write_bytes(file.read_bytes()[:1000])
    torch.save({"state_dict": {"a": print}}, harmful)
    page, old = tmp_path / "page.ckpt", tmp_path / "old.ckpt"
    page.write_text("<!DOCTYPE html><title>Log in</title>")
    torch.save({"state_dict": {"a": torch.ones(2)}}, old, _use_new_zipfile_serialization=False)
    shouting = tmp_path / "A.SAFETENSORS"
    save_file({"a": torch.ones(2)}, shouting)
    output = tmp_path / "model"
    for path, message in (
        (cut, "may be incomplete"),
        (harmful, "other objects than weights"),
        (page, "neither a .ckpt nor a .safetensors file: it begins with b'<!DOCTYPE'"),
        # Read, and found to hold something else.
        (old, "this is no checkpoint of CCSR v1"),
        (shouting, "this is no checkpoint of CCSR v1"),
        (tmp_path / "absent.ckpt", "is not there"),
    ):
        assert main(["convert", str(path), str(output)]) == 2
        assert message in capsys.readouterr().err
    assert not output.exists()


def test_a_model_is_not_overwritten(
    file: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["convert", str(file), str(model)]) == 2
    assert "is there and not empty" in capsys.readouterr().err
