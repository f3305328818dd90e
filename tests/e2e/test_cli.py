import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

from ccsr.commands import main
from ccsr.config import SamplingConfig
from ccsr.evaluation.metrics import psnr
from ccsr.evaluation.report import REPORT_FILES
from ccsr.images.picture import picture_from_array
from ccsr.images.reading import load_picture, read_texts
from ccsr.images.writing import save_png
from tests.tiny import rewrite_json, save_tiny_model

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_tiny_model(tmp_path_factory.mktemp("model")))


@pytest.fixture
def small(tmp_path: Path) -> Path:
    path = tmp_path / "small.png"
    save_png(path, picture_from_array(data.astronaut()[100:124, 200:230]))
    return path


def run(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


def fast(model: str, output: Path) -> list[object]:
    return ["--model", model, "--device", "cpu", "--num-steps", 6, "--output", output]


def test_upscale_writes_a_picture_four_times_as_large_with_its_settings(
    model: str, small: Path, tmp_path: Path
) -> None:
    out = tmp_path / "new" / "out"
    assert run("upscale", small, *fast(model, out), "--seed", 3, "--t-max", 0.8) == 0
    assert load_picture(out / "small.png").size == (96, 120)
    settings = json.loads(read_texts(out / "small.png")["ccsr"])
    assert (settings["seed"], settings["t_max"], settings["num_steps"]) == (3, 0.8, 6)


def test_commands_sample_on_the_grid_of_the_model(small: Path, tmp_path: Path) -> None:
    model = save_tiny_model(tmp_path / "model")
    rewrite_json(model / "model_index.json", num_steps=9)
    common = ["--model", model, "--device", "cpu"]
    assert run("upscale", small, *common, "--output", tmp_path / "one") == 0
    assert json.loads(read_texts(tmp_path / "one" / "small.png")["ccsr"])["num_steps"] == 9
    assert run("seeds", small, *common, "--output", tmp_path / "two", "--seeds", "0-1") == 0
    report = json.loads((tmp_path / "two" / "report.json").read_text())
    assert report["config"]["num_steps"] == 9
    swept = [*common, "--output", tmp_path / "three", "--t-max", "0.8", "--t-min", "0.5"]
    assert run("sweep", small, *swept, "--seeds", "0") == 0
    (picture,) = (tmp_path / "three").glob("t_max*.png")
    assert json.loads(read_texts(picture)["ccsr"])["num_steps"] == 9


def test_settings_inside_a_picture_make_it_again(model: str, small: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    assert run("upscale", small, *fast(model, first), "--color", "wavelet", "--seed", 5) == 0
    settings = json.loads(read_texts(first / "small.png")["ccsr"])
    flags = [
        text for key, value in settings.items() for text in (f"--{key.replace('_', '-')}", value)
    ]
    assert run("upscale", small, *flags, "--device", "cpu", "--output", second) == 0
    one, two = (load_picture(folder / "small.png").rgb for folder in (first, second))
    np.testing.assert_allclose(one, two, atol=1.1 / 255)


def test_folders_are_taken_whole(model: str, small: Path, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    for name in ("a.png", "b.png"):
        (folder / name).write_bytes(small.read_bytes())
    (folder / "notes.txt").write_text("not a picture")
    out = tmp_path / "out"
    assert run("upscale", folder, small, *fast(model, out)) == 0
    assert sorted(path.name for path in out.iterdir()) == ["a.png", "b.png", "small.png"]


def test_nothing_is_overwritten_unless_asked(
    model: str, small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").mkdir()
    taken = tmp_path / "out" / "small.png"
    taken.write_bytes(b"mine")
    assert run("upscale", small, *fast(model, tmp_path / "out")) == 2
    assert taken.read_bytes() == b"mine"
    assert "would be overwritten" in capsys.readouterr().err
    assert run("upscale", small, *fast(model, tmp_path / "out"), "--overwrite") == 0
    assert load_picture(taken).size == (96, 120)


def test_inputs_of_one_name_are_refused_before_any_work(
    model: str, small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    twin = tmp_path / "twin" / "small.png"
    twin.parent.mkdir()
    Image.open(small).save(twin)
    assert run("upscale", small, twin, *fast(model, tmp_path / "out")) == 2
    assert "would both become" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_bad_picture_does_not_stop_the_others(
    model: str, small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = tmp_path / "bad.png"
    bad.write_bytes(small.read_bytes()[:200])
    assert run("upscale", bad, small, *fast(model, tmp_path / "out")) == 2
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["small.png"]
    assert "bad.png is damaged or incomplete" in capsys.readouterr().err


def test_a_fault_of_the_program_is_told_from_a_refusal(
    model: str, small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.delattr("ccsr.commands.digest")
    assert run("upscale", small, *fast(model, tmp_path / "out")) == 2
    told = capsys.readouterr().err
    assert f"error: {small}: NameError: name 'digest' is not defined. This is a fault" in told
    assert "Traceback" not in told


def test_seeds_writes_pictures_and_a_report(model: str, small: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    reference = tmp_path / "hr.png"
    save_png(reference, picture_from_array(data.astronaut()[100:196, 200:320]))
    assert run("seeds", small, *fast(model, out), "--seeds", "3-5", "--reference", reference) == 0
    expected = {"seed-3.png", "seed-4.png", "seed-5.png", *REPORT_FILES}
    assert {path.name for path in out.iterdir()} == expected
    report = json.loads((out / "report.json").read_text())
    assert report["seeds"] == [3, 4, 5]
    assert report["config"]["num_steps"] == 6
    assert set(report["metrics"]) == {"psnr", "ssim", "lpips"}
    assert len(report["metrics"]["psnr"]["per_seed"]) == 3

    stack = np.stack([load_picture(out / f"seed-{seed}.png").rgb for seed in (3, 4, 5)])
    spread = stack.astype(np.float64).std(0)
    # The files are rounded to 8 bits, the report is not.
    assert report["l_std"] == pytest.approx(spread[4:-4, 4:-4].mean(), abs=1e-3)
    numbers = np.load(out / "l_std.npy")
    assert numbers.shape == (96, 120)
    np.testing.assert_allclose(numbers, spread.mean(2), atol=4e-3)


def test_reference_of_another_size_is_refused_before_any_work(
    model: str, small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, large = tmp_path / "out", tmp_path / "large.png"
    save_png(large, picture_from_array(np.zeros((300, 400, 3), np.uint8)))
    for reference in (small, large):
        assert run("seeds", small, *fast(model, out), "--reference", reference) == 2
        assert "the reference must be 120x96" in capsys.readouterr().err
        assert not out.exists()


@pytest.mark.parametrize("command", ["seeds", "sweep"])
def test_results_too_small_to_measure_are_refused_before_any_work(
    command: str, small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The model does not exist, so loading it would give another message."""
    arguments = ["--reference", small, "--scale", 1]
    assert run(command, small, *fast("nowhere", tmp_path / "out"), *arguments) == 2
    assert "results of at least 40 pixels a side" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["upscale", "nowhere.png"], "there is no file or folder nowhere.png"),
        (["seeds", "nowhere.png"], "there is no file nowhere.png"),
        (["seeds", "nowhere.png", "--seeds", "a-b"], 'seeds must look like "0-9"'),
        (["upscale", "nowhere.png", "--t-min", "0.9"], "t_min must not be above t_max"),
        (["upscale", "nowhere.png", "--scale", "9"], "scale must be a number from 1 to 8, got 9.0"),
    ],
)
def test_bad_arguments_give_one_line_and_exit_code_2(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*arguments, "--output", tmp_path / "out") == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_missing_model_gives_one_line_and_exit_code_2(
    small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("upscale", small, "--model", tmp_path, "--output", tmp_path / "out") == 2
    assert "holds no model_index.json" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_compact_model_runs_as_a_program_and_hardly_depends_on_the_seed(tmp_path: Path) -> None:
    """What ships, as a user starts it: closer to the truth than what it was given looks."""
    hr = data.astronaut()[:256, 128:384]
    save_png(tmp_path / "hr.png", picture_from_array(hr))
    lr = np.asarray(Image.fromarray(hr).resize((64, 64), Image.Resampling.BICUBIC))
    save_png(tmp_path / "lr.png", picture_from_array(lr))
    command = [sys.executable, "-m", "ccsr", "seeds", tmp_path / "lr.png", "--seeds", "0-2",
               "--reference", tmp_path / "hr.png", "--output", tmp_path / "out"]  # fmt: skip
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["config"]["t_max"] == SamplingConfig().t_max
    assert 0 < report["l_std"] < 0.03
    assert report["metrics"]["psnr"]["mean"] > 23
    assert report["metrics"]["lpips"]["mean"] < 0.35


def test_large_picture_in_pieces_shows_no_seams(tmp_path: Path) -> None:
    """With the compact model; pieces of 25 latents, 200 pixels."""
    save_png(tmp_path / "coffee.png", picture_from_array(data.coffee()[60:220, 100:260]))
    for folder, pieces in (("whole", ["--no-tiling"]), ("pieces", ["--max-memory", 0.1])):
        options = ["--dtype", "float32", "--output", tmp_path / folder, *pieces]
        assert run("upscale", tmp_path / "coffee.png", *options) == 0
    whole, pieces = (load_picture(tmp_path / name / "coffee.png") for name in ("whole", "pieces"))
    assert whole.size == (640, 640)
    assert psnr(pieces.rgb, whole.rgb) > 45
    for axis in (0, 1):
        steps = [np.abs(np.diff(p.rgb, axis=axis)).mean((1 - axis, 2)) for p in (pieces, whole)]
        assert (steps[0] / steps[1]).max() < 1.05


def test_seeds_blends_what_the_seeds_do_not_agree_on(
    model: str, small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert run("seeds", small, *fast(model, out), "--seeds", "0-2", "--agreement", 0) == 0
    mean, blended, plain = (
        load_picture(out / f"{name}.png").rgb for name in ("mean", "seed-1-agreed", "seed-1")
    )
    np.testing.assert_allclose(blended, mean, atol=1.1 / 255)
    assert np.abs(plain - mean).max() > 2 / 255
    assert "seed 1: 100.0% blended with the mean" in capsys.readouterr().out


def test_sweep_writes_a_picture_a_setting_and_a_table(
    model: str, small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    fractions = ["--t-max", "0.5,0.8", "--t-min", "0.3,0.6", "--seeds", "2-3"]
    assert run("sweep", small, *fast(model, out), *fractions) == 0
    record = json.loads((out / "tradeoff.json").read_text())
    pairs = [(point["t_max"], point["t_min"]) for point in record["points"]]
    assert pairs == [(0.5, 0.3), (0.8, 0.3), (0.8, 0.6)]
    assert all(point["l_std"] > 0 for point in record["points"])
    assert (out / "tradeoff.csv").read_text().count("\n") == 4
    path = out / "t_max-0.8_t_min-0.3_seed-2.png"
    settings = json.loads(read_texts(path)["ccsr"])
    assert (settings["t_max"], settings["t_min"], settings["seed"]) == (0.8, 0.3, 2)
    assert "consistency" in capsys.readouterr().out
    again = tmp_path / "again"
    flags = ["--t-max", 0.8, "--t-min", 0.3, "--seed", 2]
    assert run("upscale", small, *fast(model, again), *flags) == 0
    one, two = (load_picture(p).rgb for p in (path, again / "small.png"))
    np.testing.assert_allclose(one, two, atol=1.1 / 255)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--t-max", "0.2", "--t-min", "0.5"], "no t_min of [0.5] is at or below"),
        (["--t-max", "1.5"], "t_max must be a number from 0 to 1, got 1.5"),
        (["--variant", "v1"], "v1 is uniform diffusion"),
    ],
)
def test_sweep_says_what_is_wrong(
    flags: list[str], message: str, model: str, small: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    assert run("sweep", small, *fast(model, tmp_path / "out"), *flags) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_folder_is_run_again_where_it_was_interrupted(
    model: str, small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    for name in ("a.png", "sub/b.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(small.read_bytes())
    command = ["upscale", folder, *fast(model, out), "--recursive"]
    assert run(*command) == 0
    (out / "sub" / "b.png").unlink()
    before = (out / "a.png").stat().st_mtime_ns
    assert run(*command) == 0
    assert (out / "a.png").stat().st_mtime_ns == before
    assert load_picture(out / "sub" / "b.png").size == (96, 120)
    assert "a.png is there with these settings" in capsys.readouterr().err
    # Others would replace it, which is to be asked for.
    assert run(*command, "--seed", 7) == 2
    assert "would be overwritten" in capsys.readouterr().err
    assert run(*command, "--seed", 7, "--overwrite") == 0
    assert (out / "a.png").stat().st_mtime_ns > before
    assert json.loads(read_texts(out / "a.png")["ccsr"])["seed"] == 7


@pytest.mark.parametrize("command", ["upscale", "seeds"])
def test_an_original_is_never_replaced(
    command: str, model: str, small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = small.rename(tmp_path / ("small.png" if command == "upscale" else "seed-0.png"))
    before = path.read_bytes()
    assert run(command, path, *fast(model, tmp_path), "--overwrite") == 2
    assert "would be replaced by a result" in capsys.readouterr().err
    assert path.read_bytes() == before


@pytest.mark.parametrize("command", ["upscale", "seeds", "sweep"])
def test_an_unwritable_folder_is_told_before_any_work(
    command: str, model: str, small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("in the way")
    assert run(command, small, *fast(model, tmp_path / "file" / "out")) == 2
    assert "cannot be written to" in capsys.readouterr().err


def test_metadata_is_kept_unless_it_is_not_wanted(model: str, small: Path, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0110] = "Camera 3"
    photo = tmp_path / "photo.jpg"
    Image.open(small).save(photo, exif=exif, dpi=(300, 300))
    for flag, kept in (("--metadata", True), ("--no-metadata", False)):
        out = tmp_path / flag
        assert run("upscale", photo, *fast(model, out), flag) == 0
        with Image.open(out / "photo.png") as image:
            assert (image.getexif().get(0x0110) == "Camera 3") == kept
            assert ("dpi" in image.info) == kept


def in_process(
    *arguments: object, limit_kb: int | None = None, **variables: str
) -> subprocess.CompletedProcess[bytes]:
    """Run the command line in a process of its own, with a limit of its address space."""
    command = [sys.executable, "-m", "ccsr", *map(str, arguments)]
    limited = ["bash", "-c", f'ulimit -v {limit_kb} && exec "$@"', "-", *command]
    return subprocess.run(
        command if limit_kb is None else limited,
        cwd=ROOT,
        env=os.environ | variables,
        capture_output=True,
        check=False,
        timeout=300,
    )


def test_names_that_the_terminal_cannot_show_do_not_end_the_job(
    model: str, small: Path, tmp_path: Path
) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    for name in ("図.png", "z.png"):
        (folder / name).write_bytes(small.read_bytes())
    (folder / "破.png").write_bytes(b"broken")
    done = in_process(
        "upscale", folder, *fast(model, out), PYTHONIOENCODING="cp1252", PYTHONUTF8="0"
    )
    assert done.returncode == 2
    assert sorted(path.name for path in out.iterdir()) == ["z.png", "図.png"]
    assert b"\\u56f3.png" in done.stdout
    assert b"error: \\u7834.png is not a picture" in done.stderr
    assert b"Traceback" not in done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="the limit is that of Linux")
def test_too_little_memory_for_one_picture_does_not_end_the_job(
    model: str, small: Path, tmp_path: Path
) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    for name in ("a.png", "c.png"):
        (folder / name).write_bytes(small.read_bytes())
    Image.fromarray(data.astronaut()).resize((1000, 1000)).save(folder / "b.png")
    done = in_process(
        "upscale", folder, *fast(model, out), "--dtype", "float32", limit_kb=1_300_000
    )
    assert done.returncode == 2
    assert sorted(path.name for path in out.iterdir()) == ["a.png", "c.png"]
    assert b"there is not enough memory for" in done.stderr
    assert b"--max-memory" in done.stderr
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize("seconds", [0.05, 0.3, 1.0, 3.0])
def test_an_interruption_leaves_no_traceback_and_no_part(
    seconds: float, model: str, small: Path, tmp_path: Path
) -> None:
    """During imports, too, which take seconds."""
    command = [sys.executable, "-m", "ccsr", "upscale", small, *fast(model, tmp_path / "out")]
    process = subprocess.Popen(
        [str(part) for part in [*command, "--num-steps", 200, "--t-min", 0, "--scale", 8]],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=interruptible,
    )
    wait_until_python_runs(process.pid)
    time.sleep(seconds)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    assert b"stopped" in err
    assert b"Traceback" not in err
    out = tmp_path / "out"
    assert not out.exists() or list(out.iterdir()) == []


def interruptible() -> None:
    """Programs in the background may have been started with the signal ignored."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def wait_until_python_runs(pid: int) -> None:
    """Until the handler of the program itself is set."""
    for _ in range(2000):
        maps = Path(f"/proc/{pid}/maps")
        if maps.exists() and "libtorch" in maps.read_text():
            return
        time.sleep(0.01)


def test_doctor_says_what_a_report_needs(
    model: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert run("doctor", "--model", model, "--device", "cpu", "--dtype", "float32") == 0
    out = capsys.readouterr().out
    assert f"torch {torch.__version__}" in out
    assert "device: cpu, float32, attention: none" in out
    for variant in ("ccsr", "v2", "v1"):
        assert f"variant {variant}: 32x32 pixels twice in" in out
    assert "FAILED" not in out


def test_doctor_names_what_fails(
    model: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert run("doctor", "--model", tmp_path) == 2
    assert "model: FAILED" in capsys.readouterr().out
