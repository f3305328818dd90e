"""Files that are there whole or not at all."""

import ast
import errno
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import training.__main__
from ccsr.whole_file import (
    ABANDONED_SECONDS,
    WriteError,
    lacks_space,
    remove_unfinished,
    whole_file,
    whole_folder,
    write_whole,
)

ROOT = Path(__file__).resolve().parents[2]
WRITERS = {
    *("write_text", "write_bytes", "savefig", "save_file", "save_pretrained", "save_config"),
    *("tofile", "copytree", "copyfile", "copy2", "to_csv", "dump"),
}
"""Methods and functions that write a file under the name that they are given."""
OPENERS = {"open", "ZipFile", "NamedTemporaryFile"}
EXCEPTIONS = {
    # Folders that `whole_folder` or a renaming makes whole.
    "ccsr/conversion/convert.py": {"save_pretrained", "save_config"},
    "training/average.py": {"copytree", "save_file"},
    "training/autoencoder.py": {"save_pretrained"},
    "training/network.py": {"save_pretrained"},
    "training/stage2.py": {"save_pretrained"},
    "training/export.py": {"save_pretrained"},
    # A method of diffusers that its caller gives a folder.
    "ccsr/inference/pipeline.py": {"save_pretrained"},
    # A file without a name.
    "ccsr/inference/memory.py": {"tofile"},
    # Lines are appended while the work goes on.
    "training/log.py": {"open"},
    "ccsr/evaluation/comparison/manifest.py": {"open"},
    "ccsr/degradation/manifest.py": {"open"},
    # Into the open file of `whole_file`.
    "ccsr/evaluation/plots.py": {"savefig"},
    "ccsr/ui/files.py": {"ZipFile"},
    # A lock, which stays empty.
    "training/processes.py": {"open"},
    # A switch of the system, no file.
    "ccsr/ui/job_log.py": {"write_text"},
    # It is the one writer.
    "ccsr/whole_file.py": {"open"},
}


class TestWholeFile:
    def test_a_text_and_bytes_are_written(self, tmp_path: Path) -> None:
        assert write_whole(tmp_path / "a", "größer\n").read_bytes() == "größer\n".encode()
        assert write_whole(tmp_path / "b", b"\x00\n").read_bytes() == b"\x00\n"

    def test_nothing_has_the_name_before_all_is_written(self, tmp_path: Path) -> None:
        path = tmp_path / "a"
        with whole_file(path) as file:
            file.write(b"half")
            file.flush()
            assert not path.exists()
        assert list(tmp_path.iterdir()) == [path]

    @pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, GeneratorExit])
    @pytest.mark.parametrize("before", [None, b"precious"])
    def test_a_failure_keeps_what_was_there(
        self, tmp_path: Path, error: type[BaseException], before: bytes | None
    ) -> None:
        path = tmp_path / "a"
        if before is not None:
            path.write_bytes(before)

        def write_half() -> None:
            with whole_file(path, overwrite=True) as file:
                file.write(b"half")
                raise error

        with pytest.raises(error):
            write_half()
        assert [p.read_bytes() for p in tmp_path.iterdir()] == ([before] if before else [])

    def test_a_file_is_replaced_only_with_overwrite(self, tmp_path: Path) -> None:
        path = write_whole(tmp_path / "a", "precious")
        with pytest.raises(FileExistsError, match="exists; choose another name"):
            write_whole(path, "new")
        assert path.read_text() == "precious"
        write_whole(path, "new", overwrite=True)
        assert path.read_text() == "new"
        assert list(tmp_path.iterdir()) == [path]

    def test_where_there_are_no_hard_links(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(*_: object) -> None:
            raise OSError(errno.EPERM, "Operation not permitted")

        monkeypatch.setattr(os, "link", refuse)
        path = write_whole(tmp_path / "a", "precious")
        with pytest.raises(FileExistsError, match="exists"):
            write_whole(path, "new")
        assert path.read_text() == "precious"

    @pytest.mark.parametrize("overwrite", [False, True])
    @pytest.mark.parametrize(
        ("number", "message"),
        [
            (errno.ENOSPC, "a.png could not be written: the disk is full; free some space"),
            (errno.EDQUOT, "your share of the disk is full"),
            (errno.EIO, "Input/output error; choose another folder"),
        ],
    )
    def test_what_the_system_refuses_is_one_sentence(
        self,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        overwrite: bool,
        number: int,
        message: str,
    ) -> None:
        def refuse(_: int) -> None:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(os, "fsync", refuse)
        with pytest.raises(WriteError, match=message) as caught:
            write_whole(tmp_path / "a.png", "new", overwrite=overwrite)
        assert "Errno" not in str(caught.value)
        assert list(tmp_path.iterdir()) == []

    def test_a_missing_folder_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError, match=r"no folder .*missing; make it"):
            write_whole(tmp_path / "missing" / "a", "new")


