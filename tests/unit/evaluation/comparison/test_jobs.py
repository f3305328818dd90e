import dataclasses
import io
import itertools
import json
import tracemalloc
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from tqdm import tqdm

from ccsr.evaluation.comparison.command import work_through
from ccsr.evaluation.comparison.jobs import PICTURES, Failure, JobDone, Work, as_8_bit, run
from ccsr.evaluation.comparison.manifest import Manifest, Progress, read_rows
from ccsr.evaluation.comparison.methods import Bicubic, Family, num_evaluations
from ccsr.evaluation.comparison.scores import Scorer, make_scorer
from ccsr.evaluation.comparison.statistics import SeedStatistics
from ccsr.evaluation.comparison.summary import Summary, summarise
from ccsr.evaluation.comparison.test_set import Dataset, Pair, Sample
from ccsr.evaluation.metrics import lpips, psnr
from ccsr.whole_file import WriteError
from tests.fakes import FakeEngine
from tests.unit.evaluation.comparison.pictures import Noisy, ours, write_hr

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def scorer() -> Scorer:
    return make_scorer(("psnr", "lpips"), "paper", CPU)


def work_of(scorer: Scorer, output: Path, *families: Family, **options: object) -> Work:
    return Work(families, (0, 1, 2), scorer, output, **options)  # type: ignore[arg-type]


def do(
    work: Work, hr: Path, *, process: int = 0, count: int = 1, stop_after: int | None = None
) -> list[JobDone | Failure]:
    """Run a share of the work, perhaps killed after some jobs."""
    samples = Dataset("set", hr, "bicubic", 4).check()
    manifest = Manifest(work.output, process, {"made": "here"})
    events = run(work, samples[process::count], manifest, Progress(read_rows(work.output)))
    done = list(itertools.islice(events, stop_after))
    manifest.close()
    return done


def digest(output: Path) -> str:
    return str(summary(output).digest)


def summary(output: Path) -> Summary:
    return summarise(lambda: read_rows(output))


def test_every_job_is_done_once_and_recorded(scorer: Scorer, tmp_path: Path) -> None:
    hr, noisy = write_hr(tmp_path / "hr"), Noisy()
    events = do(work_of(scorer, tmp_path / "out", (Bicubic(4),), (noisy,)), hr)
    assert noisy.calls == 9
    assert len(events) == 12
    rows = list(read_rows(tmp_path / "out"))
    assert sum(row["kind"] == "job" for row in rows) == 12
    assert sum(row["kind"] == "group" for row in rows) == 6
    assert sum(row["kind"] == "done" for row in rows) == 3


