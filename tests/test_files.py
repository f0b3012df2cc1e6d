"""A file is there whole or not at all, and what was written is read back."""

import errno
import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import av
import pytest

from tests.toy_runs import environment
from videoadapt import files
from videoadapt.errors import VideoAdaptError, what_the_system_refuses
from videoadapt.files import (
    PARTIAL,
    make_folder,
    open_text,
    read_jsonl,
    remove_abandoned,
    remove_partial,
    write_atomically,
    write_json,
    write_text,
)
from videoadapt.system import WINDOWS, lock


def test_json_is_readable_and_comes_back(tmp_path: Path) -> None:
    value = {"video": "Grüße, 日本.mp4", "top1": 91.25, "reasons": [None, "x"]}
    write_json(tmp_path / "new" / "folder" / "r.json", value)
    text = (tmp_path / "new" / "folder" / "r.json").read_bytes().decode("utf-8")
    assert json.loads(text) == value and "Grüße, 日本" in text and text.endswith("}\n")
    assert [path.name for path in (tmp_path / "new" / "folder").iterdir()] == ["r.json"]


def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_text(tmp_path / "a.txt", "old")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_text(tmp_path / "a.txt", "new")
    assert (tmp_path / "a.txt").read_text() == "old" and len(list(tmp_path.iterdir())) == 1


def test_the_error_names_the_file_that_was_asked_for(tmp_path: Path) -> None:
    (tmp_path / "a.txt").mkdir()
    (tmp_path / "a.txt" / "inside").touch()
    with pytest.raises(IsADirectoryError) as caught:
        write_text(tmp_path / "a.txt", "new")
    assert caught.value.filename == str(tmp_path / "a.txt") and not list(tmp_path.glob(".*"))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
@pytest.mark.parametrize("flushes", [True, False])
def test_lines_on_a_full_disk_name_their_file(flushes: bool) -> None:
    """Python's errors of an open file name none: "a file cannot be written", of all that a command writes."""
    with pytest.raises(OSError) as caught, open_text(Path("/dev/full"), "w") as file:
        file.write("a line")
        if flushes:
            file.flush()
    assert caught.value.filename == "/dev/full"


def test_an_error_of_pyav_names_the_file_too(tmp_path: Path) -> None:
    """Its `filename` cannot be set."""

    def encode(partial: Path) -> None:
        with av.open(str(partial / "inside"), "w", format="mp4") as container:
            container.add_stream("libx264", rate=25)
            container.start_encoding()

    with pytest.raises(OSError) as caught:
        write_atomically(tmp_path / "a.mp4", encode)
    assert caught.value.filename == str(tmp_path / "a.mp4") and caught.value.errno == errno.ENOTDIR


def test_a_copy_onto_a_full_disk_names_where_it_goes(tmp_path: Path, small_disk: Path) -> None:
    (tmp_path / "large").write_bytes(bytes(2 * 10**6))
    with pytest.raises(OSError) as caught:
        shutil.copyfile(tmp_path / "large", small_disk / "copy")
    assert what_the_system_refuses(caught.value).startswith(f"{small_disk / 'copy'}: No space left on device; free")


def test_only_what_dead_writers_left_is_removed(tmp_path: Path) -> None:
    path, seen = tmp_path / "a[1].txt", []
    dead = tmp_path / f".{path.name}.1{PARTIAL}"

    def write(partial: Path) -> None:
        partial.write_text("mine")
        dead.touch()  # no process holds a lock on it, as after a kill
        write_text(path, "of another")
        seen.extend([partial.exists(), dead.exists()])
        dead.touch()

    (other := tmp_path / f".b.txt.1{PARTIAL}").touch()
    write_atomically(path, write)
    assert seen == [True, False] and path.read_text() == "mine" and dead.exists() and other.exists()
    remove_abandoned(tmp_path)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(WINDOWS, reason="nothing is removed there")