class TestWholeFolder:
    @pytest.mark.parametrize("empty_before", [False, True])
    def test_it_has_its_name_once_it_is_filled(self, tmp_path: Path, empty_before: bool) -> None:
        path = tmp_path / "model"
        if empty_before:
            path.mkdir()
        with whole_folder(path) as folder:
            write_whole(folder / "a", "content")
            assert not (path / "a").exists()
        assert (path / "a").read_text() == "content"
        assert list(tmp_path.iterdir()) == [path]

    def test_a_failure_leaves_nothing(self, tmp_path: Path) -> None:
        def fill_half() -> None:
            with whole_folder(tmp_path / "model") as folder:
                write_whole(folder / "a", "content")
                raise ValueError("midway")

        with pytest.raises(ValueError, match="midway"):
            fill_half()
        assert list(tmp_path.iterdir()) == []

    def test_what_is_there_stays(self, tmp_path: Path) -> None:
        write_whole(tmp_path / "a", "precious")
        for path in (tmp_path, tmp_path / "a"):
            with pytest.raises(FileExistsError, match="not empty"), whole_folder(path):
                pass
        assert (tmp_path / "a").read_text() == "precious"


def test_abandoned_parts_are_removed_and_nothing_else(tmp_path: Path) -> None:
    now, below = time.time(), tmp_path / "below"
    (below / ".old.part").mkdir(parents=True)
    (below / ".old.part" / "weights").write_text("half")
    for name in (".old2.part", ".new.part", "photo.part", ".hidden", "result.png"):
        (tmp_path / name).write_text("half")
    for path in tmp_path.rglob("*"):
        age = 30 if path.name == ".new.part" else ABANDONED_SECONDS + 30
        os.utime(path, (now - age, now - age))
    remove_unfinished(tmp_path)
    names = {path.name for path in tmp_path.rglob("*")}
    assert names == {"below", ".new.part", "photo.part", ".hidden", "result.png"}
    remove_unfinished(tmp_path / "not there")


@pytest.mark.skipif(sys.platform == "win32", reason="processes are killed in another way")
def test_a_killed_process_leaves_no_part_under_the_name(tmp_path: Path) -> None:
    """It writes again and again; whenever it is killed, every file is whole."""
    program = """
        import sys
        from pathlib import Path
        from ccsr.whole_file import write_whole
        number = 0
        while True:
            for overwrite in (False, True):
                name = f"{number}-{overwrite}"
                write_whole(Path(sys.argv[1]) / name, "x" * 1_000_000, overwrite=overwrite)
            write_whole(Path(sys.argv[1]) / "again", "x" * 1_000_000, overwrite=True)
            number += 1
    """
    for moment in range(10):
        folder = tmp_path / str(moment)
        folder.mkdir()
        command = [sys.executable, "-c", textwrap.dedent(program), str(folder)]
        process = subprocess.Popen(command, cwd=ROOT)
        deadline = time.monotonic() + 60
        while not (folder / "again").exists() and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(0.005 + 0.0037 * moment)
        process.send_signal(signal.SIGKILL)
        process.wait()
        named = [path for path in folder.iterdir() if not path.name.endswith(".part")]
        assert named
        assert {path.stat().st_size for path in named} == {1_000_000}


def direct_writes(path: Path) -> Iterator[str]:
    """Calls in a file that write to a name themselves."""
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Call):
            continue
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        texts = [a.value for a in node.args if isinstance(a, ast.Constant)]
        written_to = [m for m in texts if isinstance(m, str) and m and set(m) <= set("wxabt+r")]
        writes = any(set(mode) & set("wxa") for mode in written_to)
        if name in WRITERS or (name in OPENERS and writes):
            yield name


@pytest.mark.parametrize("package", ["ccsr", "training"])
def test_every_file_is_written_by_the_one_writer(package: str) -> None:
    for path in sorted((ROOT / package).rglob("*.py")):
        name = path.relative_to(ROOT).as_posix()
        others = set(direct_writes(path)) - EXCEPTIONS.get(name, set())
        assert not others, f"{name} writes by {others}; use ccsr.whole_file"


@pytest.mark.parametrize(
    ("error", "full"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), True),
        (RuntimeError("I/O error: No space left on device (os error 28)"), True),
        (RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 576"), True),
        (RuntimeError("I/O error: File too large (os error 27)"), False),
        (RuntimeError("shape mismatch"), False),
        (OSError(errno.ENOENT, "No such file"), False),
    ],
)
def test_a_full_disk_is_known_whatever_library_says_it(
    tmp_path: Path, error: Exception, full: bool
) -> None:
    assert lacks_space(error) == full

    def fail() -> None:
        with whole_folder(tmp_path / "model"):
            raise error

    if full:
        with pytest.raises(WriteError, match="model could not be written: the disk is full"):
            fail()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="it has no such limit")
@pytest.mark.parametrize("library", ["torch", "safetensors", "none"])
def test_a_file_above_the_limit_of_the_system_is_no_full_disk(tmp_path: Path, library: str) -> None:
    """By a limit that is set, as `ulimit -f` does: libraries say it in words of their own."""
    import resource

    def write(folder: Path) -> None:
        if library == "safetensors":
            save_file({"x": torch.zeros(100_000)}, folder / "weights")
            return
        with whole_file(folder / "weights") as file:
            if library == "torch":
                torch.save({"x": torch.zeros(100_000)}, file)
            file.write(bytes(400_000))

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with (
            pytest.raises(WriteError, match=r"may not be so large; .*\(ulimit -f\)") as caught,
            whole_folder(tmp_path / "model") as folder,
        ):
            write(folder)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not lacks_space(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_ends_training_with_one_sentence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 576 vs 534")

    monkeypatch.setattr(training.__main__, "run_step", fail)
    arguments = ["pairs", "--data", str(tmp_path), "--run-folder", str(tmp_path / "run")]
    assert training.__main__.main(arguments) == 2
    assert capsys.readouterr().err == (
        "error: the disk is full; free some space, and the same command continues from here\n"
    )