@pytest.mark.parametrize("stop_after", [0, 5, 12])
def test_bar_counts_each_job_once_when_a_run_goes_on(
    scorer: Scorer, tmp_path: Path, stop_after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    bars: list[tqdm] = []

    class Bar(tqdm):
        def __init__(self, **options: object) -> None:
            super().__init__(**options, file=io.StringIO())
            bars.append(self)

    monkeypatch.setattr("ccsr.evaluation.comparison.command.tqdm", Bar)
    hr, work = (
        write_hr(tmp_path / "hr"),
        work_of(scorer, tmp_path / "out", (Bicubic(4),), (Noisy(),)),
    )
    do(work, hr, stop_after=stop_after)
    progress = Progress(read_rows(work.output))
    manifest = Manifest(work.output, 0, {"made": "here"})
    samples = Dataset("set", hr, "bicubic", 4).check()
    work_through(work, samples, manifest, progress, shown=True)
    manifest.close()
    assert [(bar.n, bar.total) for bar in bars] == [(12, 12)]


@pytest.mark.parametrize("stop_after", [1, 2, 5, 9, 11])
def test_killed_run_goes_on_and_gives_the_same_results(
    scorer: Scorer, tmp_path: Path, stop_after: int
) -> None:
    hr = write_hr(tmp_path / "hr")
    do(work_of(scorer, tmp_path / "whole", (Bicubic(4),), (Noisy(),)), hr)
    first, second = Noisy(), Noisy()
    do(work_of(scorer, tmp_path / "cut", (Bicubic(4),), (first,)), hr, stop_after=stop_after)
    do(work_of(scorer, tmp_path / "cut", (Bicubic(4),), (second,)), hr)
    assert digest(tmp_path / "cut") == digest(tmp_path / "whole")
    # At most the job that was being recorded is made again.
    assert first.calls + second.calls <= 10
    kinds = [row["kind"] for row in read_rows(tmp_path / "cut")]
    assert kinds.count("job") == 12


def test_row_that_was_cut_off_is_made_again(scorer: Scorer, tmp_path: Path) -> None:
    hr, out = write_hr(tmp_path / "hr"), tmp_path / "out"
    do(work_of(scorer, out, (Noisy(),)), hr)
    whole, path = digest(out), out / "jobs-0.jsonl"
    path.write_bytes(path.read_bytes()[:-200])
    do(work_of(scorer, out, (Noisy(),)), hr)
    assert digest(out) == whole
    assert all(json.loads(line) for line in path.read_text().splitlines())


@pytest.mark.parametrize("count", [2, 3])
def test_processes_share_the_work_and_give_the_same_digest(
    scorer: Scorer, tmp_path: Path, count: int
) -> None:
    hr = write_hr(tmp_path / "hr", 4)
    do(work_of(scorer, tmp_path / "one", (Noisy(),)), hr)
    for process in range(count):
        do(work_of(scorer, tmp_path / "several", (Noisy(),)), hr, process=process, count=count)
    assert len(list((tmp_path / "several").glob("jobs-*.jsonl"))) == count
    assert digest(tmp_path / "several") == digest(tmp_path / "one")
    one, several = (summary(tmp_path / name).methods["set", "Noisy"] for name in ("one", "several"))
    assert {n: m.value for n, m in one.means.items()} == {
        n: m.value for n, m in several.means.items()
    }


def test_picture_that_fails_is_left_out_for_all_and_tried_again(
    scorer: Scorer, tmp_path: Path
) -> None:
    hr, out = write_hr(tmp_path / "hr"), tmp_path / "out"
    events = do(work_of(scorer, out, (Bicubic(4),), (Noisy(fails_for=("picture1",)),)), hr)
    (failure,) = [event for event in events if isinstance(event, Failure)]
    assert (failure.picture, failure.method) == ("picture1", "Noisy")
    assert failure.error == "out of memory"
    found = summary(out)
    assert found.left_out == {("set", "picture1")}
    assert [m.num_pictures for m in found.methods.values()] == [2, 2]
    do(work_of(scorer, out, (Bicubic(4),), (Noisy(),)), hr)
    assert [m.num_pictures for m in summary(out).methods.values()] == [3, 3]
    assert not summary(out).left_out


def test_method_that_always_fails_takes_no_picture_from_the_others(
    scorer: Scorer, tmp_path: Path
) -> None:
    hr, out = write_hr(tmp_path / "hr", 2), tmp_path / "out"
    broken = Noisy("Broken", fails_for=("picture0", "picture1"))
    do(work_of(scorer, out, (Noisy(),), (broken,)), hr)
    assert {key: m.num_pictures for key, m in summary(out).methods.items()} == {("set", "Noisy"): 2}


def test_unreadable_picture_fails_and_the_others_count(scorer: Scorer, tmp_path: Path) -> None:
    hr = write_hr(tmp_path / "hr")
    (hr / "picture1.png").write_bytes(b"no picture")
    events = do(work_of(scorer, tmp_path / "out", (Noisy(),)), hr)
    assert [e.picture for e in events if isinstance(e, Failure)] == ["picture1"]
    assert summary(tmp_path / "out").methods["set", "Noisy"].num_pictures == 2


def test_picture_that_memory_is_too_little_for_fails_and_the_others_count(
    scorer: Scorer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hr, load = write_hr(tmp_path / "hr"), Sample.load

    def loaded(sample: Sample) -> Pair:
        if sample.name == "picture1":
            raise MemoryError
        return load(sample)

    monkeypatch.setattr(Sample, "load", loaded)
    events = do(work_of(scorer, tmp_path / "out", (Noisy(),)), hr)
    (failure,) = [event for event in events if isinstance(event, Failure)]
    assert failure.error.startswith("there is not enough memory for picture1;")
    assert summary(tmp_path / "out").methods["set", "Noisy"].num_pictures == 2


def test_statistics_are_those_of_the_pictures_in_float64(scorer: Scorer, tmp_path: Path) -> None:
    """CCSR Eq. (4) and (5) computed directly, over all pictures of the authors' border."""
    hr, out, noisy = write_hr(tmp_path / "hr"), tmp_path / "out", Noisy()
    do(work_of(scorer, out, (noisy,)), hr)
    l_stds, g_stds, means = [], [], []
    for sample in Dataset("set", hr, "bicubic", 4).samples():
        pair = sample.load()
        results = [as_8_bit(noisy.restore(sample, pair.lr, seed)) for seed in (0, 1, 2)]
        inner = np.stack(results).astype(np.float64)[:, 4:-4, 4:-4]
        l_stds.append(inner.std(0).mean())
        scores = [psnr(sr[4:-4, 4:-4], pair.hr[4:-4, 4:-4]) for sr in results]
        g_stds.append(np.std(scores))
        means.append(np.mean(scores))
    found = summary(out).methods["set", "Noisy"]
    assert found.mean("l_std") == pytest.approx(np.mean(l_stds), abs=1e-7)
    assert found.mean("g_std psnr") == pytest.approx(np.mean(g_stds), abs=1e-7)
    assert found.mean("scores psnr") == pytest.approx(np.mean(means), abs=1e-7)


def test_distances_are_those_of_every_pair(scorer: Scorer, tmp_path: Path) -> None:
    sample = next(Dataset("set", write_hr(tmp_path / "hr", 1), "bicubic", 4).samples())
    pair, noisy = sample.load(), Noisy()
    results = [as_8_bit(noisy.restore(sample, pair.lr, seed)) for seed in range(4)]
    statistics = SeedStatistics(pair.hr, scorer, 4)
    for seed, sr in enumerate(results):
        statistics.add(seed, sr, {"psnr": float(seed)})
    inner = [sr[4:-4, 4:-4] for sr in results]
    expected = [lpips(a, b) for a, b in itertools.combinations(inner, 2)]
    row = statistics.row()
    assert row["diversity"]["mean"] == pytest.approx(np.mean(expected), rel=1e-5)
    assert row["diversity"]["max"] == pytest.approx(max(expected), rel=1e-5)
    assert (row["best"]["seed"], row["worst"]["seed"]) == (3, 0)


def test_one_seed_has_no_deviation(scorer: Scorer, tmp_path: Path) -> None:
    do(work_of(scorer, tmp_path / "out", (Bicubic(4),)), write_hr(tmp_path / "hr", 1))
    found = summary(tmp_path / "out").methods["set", "Bicubic"]
    assert found.mean("l_std") is None
    assert found.mean("g_std psnr") is None


@pytest.mark.parametrize("kept", [True, False])
def test_results_stay_only_if_asked(scorer: Scorer, tmp_path: Path, kept: bool) -> None:
    out = tmp_path / "out"
    do(work_of(scorer, out, (Noisy(),), keep_pictures=kept), write_hr(tmp_path / "hr", 2))
    files = sorted((out / PICTURES).rglob("*.png"))
    assert len(files) == (6 if kept else 0)


def test_settings_share_their_chains(scorer: Scorer, tmp_path: Path) -> None:
    """V2 and CCSR are one network run; A2 and A4 are parts of the chain of CCSR."""
    engine = FakeEngine()
    methods = ours(engine, "ccsr", "v2", presets=("ccsr", "a2", "a4", "a1"))
    do(work_of(scorer, tmp_path / "out", methods), write_hr(tmp_path / "hr", 1))
    configs = [method.setting.config for method in methods]
    assert num_evaluations(configs, "paper") == 22 + 9 - 1
    assert engine.evaluations == 3 * num_evaluations(configs, "paper")


def test_trajectory_has_the_scores_of_each_estimate(scorer: Scorer, tmp_path: Path) -> None:
    out = tmp_path / "out"
    do(work_of(scorer, out, ours(FakeEngine()), num_trajectories=1), write_hr(tmp_path / "hr", 2))
    (points,) = summary(out).trajectories.values()
    assert len(points) == 16
    assert max(points) == 999
    assert {"psnr", "lpips"} == set(points[999])


def test_full_disk_ends_the_work(
    scorer: Scorer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is no failure of the picture: all that follow would fail, too."""

    def full(*_: object, **__: object) -> None:
        raise WriteError("the disk is full")

    monkeypatch.setattr("ccsr.evaluation.comparison.jobs.save_png", full)
    with pytest.raises(WriteError, match="the disk is full"):
        do(work_of(scorer, tmp_path / "out", (Noisy(),)), write_hr(tmp_path / "hr", 1))


def test_illustrations_are_kept_of_the_first_pictures(scorer: Scorer, tmp_path: Path) -> None:
    out = tmp_path / "out"
    do(work_of(scorer, out, (Noisy(),), num_illustrated=1), write_hr(tmp_path / "hr", 2))
    names = {path.relative_to(out / "illustrations").as_posix()
             for path in (out / "illustrations").rglob("*.*")}  # fmt: skip
    files = ("hr.jpg", "lr.jpg", "Noisy-best.jpg", "Noisy-worst.jpg", "Noisy-std.png")
    assert names == {f"set/picture0/{name}" for name in files}


def test_memory_does_not_grow_with_rows(tmp_path: Path) -> None:
    """Rows of pictures that are done are not held."""

    def rows(pictures: int) -> list[dict[str, object]]:
        found: list[dict[str, object]] = []
        for number in range(pictures):
            key = {"test_set": "set", "picture": str(number)}
            found += [{"kind": "job", **key, "method": "m", "seed": s} for s in range(10)]
            found.append({"kind": "done", **key})
        return found

    progress = Progress(iter(rows(50)))
    assert len(progress.done) == 50
    assert not progress._unfinished


def test_many_pictures_take_no_more_memory_than_few(scorer: Scorer, tmp_path: Path) -> None:
    """The peak of what Python and NumPy hold, from the first picture to the tables."""
    peaks: dict[int, int] = {}
    # The first run pays for what is set up once.
    for name, count in (("first", 3), ("few", 3), ("many", 30)):
        hr, out = tmp_path / name, tmp_path / f"out-{name}"
        for number in range(count // 3):
            write_hr(hr / str(number), 3)
        work = dataclasses.replace(work_of(scorer, out, (Noisy(),)), seeds=(0, 1))
        tracemalloc.start()
        samples = Dataset("set", hr, "bicubic", 4).check()
        for _ in run(work, samples, Manifest(out, 0, {}), Progress(iter(()))):
            pass
        assert summary(out).methods["set", "Noisy"].num_pictures == count
        peaks[count] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peaks[30] < 1.25 * peaks[3]


def seeds_of(events: Sequence[JobDone | Failure]) -> list[int]:
    return [event.seed for event in events if isinstance(event, JobDone)]


def test_seeds_take_turns_in_a_family(scorer: Scorer, tmp_path: Path) -> None:
    methods = (Noisy("One"), Noisy("Two"))
    events = do(work_of(scorer, tmp_path / "out", methods), write_hr(tmp_path / "hr", 1))
    assert seeds_of(events) == [0, 0, 1, 1, 2, 2]
