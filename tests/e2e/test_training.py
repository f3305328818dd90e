import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from skimage import data as pictures
from torch.utils.data import default_collate

from ccsr.config import VARIANTS
from ccsr.images.picture import picture_from_array
from ccsr.images.reading import load_picture
from ccsr.images.writing import save_png
from ccsr.inference.pipeline import CCSRPipeline
from ccsr.inference.weights import CHECKSUMS
from tests.tiny import tiny_vae
from training import benchmark
from training.__main__ import main
from training.config import load_recipe
from training.draws import Draws
from training.fingerprint import FINGERPRINT_FILE
from training.run import Run
from training.sources import Source
from training.steps import OBJECTIVES

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).resolve().parents[2]

TINY = """
[data]
degradations = { bicubic = 0.5, real_esrgan = 0.5 }

[autoencoder]
encoder_block_out_channels = [8, 8, 16]
decoder_block_out_channels = [8, 8, 16]
decoder_layers_per_block = [1, 1, 1]
latent_channels = 4
perceptual_from = 0.5
loop = { max_steps = 2, warmup_steps = 1, batch_size = 1, crop_px = 64, learning_rate = 1e-3, checkpoint_every = 1, log_every = 1, mixed_precision = "no" }

[network]
block_out_channels = [8, 16]
lr_adapter_channels = [8, 16]
lr_adapter_layers = [2, 1]
norm_num_groups = 8

[uniform]
pairs = { count = 3, crop_px = 128 }
loop = { max_steps = 2, warmup_steps = 1, batch_size = 2, crop_px = 64, learning_rate = 1e-3, checkpoint_every = 1, log_every = 1, mixed_precision = "no" }

[stage1]
perceptual = "alex"
perceptual_weight = 0.1
perceptual_crops = 1
perceptual_crop_px = 64
pairs = { count = 3, crop_px = 128 }
loop = { max_steps = 2, warmup_steps = 1, batch_size = 2, crop_px = 64, learning_rate = 1e-3, log_every = 1, mixed_precision = "no" }

[stage2]
rollouts = { count = 2, crop_px = 128 }
num_steps = 6
lr_blocks = 1
decoder_padding_mode = "replicate"
true_latents = 0.5
perceptual = "alex"
adversarial_from = 0.5
discriminator_channels = 4
loop = { max_steps = 2, warmup_steps = 1, batch_size = 2, crop_px = 64, learning_rate = 1e-3, checkpoint_every = 1, log_every = 1, mixed_precision = "no" }

[validation]
every = 1
pictures = 1
crop_px = 64
seeds = 2
num_steps = 4
"""  # noqa: E501 - a table of TOML cannot be broken


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("training")
    (folder / "pictures").mkdir()
    for name in ("astronaut", "coffee"):
        picture = picture_from_array(getattr(pictures, name)()[:300, :300])
        save_png(folder / "pictures" / f"{name}.png", picture)
    (folder / "tiny.toml").write_text(TINY)
    return folder / "pictures", folder / "tiny.toml"


def train(folders: tuple[Path, Path], run: Path, *steps: str) -> int:
    pictures_folder, recipe = folders
    return main(
        [*steps, "--data", str(pictures_folder), "--recipe", str(recipe), "--run-folder", str(run)]
    )


