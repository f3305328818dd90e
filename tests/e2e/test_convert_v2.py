"""The folder of v2, with tiny networks."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest
import torch
from huggingface_hub.errors import LocalEntryNotFoundError
from safetensors.torch import load_file, save_file
from transformers import CLIPTextModel, CLIPTokenizer

from ccsr.commands import main
from ccsr.config import SamplingConfig
from ccsr.conversion.convert import TOKENIZER
from ccsr.conversion.v2 import BASE_FOLDER
from ccsr.evaluation.report import read_settings
from ccsr.images.picture import picture_from_array
from ccsr.images.reading import load_picture
from ccsr.images.writing import save_png
from ccsr.inference.engine import load_engine
from ccsr.inference.pipeline import CCSRPipeline
from ccsr.models.prompt_embeds import EMPTY_TOKENS
from tests.tiny import (
    TOKEN_WIDTH,
    rewrite_json,
    tiny_latent_controlnet,
    tiny_text_encoder,
    tiny_tokenizer,
    tiny_unet,
    tiny_vae,
)

pytestmark = pytest.mark.e2e

NETWORKS = ("unet", "controlnet", "vae")


@pytest.fixture(scope="module")
def v2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as the authors', with tiny networks; not to be changed."""
    folder = tmp_path_factory.mktemp("v2")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        unet = tiny_unet(attention=True)
        controlnet = tiny_latent_controlnet(unet)
        vae = tiny_vae("kl")
        text = tiny_text_encoder()
    controlnet.save_pretrained(folder / "controlnet")
    rewrite_json(
        folder / "controlnet" / "config.json",
        _class_name="ControlNetModel",
        _name_or_path="a/folder/of/the/authors",
        conditioning_channels=3,
        use_vae_encode_condition=True,
    )
    vae.save_pretrained(folder / "vae")
    unet.save_pretrained(folder / BASE_FOLDER / "unet")
    text.save_pretrained(folder / BASE_FOLDER / "text_encoder")
    old_names = {f"text_model.{name}": weight for name, weight in text.state_dict().items()}
    old_names["text_model.embeddings.position_ids"] = torch.arange(77)[None]
    save_file(old_names, folder / BASE_FOLDER / "text_encoder" / "model.safetensors")
    tiny_tokenizer().save_pretrained(folder / BASE_FOLDER / "tokenizer")
    return folder


@pytest.fixture
def source(v2: Path, tmp_path: Path) -> Path:
    """The same, to be changed."""
    return shutil.copytree(v2, tmp_path / "source")


def weights_file(source: Path, name: str) -> Path:
    """The file of weights of a component."""
    (path,) = source.glob(f"**/{name}/*.safetensors")
    return path


def rewrite_weights(
    path: Path, change: Callable[[str, torch.Tensor], dict[str, torch.Tensor]]
) -> None:
    """Put what `change` makes of each weight in its place."""
    changed: dict[str, torch.Tensor] = {}
    for name, weight in load_file(path).items():
        changed |= change(name, weight)
    save_file(changed, path)


def shard(path: Path, variant: str = "") -> None:
    """Replace a file of weights by two and an index."""
    weights = load_file(path)
    path.unlink()
    stem = path.name.partition(".")[0]
    names = [f"{stem}-0000{number}-of-00002{variant}.safetensors" for number in (1, 2)]
    halves = {name: names[number % 2] for number, name in enumerate(weights)}
    for file in names:
        save_file({k: w for k, w in weights.items() if halves[k] == file}, path.parent / file)
    index = path.parent / f"{stem}.safetensors.index{variant}.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": halves}))


def as_fp16(path: Path) -> None:
    rewrite_weights(path, lambda name, weight: {name: weight.half()})
    path.rename(path.with_suffix(".fp16.safetensors"))


def as_fp16_shards(path: Path) -> None:
    rewrite_weights(path, lambda name, weight: {name: weight.half()})
    shard(path, ".fp16")


def beside_silent_fp16(path: Path) -> None:
    """A variant of other weights beside the file, which is to be preferred."""
    zeros = {name: torch.zeros_like(weight).half() for name, weight in load_file(path).items()}
    save_file(zeros, path.with_suffix(".fp16.safetensors"))


def with_older_names(path: Path) -> None:
    """As diffusers called the attention of autoencoders."""
    old = {".to_q.": ".query.", ".to_k.": ".key.", ".to_v.": ".value.", ".to_out.0.": ".proj_attn."}

    def renamed(name: str, weight: torch.Tensor) -> dict[str, torch.Tensor]:
        for new, before in old.items():
            name = name.replace(new, before) if path.parent.name == "vae" else name
        return {name: weight}

    rewrite_weights(path, renamed)


