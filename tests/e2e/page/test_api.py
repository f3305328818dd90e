"""The page as a program calls it."""

import json
import threading
import zipfile
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image

from ccsr.images.reading import load_picture, read_texts
from ccsr.ui.compute_thread import compute
from tests.e2e.page.conftest import Serve
from tests.fakes import FakeEngine

pytestmark = pytest.mark.e2e


@pytest.mark.parametrize("reads_text", [True, False])
def test_programs_are_offered_prompts_only_where_they_are_read(
    reads_text: bool, serve: Serve, engine: FakeEngine
) -> None:
    engine.reads_text = reads_text
    client = Client(serve(engine), verbose=False, analytics_enabled=False)
    endpoints = client.view_api(return_format="dict", print_info=False)["named_endpoints"]
    for name in ("/upscale", "/seeds", "/sweep"):
        offered = {parameter["parameter_name"] for parameter in endpoints[name]["parameters"]}
        assert {"picture", "color"} <= offered
        assert ({"prompt", "negative_prompt", "guidance_scale"} <= offered) == reads_text
        assert not any("param" in parameter for parameter in offered)


def test_a_program_upscales_through_the_api(
    client: Client, engine: FakeEngine, picture_file: Path
) -> None:
    arguments = {"picture": handle_file(str(picture_file)), "seed": 3, "scale": 2}
    result, details = client.predict(**arguments, api_name="/upscale")
    assert load_picture(result).size == (80, 120)
    assert json.loads(read_texts(result)["ccsr"])["seed"] == 3
    assert details["size"] == "120x80"
    again, _ = client.predict(**arguments, api_name="/upscale")
    assert Path(again).read_bytes() == Path(result).read_bytes()
    assert engine.threads == {compute(threading.current_thread).name}


def test_a_program_runs_seeds_through_the_api(
    client: Client, engine: FakeEngine, picture_file: Path, reference_file: Path
) -> None:
    archive, l_std_map, report = client.predict(
        picture=handle_file(str(picture_file)),
        first_seed=5,
        num_seeds=3,
        reference=handle_file(str(reference_file)),
        api_name="/seeds",
    )
    with zipfile.ZipFile(archive) as files:
        assert "seed-7.png" in files.namelist()
    assert Image.open(l_std_map).width == 240
    assert report["seeds"] == [5, 6, 7]
    assert set(report["metrics"]) == {"psnr", "ssim", "lpips"}
    assert engine.threads == {compute(threading.current_thread).name}


def test_a_program_sweeps_through_the_api(
    client: Client, engine: FakeEngine, picture_file: Path
) -> None:
    files, record = client.predict(
        picture=handle_file(str(picture_file)), t_maxs="0.8", t_mins="0.3,0.5", num_seeds=2,
        api_name="/sweep",
    )  # fmt: skip
    *numbers, archive = map(Path, files)
    assert [path.name for path in numbers] == ["tradeoff.csv", "tradeoff.json", "tradeoff.png"]
    with ZipFile(archive) as packed:
        pictures = {name for name in packed.namelist() if Path(name).stem != "tradeoff"}
    assert len(pictures) == 3  # one a setting, and the enlargement
    assert [point["t_min"] for point in record["points"]] == [0.3, 0.5]
    assert all(point["consistency"] > 0 for point in record["points"])
    assert engine.threads == {compute(threading.current_thread).name}


def test_a_program_gets_the_same_messages(
    client: Client, engine: FakeEngine, picture_file: Path
) -> None:
    picture = handle_file(str(picture_file))
    with pytest.raises(AppError, match=r"t_max must be a number from 0 to 1, got 1\.5"):
        client.predict(picture=picture, t_max=1.5, api_name="/upscale")
    with pytest.raises(AppError, match="Number of seeds must be a whole number from 2 to 50"):
        client.predict(picture=picture, num_seeds=51, api_name="/seeds")
    assert engine.evaluations == 0


def test_the_api_names_its_parameters_and_hides_the_rest(
    client: Client, engine: FakeEngine
) -> None:
    endpoints = client.view_api(return_format="dict", print_info=False)["named_endpoints"]
    assert set(endpoints) == {"/upscale", "/seeds", "/sweep"}
    for endpoint in endpoints.values():
        assert "color is one of adain-wavelet, adain, wavelet, none" in endpoint["description"]
    names = [p["parameter_name"] for p in endpoints["/upscale"]["parameters"]]
    assert names == ["picture", "seed", "scale", "variant", "num_steps", "t_max", "t_min", "color"]
    assert [r["label"] for r in endpoints["/seeds"]["returns"]] == [
        "Report and pictures",
        "L-STD map",
        "Report",
    ]


@pytest.mark.parametrize("mode", ["RGBA", "L", "P", "CMYK", "I;16", "LA"])
def test_pictures_of_all_kinds_are_upscaled(
    client: Client, engine: FakeEngine, picture_file: Path, tmp_path: Path, mode: str
) -> None:
    path = tmp_path / ("kind.tif" if mode == "CMYK" else "kind.png")
    picture = Image.open(picture_file)
    if mode == "I;16":
        grey = np.asarray(picture.convert("L"), np.uint16) * 257
        Image.fromarray(grey).save(path)
    else:
        picture.convert(mode).save(path)
    result, _ = client.predict(picture=handle_file(str(path)), api_name="/upscale")
    restored = load_picture(result)
    assert restored.size == (160, 240)
    assert (restored.alpha is not None) == (mode in ("RGBA", "LA"))
    assert restored.bits == (16 if mode == "I;16" else 8)


def test_a_turned_photograph_is_shown_upright(
    client: Client, engine: FakeEngine, picture_file: Path, tmp_path: Path
) -> None:
    path = tmp_path / "turned.jpg"
    picture = Image.open(picture_file)
    exif = picture.getexif()
    exif[274] = 6
    picture.convert("RGB").save(path, exif=exif)
    result, _ = client.predict(picture=handle_file(str(path)), api_name="/upscale")
    assert load_picture(result).size == (240, 160)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("empty.png", "is empty"),
        ("cut.png", "damaged or incomplete"),
        ("tiny.png", "1x1 pixels"),
        ("wide.png", "20000x300 pixels"),
    ],
)
def test_pictures_that_cannot_be_upscaled_get_a_clear_message(
    client: Client, engine: FakeEngine, picture_file: Path, tmp_path: Path, name: str, message: str
) -> None:
    path = tmp_path / name
    whole = picture_file.read_bytes()
    if name == "wide.png":
        Image.new("RGB", (20_000, 300)).save(path)
    elif name == "tiny.png":
        Image.new("RGB", (1, 1)).save(path)
    else:
        path.write_bytes(b"" if name == "empty.png" else whole[: len(whole) // 2])
    with pytest.raises(AppError, match=message):
        client.predict(picture=handle_file(str(path)), api_name="/upscale")
    assert engine.evaluations == 0
