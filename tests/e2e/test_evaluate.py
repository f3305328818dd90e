"""`ccsr evaluate` as it is run: goes on after a kill, refuses other options, splits its work."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator

from ccsr.commands import main
from tests.tiny import save_tiny_model
from tests.unit.evaluation.comparison.pictures import write_hr

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_tiny_model(tmp_path_factory.mktemp("model")))


@pytest.fixture(scope="module")
def hr(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_hr(tmp_path_factory.mktemp("pictures") / "photos", 4)


def options(model: str, hr: Path, output: Path, *more: object) -> list[str]:
    fixed = ("--device", "cpu", "--dtype", "float32", "--metrics", "psnr,lpips", "--no-time")
    values = ("evaluate", "--hr", hr, "--model", model, "--output", output, *fixed, *more)
    return [str(value) for value in values]


def results(output: Path) -> dict[str, object]:
    return json.loads((output / "results.json").read_text())


@pytest.fixture(scope="module")
def compared(model: str, hr: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of a comparison with everything in it."""
    output = tmp_path_factory.mktemp("compared")
    settings = ("--seeds", "0-2", "--variant", "ccsr,v2,v1", "--preset", "ccsr,a1,fast")
    published = ("--published", "DIV2K", "--trajectories", 1)
    assert main(options(model, hr, output, *settings, *published)) == 0
    return output


def test_tables_are_written_in_every_format(compared: Path) -> None:
    names = {f"photos-bicubic-{t}" for t in ("table3", "table4", "table5", "stability")}
    for suffix in ("md", "csv", "tex"):
        assert {path.stem for path in compared.glob(f"*.{suffix}")} == names
    table = (compared / "photos-bicubic-table3.md").read_text()
    assert "| CCSR S15 (published) | 28.07/0.1365 |" in table
    assert "4 pictures; seeds: 3. Convention paper: a border of 4 pixels" in table
    assert "torch 2." in table
    tables = results(compared)["tables"]
    assert isinstance(tables, dict)
    assert {r["method"] for r in tables["photos-bicubic-table5"]["rows"]} == {"CCSR", "A1", "Fast"}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_report_opens_offline_in_a_browser(browser: Browser, compared: Path, scheme: str) -> None:
    context = browser.new_context(offline=True, color_scheme=scheme)  # type: ignore[arg-type]
    page, errors, requested = context.new_page(), list[str](), list[str]()
    page.on("console", lambda message: errors.append(message.text))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("request", lambda request: requested.append(request.url))
    page.goto((compared / "report.html").as_uri())
    assert not errors
    assert [url for url in requested if not url.startswith(("data:", "file:"))] == []
    assert requested.count((compared / "report.html").as_uri()) == 1
    shown = page.evaluate("[...document.images].every(i => i.complete && i.naturalWidth > 0)")
    assert shown
    assert page.locator(".row img").count() > 10
    assert page.locator(".figures svg").count() == 4
    background, color = (
        page.evaluate(f"getComputedStyle(document.body).{name}") for name in ("background", "color")
    )
    bright = "rgb(255, 255, 255)" in background
    assert bright == (scheme == "light")
    # Figures are drawn in the colour of the text.
    label = page.locator(".figures svg text").first
    assert label.evaluate("element => getComputedStyle(element).fill") == color
    context.close()


def column(table: Locator, number: int) -> list[str]:
    return table.locator(f"tbody tr td:nth-child({number})").all_inner_texts()


def test_heading_sorts_its_table_both_ways(browser: Browser, compared: Path) -> None:
    page = browser.new_page()
    page.goto((compared / "report.html").as_uri())
    table = page.locator("table").first
    heading = table.get_by_role("button", name="PSNR")
    heading.click()
    rising = [float(text.partition("/")[0]) for text in column(table, 2)]
    assert rising == sorted(rising)
    assert len(set(rising)) > 2
    heading.press("Enter")
    assert [float(t.partition("/")[0]) for t in column(table, 2)] == sorted(rising, reverse=True)
    # Deterministic methods have no L-STD: their rows come last in both directions.
    l_std = table.get_by_role("button", name="L-STD")
    for _ in range(2):
        l_std.click()
        assert column(table, len(table.locator("th").all()))[-1] == "-"
    page.close()


def command(*launcher: str) -> list[str]:
    return [sys.executable, *launcher, "-m", "ccsr"]