def log_of(run: Path, step: str) -> list[dict[str, object]]:
    lines = (run / step / "log.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


@pytest.fixture(scope="module")
def trained(folders: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("run")
    assert train(folders, run, "all", "--held-out", str(folders[0])) == 0
    return run


def test_all_steps_make_a_model_of_three_variants(trained: Path) -> None:
    model = trained / "model"
    picture = picture_from_array(pictures.coffee()[:24, :37])
    pipelines = {v: CCSRPipeline.from_pretrained(model, sr_variant=v) for v in VARIANTS}
    # That of stage 2 in the recipe.
    assert {p.defaults.num_steps for p in pipelines.values()} == {6}
    sizes = {v: pipeline.upscale(picture)[0].size for v, pipeline in pipelines.items()}
    assert sizes == dict.fromkeys(VARIANTS, (96, 148))


def test_exported_model_does_not_say_where_it_was_made(trained: Path) -> None:
    for file in (trained / "model").rglob("*.json"):
        assert str(trained) not in file.read_text()


def test_exported_model_has_the_checksums_of_all_its_weights(trained: Path) -> None:
    model = trained / "model"
    weights = {path.relative_to(model).as_posix() for path in model.rglob("*.safetensors")}
    assert json.loads((model / CHECKSUMS).read_text()).keys() == weights


def test_stage_1_adds_up_the_losses_of_the_paper_and_weighted_l_perceptual(trained: Path) -> None:
    losses = {
        k.removeprefix("denoiser/"): v for k, v in log_of(trained, "stage1")[-1]["losses"].items()
    }
    loss, l_perceptual = losses.pop("loss"), losses.pop("l_perceptual")
    assert losses.keys() == {"l_diff", "l_T", "l_t_max"}
    assert loss == pytest.approx(sum(losses.values()) + 0.1 * l_perceptual, rel=1e-3)


def test_stage_2_changes_the_decoder_alone(trained: Path) -> None:
    name = "diffusion_pytorch_model.safetensors"
    before = load_file(trained / "autoencoder" / "export" / name)
    after = load_file(trained / "stage2" / "export" / name)
    changed = {key.partition(".")[0] for key in before if not torch.equal(before[key], after[key])}
    assert changed == {"decoder"}
    added = after.keys() - before.keys()
    assert added
    assert all(key.startswith("decoder.lr_branch.") for key in added)
    assert after["decoder.lr_branch.conv_out.weight"].abs().max() > 0


def test_checkpoints_tell_what_each_residual_block_adds(trained: Path) -> None:
    shares = log_of(trained, "stage2")[-1]["branch_shares"]
    assert isinstance(shares, dict)
    assert any(".lr_branch." in name for name in shares)
    assert all(share > 0 for share in shares.values())


@pytest.mark.parametrize("step", ["autoencoder", "uniform", "stage1", "stage2"])
def test_held_out_pictures_are_scored_and_the_best_step_is_marked(step: str, trained: Path) -> None:
    lines = (trained / step / "validation.jsonl").read_text().splitlines()
    entries = [json.loads(line) for line in lines]
    assert [entry["step"] for entry in entries] == [1, 2]
    scores = entries[1]["scores"]
    assert scores.keys() >= {"psnr", "lpips", "l_std"}
    assert (scores["l_std"] > 0) == (step != "autoencoder")
    best = json.loads((trained / step / "best.json").read_text())
    assert best == min(entries, key=lambda entry: entry["scores"]["lpips"])
    sheet = load_picture(trained / step / "samples" / "step-0000002.png")
    assert sheet.size == (64, 4 * 64)


def test_training_that_is_made_longer_says_so(
    folders: tuple[Path, Path], trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, recipe = tmp_path / "run", tmp_path / "longer.toml"
    shutil.copytree(trained / "autoencoder", run / "autoencoder")
    recipe.write_text(TINY.replace("max_steps = 2", "max_steps = 3", 1))
    assert train((folders[0], recipe), run, "autoencoder") == 0
    assert "autoencoder: 2 steps were asked for before, 3 are now" in capsys.readouterr().err
    assert [entry["step"] for entry in log_of(run, "autoencoder")] == [1, 2, 3]


def test_discriminator_joins_at_its_share_of_the_run(trained: Path) -> None:
    first, second = log_of(trained, "stage2")
    assert "decoder/logits" not in first["losses"]
    assert "decoder/logits" in second["losses"]


@pytest.mark.parametrize("step", ["autoencoder", "uniform", "stage2"])
def test_resumed_run_ends_where_an_uninterrupted_one_does(
    step: str, folders: tuple[Path, Path], trained: Path, tmp_path: Path
) -> None:
    for folder in trained.iterdir():
        if folder.name not in (step, "model"):
            (tmp_path / folder.name).symlink_to(folder)
    (tmp_path / step).mkdir()
    (tmp_path / step / FINGERPRINT_FILE).write_bytes(
        (trained / step / FINGERPRINT_FILE).read_bytes()
    )
    # Of the same scores, the same checkpoint is the best.
    shutil.copy(trained / step / "validation.jsonl", tmp_path / step)
    first = trained / step / "checkpoint-0000001"
    (tmp_path / step / first.name).symlink_to(first)

    assert train(folders, tmp_path, step) == 0

    resumed, whole = (log_of(run, step)[-1]["losses"] for run in (tmp_path, trained))
    assert resumed == pytest.approx(whole, rel=1e-5)
    for file in (trained / step / "export").rglob("*.safetensors"):
        expected = load_file(file)
        found = load_file(tmp_path / file.relative_to(trained))
        assert all(torch.allclose(found[k], expected[k], atol=1e-6) for k in expected)


@pytest.fixture(scope="module")
def halved(
    folders: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path]:
    """A run in bfloat16, and its recipe."""
    folder = tmp_path_factory.mktemp("bfloat16")
    recipe = folder / "bfloat16.toml"
    recipe.write_text(TINY.replace('mixed_precision = "no"', 'mixed_precision = "bf16"'))
    assert train((folders[0], recipe), folder / "run", "all") == 0
    return folder / "run", recipe


@pytest.mark.parametrize("step", ["autoencoder", "uniform", "stage1", "stage2"])
def test_losses_in_bfloat16_are_nearly_those_in_float32(
    step: str, trained: Path, halved: tuple[Path, Path]
) -> None:
    found, expected = (log_of(run, step)[0]["losses"] for run in (halved[0], trained))
    assert found != expected
    assert found == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize("step", ["autoencoder", "uniform", "stage2"])
def test_run_in_bfloat16_is_resumed_bit_for_bit(
    step: str, folders: tuple[Path, Path], halved: tuple[Path, Path], tmp_path: Path
) -> None:
    whole, recipe = halved
    run = shutil.copytree(whole, tmp_path / "run")
    shutil.rmtree(run / step / "checkpoint-0000002")
    assert train((folders[0], recipe), run, step) == 0
    assert log_of(run, step)[-1]["losses"] == log_of(whole, step)[-1]["losses"]
    for file in (whole / step / "export").rglob("*.safetensors"):
        assert (run / file.relative_to(whole)).read_bytes() == file.read_bytes()


@pytest.mark.parametrize("step", ["autoencoder", "uniform", "stage1", "stage2"])
def test_losses_in_float16_are_nearly_those_in_float32_and_have_gradients(
    step: str, folders: tuple[Path, Path], trained: Path
) -> None:
    """On a CPU, which computes in it, but on which no training in it is started."""
    torch.manual_seed(0)
    objective = OBJECTIVES[step](Run(load_recipe(folders[1]), (Source(folders[0]),), trained))
    batch = default_collate([objective.dataset[index] for index in range(2)])
    losses: dict[torch.dtype, dict[str, float]] = {}
    for dtype in (torch.float32, torch.float16):
        losses[dtype] = {}
        for name, module in objective.modules.items():
            module.zero_grad()
            with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
                loss = module(batch, 0.9, Draws(0, 0, range(2), 2))["loss"]
            # As it is scaled in training.
            (2**10 * loss).backward()
            losses[dtype][name] = float(loss)
            gradients = [p.grad for p in module.parameters() if p.grad is not None]
            assert gradients
            assert all(g.isfinite().all() for g in gradients)
            assert any(g.any() for g in gradients)
    assert losses[torch.float16] != losses[torch.float32]
    assert losses[torch.float16] == pytest.approx(losses[torch.float32], rel=0.02)


@pytest.mark.skipif(sys.platform == "win32", reason="signals are others")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_run_keeps_its_last_step(
    number: signal.Signals, folders: tuple[Path, Path], tmp_path: Path
) -> None:
    """Also in the background, where a shell has SIGINT ignored."""
    recipe, log = tmp_path / "long.toml", tmp_path / "run" / "autoencoder" / "log.jsonl"
    recipe.write_text(TINY.replace("max_steps = 2,", "max_steps = 100000,").replace(
        "checkpoint_every = 1,", "checkpoint_every = 100000,"
    ))  # fmt: skip
    options = ["--data", folders[0], "--recipe", recipe, "--run-folder", tmp_path / "run"]
    command = [sys.executable, "-m", "training", "autoencoder", *map(str, options)]
    with subprocess.Popen(
        command,
        cwd=ROOT,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
    ) as process:
        until = time.monotonic() + 120
        while not log.exists() and time.monotonic() < until:
            time.sleep(0.05)
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"stopped; the same command continues from here" in errors
    last = json.loads(log.read_text().splitlines()[-1])["step"]
    (checkpoint,) = log.parent.glob("checkpoint-*")
    assert int(checkpoint.name.removeprefix("checkpoint-")) >= last


def test_export_takes_the_best_checkpoint_or_the_one_that_is_asked_for(
    folders: tuple[Path, Path], trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = shutil.copytree(trained, tmp_path / "run")
    shutil.rmtree(run / "model")
    name = "export/diffusion_pytorch_model.safetensors"
    made: dict[str, bytes] = {}
    best = json.loads((trained / "stage2" / "best.json").read_text())["step"]
    assert json.loads((trained / "stage2" / "export.json").read_text()) == {"step": best}
    for choice in ("1", "2", "best"):
        assert train(folders, run, "stage2", "export", "--checkpoint", choice) == 0
        made[choice] = (run / "stage2" / name).read_bytes()
        step = best if choice == "best" else int(choice)
        told = capsys.readouterr().err
        assert f"stage2: the networks of step {step}, " in told
        assert f"stage2 of step {step}" in told
        shutil.rmtree(run / "model")
    assert made["1"] != made["2"]
    assert made["best"] == made[str(best)] == (trained / "stage2" / name).read_bytes()


@pytest.mark.parametrize("choice", ["7", "first"])
def test_checkpoint_that_there_will_not_be_is_refused_before_training(
    choice: str, folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(folders, tmp_path / "run", "all", "--checkpoint", choice) == 2
    told = capsys.readouterr().err
    assert f"there is no checkpoint '{choice}' of autoencoder after its training" in told
    assert "those of its steps 1, 2; give one of them" in told
    assert not (tmp_path / "run").exists()


def test_training_starts_from_the_networks_of_a_model(
    folders: tuple[Path, Path], trained: Path, tmp_path: Path
) -> None:
    """And latents are scaled to the RMS of the recipe."""
    still = TINY.replace("learning_rate = 1e-3", "learning_rate = 1e-30")
    recipe = tmp_path / "still.toml"
    recipe.write_text(still.replace("[autoencoder]", "[autoencoder]\nlatent_rms = 0.5"))
    model, run = trained / "model", tmp_path / "run"

    steps = ("autoencoder", "pairs", "uniform", "stage1", "rollouts", "stage2")
    assert train((folders[0], recipe), run, *steps, "--init", str(model)) == 0

    for part, exported in (
        ("unet", "uniform/export/unet"),
        ("controlnet", "uniform/export/controlnet"),
        ("v2/vae", "autoencoder/export"),
        ("vae", "stage2/export"),
    ):
        expected = load_file(model / part / "diffusion_pytorch_model.safetensors")
        found = load_file(run / exported / "diffusion_pytorch_model.safetensors")
        assert all(torch.equal(found[k].half(), expected[k]) for k in expected), part
    scaling_factors = [
        json.loads((folder / "autoencoder/export/config.json").read_text())["scaling_factor"]
        for folder in (run, trained)
    ]
    assert scaling_factors[0] == pytest.approx(scaling_factors[1] / 2, rel=1e-2)


def test_export_never_overwrites_a_model(
    folders: tuple[Path, Path], trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(folders, trained, "export") == 2
    assert "is there and not empty" in capsys.readouterr().err


def test_run_folder_of_another_recipe_is_refused(
    folders: tuple[Path, Path], trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other.toml"
    other.write_text(TINY.replace("learning_rate = 1e-3", "learning_rate = 2e-3", 1))
    assert train((folders[0], other), trained, "autoencoder") == 2
    assert "other values of autoencoder.loop" in capsys.readouterr().err


def test_latent_cache_of_another_recipe_is_refused(
    folders: tuple[Path, Path], trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other.toml"
    other.write_text(TINY.replace("num_steps = 6", "num_steps = 6\nt_min = 0.5"))
    assert train((folders[0], other), trained, "rollouts") == 2
    assert "made with other values of stage2.t_min; give" in capsys.readouterr().err


def with_another_decoder(folder: Path, more: str = "") -> Path:
    recipe = folder / "decoder.toml"
    decoder = 'trained = "decoder"\ndecoder_block_out_channels = [4, 8, 16]\n'
    text = TINY.replace("decoder_block_out_channels = [8, 8, 16]\n", decoder + more)
    recipe.write_text(text)
    return recipe


def test_another_decoder_is_trained_for_the_latents_of_a_model(
    folders: tuple[Path, Path], trained: Path, tmp_path: Path
) -> None:
    model, recipe = trained / "model", with_another_decoder(tmp_path)
    assert train((folders[0], recipe), tmp_path / "run", "autoencoder", "--init", str(model)) == 0
    export = tmp_path / "run" / "autoencoder" / "export"
    before, after = (json.loads((f / "config.json").read_text()) for f in (model / "vae", export))
    assert after["scaling_factor"] == before["scaling_factor"]
    assert after["decoder_block_out_channels"] == [4, 8, 16]
    kept = load_file(model / "v2" / "vae" / "diffusion_pytorch_model.safetensors")
    made = load_file(export / "diffusion_pytorch_model.safetensors")
    encoder = [key for key in made if key.startswith("encoder.")]
    assert encoder
    assert all(torch.equal(made[key], kept[key].float()) for key in encoder)
    changed = [k for k in made if k.startswith("decoder.") and made[k].shape == kept[k].shape]
    assert any(not torch.equal(made[key], kept[key].float()) for key in changed)


def test_another_decoder_needs_the_model_whose_encoder_it_keeps(
    folders: tuple[Path, Path], trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = with_another_decoder(tmp_path)
    assert train((folders[0], recipe), tmp_path / "run", "autoencoder") == 2
    assert "give --init" in capsys.readouterr().err
    deeper = with_another_decoder(tmp_path, "encoder_layers_per_block = [2, 0, 0]\n")
    init = ("--init", str(trained / "model"))
    assert train((folders[0], deeper), tmp_path / "run", "autoencoder", *init) == 2
    assert "encoder_layers_per_block is [1, 0, 0] there" in capsys.readouterr().err


def test_step_is_not_mixed_with_networks_it_was_not_made_from(
    folders: tuple[Path, Path], trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = shutil.copytree(trained, tmp_path / "run")
    shutil.rmtree(run / "uniform")
    other = tmp_path / "other.toml"
    other.write_text(
        TINY.replace(
            "count = 3, crop_px = 128 }\nloop",
            "count = 3, crop_px = 128 }\nnoise_levels = 1\nloop",
            1,
        )
    )
    assert train((folders[0], other), run, "uniform", "stage1") == 2
    assert "stage1 was made with other values of networks of uniform" in capsys.readouterr().err


def test_a_stage_alone_takes_the_other_networks_from_a_model(
    folders: tuple[Path, Path], trained: Path, tmp_path: Path
) -> None:
    model, run = trained / "model", tmp_path / "run"
    assert train(folders, run, "rollouts", "stage2", "export", "--init", str(model)) == 0
    name = "diffusion_pytorch_model.safetensors"
    for part in ("unet", "controlnet", "v1/unet", "v1/controlnet", "v2/vae"):
        expected, found = (load_file(folder / part / name) for folder in (model, run / "model"))
        assert all(torch.equal(found[k], expected[k]) for k in expected), part
    before, after = (load_file(folder / "vae" / name) for folder in (model, run / "model"))
    assert any(not torch.equal(before[k], after[k]) for k in before)


def test_autoencoder_of_another_class_is_refused(
    folders: tuple[Path, Path], trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = shutil.copytree(trained / "model", tmp_path / "model")
    shutil.rmtree(model / "v2" / "vae")
    tiny_vae("dc").save_pretrained(model / "v2" / "vae")
    assert train(folders, tmp_path / "run", "rollouts", "--init", str(model)) == 2
    assert "holds AutoencoderDC, not a CompactAutoencoder" in capsys.readouterr().err


def test_step_without_the_one_before_says_what_to_run(
    folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(folders, tmp_path, "stage1") == 2
    assert "run the step 'autoencoder' first" in capsys.readouterr().err


def test_dry_run_says_what_a_run_needs_and_writes_nothing(
    folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, broken = tmp_path / "run", tmp_path / "broken.tar"
    broken.write_bytes(b"no shard")
    arguments = ["--data", str(folders[0]), str(broken), "--recipe", str(folders[1])]
    assert main(["all", *arguments, "--run-folder", str(run), "--dry-run"]) == 0
    pictures_, losses, needs, free, _ = capsys.readouterr().out.split("\n\n")
    assert "| training | 2     | 2 " in pictures_
    assert "| training | 1     | 0      | broken.tar: it is no tar file" in pictures_
    assert "as published" in losses
    steps = [line.split("|")[1].strip() for line in needs.splitlines()[2:]]
    assert steps == ["autoencoder", "pairs", "uniform", "stage1", "rollouts", "stage2", "all"]
    assert free.endswith("enough")
    assert not run.exists()


def test_benchmark_tells_where_the_time_of_each_step_goes(
    folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    data, recipe = map(str, folders)
    assert benchmark.main(["--recipe", recipe, "--data", data, "--repeats", "1", "--profile"]) == 0
    shares, machine, profile = capsys.readouterr().out.split("\n\n", 2)
    head, _, *rows = ([cell.strip() for cell in row.split("|")] for row in shares.splitlines())
    timed = {row[1] for row in rows if row[head.index("loss networks")] not in ("-", "0.0%")}
    assert timed >= {"autoencoder", "stage1", "stage2"}
    assert "torch 2" in machine
    assert "aten::convolution_backward" in profile


def test_benchmark_refuses_a_recipe_that_is_none(
    folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        benchmark.main(["--recipe", str(folders[1] / "none.toml"), "--data", str(folders[0])]) == 2
    )
    assert capsys.readouterr().err.startswith("error: ")
