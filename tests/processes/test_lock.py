"""One process at a time works in a folder, and lets it go however its work ends."""

import errno
import os
import threading
import time
from pathlib import Path

import pytest

from videoadapt.errors import ConfigError
from videoadapt.processes.lock import only_process_in, wait_until_left


def test_who_cannot_begin_keeps_nobody_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a full disk, a notebook refused itself."""

    def full(handle: int, size: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "ftruncate", full)
        with pytest.raises(OSError, match="No space") as caught, only_process_in(tmp_path):
            pass
    assert caught.value.filename == str(tmp_path / ".lock")
    with only_process_in(tmp_path):
        pass


def test_who_comes_second_hears_by_which_name(tmp_path: Path) -> None:
    with only_process_in(tmp_path):
        for key, named in (("output", "output = "), ("--out", "--out ")):
            said = f"^{named}{tmp_path}: another run is using this folder .process {os.getpid()} on .*another `{key}`$"
            with pytest.raises(ConfigError, match=said), only_process_in(tmp_path, key):
                pass


def test_a_folder_is_waited_for_and_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, log_lines: list[str]
) -> None:
    waits, left = [], threading.Event()

    def sleep(sec: float) -> None:
        waits.append(sec)
        if len(waits) == 3:
            left.set()
            holder.join()

    def hold() -> None:
        with only_process_in(tmp_path):
            held.set()
            left.wait(60)

    held = threading.Event()
    holder = threading.Thread(target=hold)
    holder.start()
    assert held.wait(60)
    monkeypatch.setattr(time, "sleep", sleep)
    wait_until_left(tmp_path, 60.0)
    assert len(waits) == 3
    assert [line for line in log_lines if "to end" in line] == [
        f"WARNING {tmp_path}: waiting for process {(tmp_path / '.lock').read_text().strip()} to end"
    ]
    with only_process_in(tmp_path):
        pass
