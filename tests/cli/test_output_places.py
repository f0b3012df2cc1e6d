"""A place that cannot be written is one line before the work, whichever command is to write there."""

import errno
import os
import resource
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.toy_runs import toy_config, write_config
from tests.toy_sweeps import sweep
from videoadapt.cli import compare, convert, demo, evaluate, export, features, prepare, submit, train
from videoadapt.cli import sweep as sweep_command
from videoadapt.errors import what_the_system_refuses

Main = Callable[[list[str]], int]
COMMANDS: dict[str, tuple[Main, list[str]]] = {
    "scan": (prepare.main, ["scan", "--list", "none.csv", "--out", "{folder}"]),
    "folder": (prepare.main, ["folder", "none", "--out", "{folder}"]),
    "reencode": (prepare.main, ["reencode", "--list", "none.csv", "--out", "{folder}"]),
    "ucf101": (prepare.main, ["ucf101", "none", "--out", "{folder}"]),
    "features": (features.main, ["{folder}/x.npz", "--run", "none", "--list", "none.csv"]),
    "export": (export.main, ["{folder}/x.onnx", "--run", "none"]),
    "convert": (convert.main, ["none.pth", "{folder}/x.pth"]),
    "convert to a folder": (convert.main, ["none.pth", "{folder}", "--to", "huggingface"]),
    "train": (train.main, ["--cfg", "{config}", "output={folder}"]),
    "test": (train.main, ["--cfg", "{config}", "output={folder}", "train.enable=false"]),
    "submit": (submit.main, ["--cfg", "{config}", "output={folder}", "--dry-run"]),
    "sweep": (sweep_command.main, ["--cfg", "{sweep}", "output={folder}"]),
}


def shown(name: str, folder: Path, config: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """What a command says of a place that cannot be written; it has to end with exit code 2 and one line on it."""
    main, arguments = COMMANDS[name]
    places = {"folder": folder, "config": config, "sweep": config.with_name("sweep.yaml")}
    assert main([argument.format(**places) for argument in arguments]) == 2
    said = capsys.readouterr().err
    assert "Traceback" not in said
    lines = [line for line in said.splitlines() if str(folder) in line and "holds no checkpoint" not in line]
    assert len(lines) == (2 if name == "sweep" else 1), said  # it has cells in two folders
    return lines[0]


@pytest.mark.parametrize(
    ("main", "arguments"),
    [
        (convert.main, ["{file}", "{file}"]),
        (evaluate.main, ["{file}", "--truth", "none.json", "--out", "{file}"]),
        (evaluate.main, ["none.json", "--truth", "{file}", "--out", "{file}"]),
        (features.main, ["{file}", "--run", "none", "--list", "{file}"]),
        (export.main, ["{file}", "--adapter", "{file}"]),
        (export.main, ["{file}", "--adapter", "none", "--weights", "{file}"]),
        (compare.main, ["none", "{folder}", "--out", "{folder}/results.json"]),
        (convert.main, ["{folder}", "{file}"]),
        (prepare.main, ["scan", "--list", "{folder}/clean.csv", "--out", "{folder}"]),
        (prepare.main, ["reencode", "--list", "{file}", "--out", "{folder}"]),
        (demo.main, ["none.mp4", "--adapter", "{file}", "--csv", "{file}"]),
        (demo.main, ["none.mp4", "--onnx", "{file}", "--csv", "{file}"]),
    ],
)
def test_what_is_read_is_kept(
    main: Main, arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [tmp_path / name for name in ("a.safetensors", "results.json", "clean.csv")]
    for file in files:
        file.write_bytes(b"dear")
    assert main([argument.format(file=files[0], folder=tmp_path) for argument in arguments]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and ": is read by this command, and would be lost; name another" in said
    assert all(file.read_bytes() == b"dear" for file in files)


@pytest.fixture
def config(tmp_path: Path, clips: Path) -> Path:
    sweep(tmp_path, axes={"optim.lr_per_256": [0.1]}, seeds=[0, 1])
    return write_config(tmp_path / "c.yaml", toy_config(tmp_path / "out", clips))


@pytest.mark.parametrize("name", COMMANDS)
def test_a_file_or_a_dangling_link_in_the_way(
    name: str, config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("nowhere")
    assert f"{tmp_path}/file is a file; choose another folder" in shown(name, tmp_path / "file" / "new", config, capsys)
    assert f"{tmp_path}/link is a link to nowhere, which" in shown(name, tmp_path / "link" / "new", config, capsys)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_read_only_disk(name: str, config: Path, small_disk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    assert "mounted read-only; choose another folder" in shown(name, small_disk / "new", config, capsys)


@contextmanager
def open_files(most: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_too_few_open_files(config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    limit = 31 + len(os.listdir("/proc/self/fd"))  # earlier tests in this process have left some open
    workers = (limit - 24) // 4 + 1
    with open_files(limit):
        assert train.main(["--cfg", str(config), f"data.workers={workers}"]) == 2
    assert capsys.readouterr().err.splitlines()[-1] == (
        f"error: data.workers = {workers}: needs {24 + 4 * workers} open files, and this process may have {limit} at a time; "
        "raise the limit (ulimit -n 1024), or lower data.workers"
    )


def test_the_limit_of_open_files_that_is_named_suffices(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train.main(["--cfg", str(config), "data.workers=1000000"]) == 2
    assert "needs 4000024 open files, " in (said := capsys.readouterr().err) and "(ulimit -n 4000024)" in said
    with open_files(1024):
        said = what_the_system_refuses(OSError(errno.EMFILE, "Too many open files"))
    assert said == "Too many open files: this process may open 1024 at a time; raise the limit: ulimit -n 4096"


def test_open_files_that_run_out_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "clips" / "a").mkdir(parents=True)
    with open_files(0):
        assert prepare.main(["folder", str(tmp_path / "clips"), "--out", str(tmp_path / "lists")]) == 2
    assert "Too many open files: this process may open 0 at a time" in capsys.readouterr().err