@pytest.mark.parametrize("removed", [True, False])
def test_a_file_taken_before_its_lock_is_made_again(
    removed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[int] = []

    def late(handle: int) -> None:  # the writer's first lock; another process comes before it
        monkeypatch.setattr(files, "lock", lock)
        if removed:
            remove_abandoned(tmp_path)
        else:  # and is about to remove it
            held.append(os.open(next(tmp_path.glob(".*")), os.O_RDONLY))
            lock(held[0])
        lock(handle)

    def write(partial: Path) -> None:
        partial.write_text("whole")
        for handle in held:
            os.close(handle)
        remove_abandoned(tmp_path)
        assert list(tmp_path.iterdir()) == [partial]

    monkeypatch.setattr(files, "lock", late)
    write_atomically(tmp_path / "a.txt", write)
    assert (tmp_path / "a.txt").read_text() == "whole"


def test_several_writers_of_one_file_all_succeed(tmp_path: Path) -> None:
    def write(writer: int) -> None:
        for number in range(100):
            write_text(tmp_path / "a.txt", f"{writer} {number}\n" * 100)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))  # which raises what a writer raised
    lines = (tmp_path / "a.txt").read_text().splitlines()
    assert len(lines) == 100 and len(set(lines)) == 1 and list(tmp_path.iterdir()) == [tmp_path / "a.txt"]


def test_a_folder_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "pictures"

    def fill(partial: Path) -> None:
        (partial / "a").write_text("mine")
        assert not folder.exists()

    def fill_late(partial: Path) -> None:
        (partial / "a").write_text("late")
        make_folder(folder, fill)

    def fail(partial: Path) -> None:
        (partial / "a").write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        make_folder(folder, fail)
    assert not list(folder.parent.iterdir())
    make_folder(folder, fill_late)
    assert (folder / "a").read_text() == "mine" and list(folder.parent.iterdir()) == [folder]


@pytest.mark.slow
def test_a_killed_writer_leaves_nothing_for_long(tmp_path: Path) -> None:
    code = f"""
import pathlib, signal
from videoadapt.files import write_atomically
def write(path):
    path.write_text("half")
    print("x", flush=True)
    signal.pause()
write_atomically(pathlib.Path({str(tmp_path / "a.txt")!r}), write)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env=environment()) as writer:
        assert writer.stdout is not None and writer.stdout.readline() == b"x\n"
        remove_abandoned(tmp_path)
        assert len(list(tmp_path.iterdir())) == 1
        writer.kill()
    write_text(tmp_path / "a.txt", "whole")
    assert list(tmp_path.iterdir()) == [tmp_path / "a.txt"]


@pytest.mark.slow
def test_a_killed_filler_of_a_folder_leaves_nothing(tmp_path: Path) -> None:
    code = f"""
import pathlib, signal
from videoadapt.files import make_folder
def fill(folder):
    (folder / "a").write_text("half")
    print("x", flush=True)
    signal.pause()
make_folder(pathlib.Path({str(tmp_path / "pictures")!r}), fill)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env=environment()) as writer:
        assert writer.stdout is not None and writer.stdout.readline() == b"x\n"
        remove_abandoned(tmp_path)
        assert len(list(tmp_path.rglob("a"))) == 1
        writer.kill()
    make_folder(tmp_path / "pictures", lambda partial: None)
    assert list(tmp_path.rglob("*")) == [tmp_path / "pictures"]


@pytest.mark.parametrize("line", ["7", "[" * 10**5, "9" * 5000, '{"kind": "train"}', '"step"', "\0\0", "{"])
def test_a_damaged_record_is_named(line: str, tmp_path: Path) -> None:
    (tmp_path / "m.jsonl").write_text(f'{{"step": 1}}\n{line}\n{{"step": 2}}\n')
    with pytest.raises(VideoAdaptError, match=r"m\.jsonl: line 2 is damaged"):
        read_jsonl(tmp_path / "m.jsonl", "step")


def test_a_half_written_record_is_left_out(tmp_path: Path) -> None:
    assert read_jsonl(tmp_path / "m.jsonl") == []
    (tmp_path / "m.jsonl").write_text('{"step": 1}\n{"step": 2}\n{"ste')
    assert read_jsonl(tmp_path / "m.jsonl") == [{"step": 1}, {"step": 2}]


@pytest.mark.parametrize("name", ["x" * 255, "ä" * 127])
def test_a_name_may_be_as_long_as_the_file_system_takes(name: str, tmp_path: Path) -> None:
    left = []

    def write(partial: Path) -> None:
        partial.write_text("new")
        left.append(partial.with_stem(f"{partial.stem}0"))

    write_atomically(tmp_path / name, write)
    assert (tmp_path / name).read_text() == "new" and len(list(tmp_path.iterdir())) == 1
    left[0].touch()  # by a killed process
    assert remove_partial(tmp_path / name) == 1 and list(tmp_path.iterdir()) == [tmp_path / name]
