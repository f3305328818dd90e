"""`ccsr evaluate`: the work, the tables and the report, in one command."""

import dataclasses
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from tqdm import tqdm

from ccsr.evaluation.comparison import tables as formats
from ccsr.evaluation.comparison.dry_run import dry_run
from ccsr.evaluation.comparison.html_report import REPORT_FILE, html_report
from ccsr.evaluation.comparison.illustration import slug
from ccsr.evaluation.comparison.jobs import PICTURES, Failure, Work, run
from ccsr.evaluation.comparison.manifest import (
    Manifest,
    Progress,
    Row,
    check_config,
    key_of,
    read_rows,
)
from ccsr.evaluation.comparison.methods import Method, RestoredFolder
from ccsr.evaluation.comparison.plan import Plan, Request, make_plan
from ccsr.evaluation.comparison.processes import Processes, local_device
from ccsr.evaluation.comparison.results import Results, tables
from ccsr.evaluation.comparison.scores import fid
from ccsr.evaluation.comparison.summary import MethodKey, Summary, summarise
from ccsr.evaluation.comparison.tables import Table
from ccsr.evaluation.comparison.test_set import Sample
from ccsr.evaluation.comparison.timing import machine, seconds_of
from ccsr.whole_file import write_whole

RESULTS_FILE = "results.json"
FAILED = 2
"""Exit code if a picture failed."""

__all__ = ["Request", "compare"]


def compare(request: Request) -> int:
    """Do what a request asks for, or go on with it; exit code 0, or 2 if a picture failed.

    Raises:
        InputError: If the request cannot be carried out, or the folder holds results of another.
        OSError: If something cannot be read or written.
    """
    loading = request.loading.replace(device=local_device(request.loading.device))
    plan = make_plan(dataclasses.replace(request, loading=loading))
    for note in plan.scorer.notes:
        print(note, file=sys.stderr)
    check_config(request.output, plan.manifest_config())
    if request.dry_run:
        print(dry_run(plan))
        return 0
    processes = Processes(on_cpu=plan.device.type == "cpu")
    try:
        return _compare(plan, processes)
    finally:
        processes.close()


def _compare(plan: Plan, processes: Processes) -> int:
    output, config = plan.request.output, plan.request.config
    progress = Progress(read_rows(output))
    # None writes before all have read.
    processes.wait()
    manifest = Manifest(output, processes.index, plan.manifest_config())
    if config.time and processes.is_main:
        untimed = [m for m in plan.methods if m.name not in progress.timings]
        for method, seconds in seconds_of(untimed, config.scale):
            manifest.write("timing", method=method, seconds=seconds)
    work = Work(
        plan.families, plan.seeds, plan.scorer, output,
        plan.keeps_pictures, config.illustrations, config.trajectories,
    )  # fmt: skip
    mine = processes.share(plan.samples)
    work_through(work, mine, manifest, progress, shown=processes.is_main)
    manifest.close()
    processes.wait()
    if not processes.is_main:
        return 0
    summary = summarise(lambda: read_rows(output))
    results = _results(plan, summary)
    _write(output, results, tables(results))
    return _report_failures(output)


def work_through(
    work: Work, samples: Sequence[Sample], manifest: Manifest, progress: Progress, *, shown: bool
) -> None:
    """Do the jobs behind a progress bar with the time left."""
    jobs_of_one = sum(1 for _ in work.jobs(samples[0])) if samples else 0
    done = sum((sample.test_set, sample.name) in progress.done for sample in samples)
    with tqdm(
        total=jobs_of_one * len(samples), initial=jobs_of_one * done, unit="job",
        disable=not shown, leave=False,
    ) as bar:  # fmt: skip
        for event in run(work, samples, manifest, progress):
            bar.set_description_str(event.picture, refresh=False)
            if isinstance(event, Failure):
                bar.write(f"failed: {event.picture}, {event.method}: {event.error}", sys.stderr)
            else:
                bar.update()


def _results(plan: Plan, summary: Summary) -> Results:
    request = plan.request
    timings = Progress(read_rows(request.output)).timings
    return Results(
        summary, plan.methods, plan.test_sets, plan.scorer, machine(plan.device, plan.dtype),
        timings, dict(_fids(plan)), plan.published, request.config.scale,
    )  # fmt: skip


def _fids(plan: Plan) -> Iterator[tuple[MethodKey, float]]:
    """FID of each method, the mean over its seeds, if it is asked for and can be measured."""
    if not any(column.name == "fid" for column in plan.scorer.columns):
        return
    for test_set in plan.test_sets:
        for method in plan.methods:
            folders = _result_folders(plan, test_set.name, method)
            values = [fid(str(f), str(test_set.hr_folder), plan.device) for f in folders]
            yield (test_set.name, method.name), sum(values) / len(values)


def _result_folders(plan: Plan, test_set: str, method: Method) -> list[Path]:
    """The folders of a method's results, one a seed."""
    if isinstance(method, RestoredFolder):
        seeds = method.samples
        return [method.folder / f"sample{seed}" for seed in seeds] or [method.folder]
    folder = plan.request.output / PICTURES / slug(test_set) / slug(method.name)
    return [folder / f"sample{seed}" for seed in method.seeds(plan.seeds)]


def _write(output: Path, results: Results, found: Sequence[Table]) -> None:
    for name, content in formats.files(found):
        write_whole(output / name, content, overwrite=True)
    record = {
        "digest": str(results.summary.digest),
        "machine": results.machine,
        "tables": {table.name: formats.as_json(table) for table in found},
    }
    text = json.dumps(record, indent=1, ensure_ascii=False) + "\n"
    write_whole(output / RESULTS_FILE, text, overwrite=True)
    write_whole(output / REPORT_FILE, html_report(results, found, output), overwrite=True)
    for table in found:
        print(formats.markdown(table))
    print(f"digest {results.summary.digest}\n{output / REPORT_FILE}")


def _report_failures(output: Path) -> int:
    """List the pictures that failed; the exit code."""
    failed: dict[tuple[str, str], list[Row]] = {}
    for row in read_rows(output):
        if row["kind"] == "failure":
            failed.setdefault(key_of(row), []).append(row)
        elif row["kind"] == "done":
            failed.pop(key_of(row), None)
    for rows in failed.values():
        for row in {row["method"]: row for row in rows}.values():
            method = f", {row['method']}" if row["method"] else ""
            print(
                f"error: {row['test_set']}, {row['picture']}{method}: {row['error']}",
                file=sys.stderr,
            )
    if failed:
        print(f"{len(failed)} pictures failed; the same command tries them again", file=sys.stderr)
    return FAILED if failed else 0