SEEDS = ("--seeds", "0-2")


@pytest.fixture(scope="module")
def whole(model: str, hr: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of one process that nothing disturbed."""
    output = tmp_path_factory.mktemp("whole")
    run = [*command(), *options(model, hr, output, *SEEDS)]
    subprocess.run(run, check=True, env=ENVIRONMENT, capture_output=True)
    return output


def test_killed_run_goes_on_to_the_same_digest(
    model: str, hr: Path, whole: Path, tmp_path: Path
) -> None:
    run = [*command(), *options(model, hr, tmp_path, *SEEDS)]
    process = subprocess.Popen(
        run, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    manifest, deadline = tmp_path / "jobs-0.jsonl", time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        if manifest.exists() and manifest.read_text().count('"kind": "job"') >= 6:
            break
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "results.json").exists()
    kept = manifest.read_text().count('"kind": "job"')
    subprocess.run(run, check=True, env=ENVIRONMENT, capture_output=True)
    assert results(tmp_path)["digest"] == results(whole)["digest"]
    assert 6 <= kept < manifest.read_text().count('"kind": "job"') == 4 * (3 + 1)


@pytest.mark.parametrize("count", [2, 3])
def test_processes_of_torchrun_give_the_digest_of_one(
    model: str, hr: Path, whole: Path, tmp_path: Path, count: int
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    processes = ("--nproc_per_node", str(count), "--master_port", port)
    launcher = command("-m", "torch.distributed.run", *processes)
    launched = subprocess.run(
        [*launcher, *options(model, hr, tmp_path, *SEEDS)],
        env=ENVIRONMENT, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert launched.returncode == 0, launched.stderr
    assert len(list(tmp_path.glob("jobs-*.jsonl"))) == count
    assert results(tmp_path)["digest"] == results(whole)["digest"]
    assert launched.stdout.count("### Table 3.") == 1


def test_other_options_are_refused_in_the_same_folder(
    model: str, hr: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(options(model, hr, tmp_path, "--seeds", "0", "--limit", 1)) == 0
    before = (tmp_path / "jobs-0.jsonl").read_bytes()
    assert main(options(model, hr, tmp_path, "--seeds", "0-1", "--limit", 1)) == 2
    assert "holds results of other values of seeds" in capsys.readouterr().err
    assert (tmp_path / "jobs-0.jsonl").read_bytes() == before


def test_failed_picture_is_listed_and_the_others_count(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hr = write_hr(tmp_path / "hr", 2)
    (hr / "picture1.png").write_bytes((hr / "picture1.png").read_bytes()[:500])
    out = tmp_path / "out"
    assert main(options(model, hr, out, "--seeds", "0-1")) == 2
    error = capsys.readouterr().err
    assert "picture1: picture1.png is damaged or incomplete" in error
    assert "1 pictures failed; the same command tries them again" in error
    write_hr(hr, 2)
    assert main(options(model, hr, out, "--seeds", "0-1")) == 0


def test_dry_run_counts_and_writes_nothing(
    model: str, hr: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ("--seeds", "0-9", "--variant", "ccsr,v2", "--preset", "ccsr,a1", "--dry-run")
    assert main(options(model, hr, tmp_path / "out", *more)) == 0
    shown = capsys.readouterr().out
    assert "4 pictures, test sets: 1, methods: 4; 124 jobs" in shown
    # A1 shares the estimate at T, and V2 all, with CCSR: 16 + 9 - 1 for each of ten seeds.
    assert f"{4 * 10 * 24} network evaluations" in shown
    assert not (tmp_path / "out").exists()


def test_our_kept_results_score_the_same_as_results_of_another_program(
    model: str, hr: Path, tmp_path: Path
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    assert main(options(model, hr, first, "--seeds", "0-1", "--keep-pictures")) == 0
    kept = first / "pictures" / "photos-bicubic" / "CCSR"
    again = options("none", hr, second, "--restored", f"Again={kept}")
    assert main(again) == 0
    rows = []
    for output, name in ((first, "CCSR"), (second, "Again")):
        tables = results(output)["tables"]
        assert isinstance(tables, dict)
        found = {row["method"]: row["cells"] for row in tables["photos-bicubic-table3"]["rows"]}
        rows.append({name: (c["value"], c["spread"]) for name, c in found[name].items()})
    assert rows[0] == rows[1]