def converted(source: Path, output: Path) -> CCSRPipeline:
    assert main(["convert", str(source), str(output)]) == 0
    pipeline = CCSRPipeline.from_pretrained(str(output))
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def refusal(source: Path, output: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """Why a source is refused; nothing is written then."""
    assert main(["convert", str(source), str(output)]) == 2
    assert not output.exists()
    return capsys.readouterr().err


def assert_weights_are_of(v2: Path, pipeline: CCSRPipeline) -> None:
    for name in NETWORKS:
        found = getattr(pipeline, name).state_dict()
        expected = load_file(weights_file(v2, name))
        assert found.keys() == expected.keys()
        for weight in expected:
            assert torch.equal(found[weight], expected[weight].half().float()), weight


def empty_prompt_of(v2: Path) -> torch.Tensor:
    text = tiny_text_encoder()
    names = load_file(weights_file(v2, "text_encoder"))
    del names["text_model.embeddings.position_ids"]
    text.load_state_dict({k.removeprefix("text_model."): w for k, w in names.items()})
    tokens = torch.tensor([[*EMPTY_TOKENS, *[0] * 75]])
    with torch.no_grad():
        return text.eval()(tokens).last_hidden_state


def test_components_of_v2_become_a_model_that_upscales(
    v2: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pipeline = converted(v2, tmp_path / "model")
    assert "1 left out: a buffer of the tokens' positions" in capsys.readouterr().out
    assert_weights_are_of(v2, pipeline)
    torch.testing.assert_close(pipeline.empty_prompt.states, empty_prompt_of(v2))
    assert pipeline.scheduler.start_point == "lr"
    assert pipeline.scheduler.timestep_spacing == "leading"
    assert pipeline.scheduler.prediction_type == "epsilon"
    assert pipeline.config["working_size"] == 512
    assert pipeline.vae.config["scaling_factor"] == 0.5
    config = json.loads((tmp_path / "model" / "controlnet" / "config.json").read_text())
    assert config["_class_name"] == "LatentControlNetModel"
    assert config["conditioning_channels"] == 4
    assert config.keys().isdisjoint({"use_vae_encode_condition", "_name_or_path"})
    assert load_file(weights_file(tmp_path / "model", "unet"))["conv_in.bias"].dtype == torch.half
    assert not (tmp_path / "model" / "text_encoder").exists()

    rng = np.random.default_rng(0)
    picture = picture_from_array(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8))
    (result,) = pipeline.upscale(picture, SamplingConfig(num_steps=3))
    assert result.size == (64, 64)


def test_text_encoder_of_v2_is_kept_when_asked_for(v2: Path, tmp_path: Path) -> None:
    output = tmp_path / "model"
    assert main(["convert", str(v2), str(output), "--keep-text-encoder"]) == 0
    text = CLIPTextModel.from_pretrained(output / "text_encoder", dtype=torch.float32)
    tokens = torch.tensor([[*EMPTY_TOKENS, *[0] * 75]])
    with torch.no_grad():
        states = text.eval()(tokens).last_hidden_state
    torch.testing.assert_close(states, empty_prompt_of(v2), rtol=0, atol=0.02)


def test_model_with_a_text_encoder_takes_prompts(v2: Path, tmp_path: Path) -> None:
    model, picture = tmp_path / "model", tmp_path / "small.png"
    assert main(["convert", str(v2), str(model), "--keep-text-encoder"]) == 0
    assert load_engine(str(model)).info.reads_text
    save_png(picture, picture_from_array(np.full((16, 16, 3), 90, np.uint8)))
    for folder, words in (("plain", []), ("told", ["--prompt", "a cat"])):
        upscale = ["upscale", str(picture), "--output", str(tmp_path / folder)]
        assert main([*upscale, "--model", str(model), "--num-steps", "3", *words]) == 0
    plain, told = (tmp_path / folder / "small.png" for folder in ("plain", "told"))
    assert read_settings(told).config.prompt == "a cat"
    assert not np.array_equal(load_picture(plain).rgb, load_picture(told).rgb)


def test_model_without_a_text_encoder_takes_none(
    v2: Path, tmp_path: Path, picture_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, output = tmp_path / "model", tmp_path / "out"
    assert main(["convert", str(v2), str(model)]) == 0
    assert not load_engine(str(model)).info.reads_text
    upscale = ["upscale", str(picture_file), "--output", str(output), "--prompt", "a cat"]
    assert main([*upscale, "--model", str(model)]) == 2
    assert "this model has no text encoder" in capsys.readouterr().err


def test_tokenizer_is_asked_for_before_anything_is_written(
    source: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shutil.move(source / BASE_FOLDER / "tokenizer", tmp_path / "tokenizer")
    asked: list[str] = []

    def unreachable(repository: str, **_: object) -> NoReturn:
        asked.append(repository)
        raise LocalEntryNotFoundError("offline")

    monkeypatch.setattr("ccsr.inference.hub.snapshot_download", unreachable)
    convert = ["convert", str(source), str(tmp_path / "model"), "--keep-text-encoder"]
    assert main(convert) == 2
    assert asked == [TOKENIZER]
    message = capsys.readouterr().err
    assert "the text encoder needs CLIP's tokenizer" in message
    assert "the Hugging Face hub cannot be reached" in message
    assert not (tmp_path / "model").exists()
    assert main([*convert, "--tokenizer", str(tmp_path / "tokenizer")]) == 0
    assert load_engine(str(tmp_path / "model")).info.reads_text


def test_tokenizer_that_is_nowhere_else_is_fetched_from_the_hub(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.move(source / BASE_FOLDER / "tokenizer", tmp_path / "fetched")
    monkeypatch.setattr(
        "ccsr.inference.hub.snapshot_download", lambda *_, **__: tmp_path / "fetched"
    )
    assert main(["convert", str(source), str(tmp_path / "model"), "--keep-text-encoder"]) == 0
    assert load_engine(str(tmp_path / "model")).info.reads_text


def test_another_tokenizer_than_that_of_clip_is_refused(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    CLIPTokenizer(vocab={"<|startoftext|>": 0, "<|endoftext|>": 1}, merges=[]).save_pretrained(
        source / BASE_FOLDER / "tokenizer"
    )
    convert = ["convert", str(source), str(tmp_path / "model"), "--keep-text-encoder"]
    assert main(convert) == 2
    assert "is not CLIP's; give CLIP's" in capsys.readouterr().err
    assert not (tmp_path / "model").exists()


def test_tokenizer_without_a_text_encoder_is_refused(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    convert = ["convert", str(source), str(tmp_path / "model"), "--tokenizer", "clip"]
    assert main(convert) == 2
    assert "--tokenizer is for --keep-text-encoder" in capsys.readouterr().err


@pytest.mark.parametrize(
    "change", [as_fp16, shard, as_fp16_shards, beside_silent_fp16, with_older_names]
)
def test_weights_of_v2_are_found_however_they_are_stored(
    v2: Path, source: Path, tmp_path: Path, change: Callable[[Path], None]
) -> None:
    for name in (*NETWORKS, "text_encoder"):
        change(weights_file(source, name))
    pipeline = converted(source, tmp_path / "model")
    assert_weights_are_of(v2, pipeline)
    torch.testing.assert_close(pipeline.empty_prompt.states, empty_prompt_of(v2), rtol=0, atol=0.02)


def test_base_may_lie_beside_the_other_components(v2: Path, source: Path, tmp_path: Path) -> None:
    """And is preferred to that of the subfolder."""
    for name in ("unet", "text_encoder"):
        shutil.copytree(source / BASE_FOLDER / name, source / name)
    (source / BASE_FOLDER / "unet" / "config.json").write_text("not read")
    assert_weights_are_of(v2, converted(source, tmp_path / "model"))


def test_prediction_type_is_that_of_the_scheduler(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = source / BASE_FOLDER / "scheduler" / "scheduler_config.json"
    config.parent.mkdir()
    config.write_text('{"prediction_type": "sample"}')
    message = refusal(source, tmp_path / "model", capsys)
    assert "prediction_type 'sample'; it must be epsilon or v_prediction" in message
    config.write_text('{"prediction_type": "v_prediction"}')
    assert converted(source, tmp_path / "model").scheduler.prediction_type == "v_prediction"


def test_missing_components_are_named_with_where_they_should_be(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(source / BASE_FOLDER / "unet")
    # Of the base model, not fine-tuned.
    (source / "vae").rename(source / BASE_FOLDER / "vae")
    message = refusal(source, tmp_path / "model", capsys)
    unet = f"{source / 'unet'} or {source / BASE_FOLDER / 'unet'}"
    assert f"missing: unet (no config.json in {unet}); " in message
    assert f"; vae (no config.json in {source / 'vae'})\n" in message
    assert "text_encoder" not in message


def test_files_that_can_run_code_are_not_opened(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = weights_file(source, "unet")
    path.rename(path.with_suffix(".bin"))
    message = refusal(source, tmp_path / "model", capsys)
    assert f"{path.parent} has its weights as .bin only" in message
    assert "save_pretrained writes .safetensors" in message


def test_incomplete_downloads_of_v2_are_told(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "model"
    unet, vae = weights_file(source, "unet"), weights_file(source, "vae")
    shard(unet)
    second = unet.parent / "diffusion_pytorch_model-00002-of-00002.safetensors"
    second.unlink()
    assert f"names {second.name}, not there" in refusal(source, output, capsys)
    index = unet.with_suffix(".safetensors.index.json")
    index.write_text('{"weight_map": []}')
    assert f"{index} has no weight_map" in refusal(source, output, capsys)
    index.unlink()
    assert f"{unet.parent} has no {unet.name}" in refusal(source, output, capsys)
    save_file({}, unet)
    vae.write_bytes(vae.read_bytes()[:1000])
    assert f"{vae} cannot be read as a checkpoint" in refusal(source, output, capsys)
    (source / "vae" / "config.json").write_text("[]")
    shutil.copy(weights_file(source, "controlnet"), vae)
    assert "config.json holds no JSON object" in refusal(source, output, capsys)
    for damaged in ("{", "[" * 100_000):
        (source / "vae" / "config.json").write_text(damaged)
        assert "config.json is no JSON" in refusal(source, output, capsys)


def test_an_ordinary_controlnet_is_refused(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rewrite_weights(
        weights_file(source, "controlnet"),
        lambda name, weight: {} if name.startswith("condition_conv_in.") else {name: weight},
    )
    message = refusal(source, tmp_path / "model", capsys)
    assert "is an ordinary ControlNet: it has no condition_conv_in" in message


def test_unused_embedding_of_pictures_is_left_out(
    v2: Path, source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = weights_file(source, "controlnet")
    more = {"controlnet_cond_embedding.conv_in.weight": torch.ones(16, 3, 3, 3)}
    save_file(load_file(path) | more, path)
    assert_weights_are_of(v2, converted(source, tmp_path / "model"))
    assert "1 left out: of pictures; condition_conv_in reads" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("part", "change", "message"),
    [
        ("unet", {"new.weight": torch.ones(3)}, "unknown: unet/new.weight"),
        (
            "vae",
            {"decoder.conv_out.bias": torch.ones(2)},
            "wrong shape: vae/decoder.conv_out.bias [2], expected [3]",
        ),
        (
            "controlnet",
            {"condition_conv_in.weight": torch.ones(8, 3, 3, 3)},
            "wrong shape: controlnet/condition_conv_in.weight [8, 3, 3, 3], expected [8, 4, 3, 3]",
        ),
        (
            "controlnet",
            {"condition_conv_in.bias": None},
            "missing: controlnet/condition_conv_in.bias",
        ),
        (
            "text_encoder",
            {"text_model.final_layer_norm.bias": None},
            "missing: text_encoder/final_layer_norm.bias",
        ),
        (
            "text_encoder",
            {"final_layer_norm.bias": torch.ones(TOKEN_WIDTH)},
            "unknown: text_encoder/final_layer_norm.bias",
        ),
    ],
    ids=["unknown", "shape", "condition-of-pictures", "bias", "missing", "twice"],
)
def test_what_does_not_fit_v2_is_named(
    source: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    part: str,
    change: dict[str, torch.Tensor | None],
    message: str,
) -> None:
    path = weights_file(source, part)
    weights = {k: w for k, w in (load_file(path) | change).items() if w is not None}
    save_file(weights, path)
    told = refusal(source, tmp_path / "model", capsys)
    assert told == f"error: the weights are not those of CCSR v2: {message}\n"


def test_components_of_several_models_are_refused(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rewrite_json(source / BASE_FOLDER / "text_encoder" / "config.json", hidden_size=24)
    message = refusal(source, tmp_path / "model", capsys)
    assert (
        "widths of the prompt embeddings are 16 in unet, 16 in controlnet, 24 in text_encoder"
        in message
    )


def test_what_is_in_the_output_stays(
    v2: Path, source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "model"
    output.mkdir()
    (output / "model_index.json").write_text("{}")
    assert main(["convert", str(v2), str(output)]) == 2
    assert "is there and not empty" in capsys.readouterr().err
    assert [path.name for path in output.iterdir()] == ["model_index.json"]

    before = weights_file(source, "unet").read_bytes()
    for folder in (source, source / BASE_FOLDER):
        assert main(["convert", str(source), str(folder)]) == 2
        assert "is there and not empty" in capsys.readouterr().err
    assert weights_file(source, "unet").read_bytes() == before
    assert not (source / "empty_prompt").exists()
