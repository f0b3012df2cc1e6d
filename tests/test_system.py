"""Locks, and what this process may use, as the system says it."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from videoadapt import system

TRIES = """
import os, sys
from videoadapt.system import lock_byte

handle = os.open(sys.argv[1], os.O_RDWR)
for number in (4, 5, 6):
    try:
        lock_byte(handle, number)
        print(number)
    except (BlockingIOError, PermissionError):
        print("held")
"""


def test_a_lock_is_shared_by_several_or_held_by_one(tmp_path: Path) -> None:
    one, two, three = (os.open(tmp_path / "lock", system.WRITE_BYTES) for _ in range(3))
    for handle in (one, two):
        system.lock(handle, shared=True)
    with pytest.raises(BlockingIOError):
        system.lock(three)
    os.close(one)
    os.close(two)
    system.lock(three)
    four = os.open(tmp_path / "lock", system.WRITE_BYTES)
    with pytest.raises(BlockingIOError):
        system.lock(four, shared=True)
    os.close(three)
    system.lock(four, wait=True)
    os.close(four)


def test_one_byte_is_locked_and_not_its_neighbours(tmp_path: Path) -> None:
    handle = os.open(tmp_path / "lock", system.WRITE_BYTES)
    system.lock_byte(handle, 5)
    said = subprocess.run([sys.executable, "-c", TRIES, tmp_path / "lock"], capture_output=True, text=True, check=True)
    os.close(handle)
    assert said.stdout.split() == ["4", "held", "6"]


def test_limits_are_those_in_force(monkeypatch: pytest.MonkeyPatch) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft - 1, hard))
    try:
        assert system.open_files_limit() == soft - 1
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3, 7, 9}, raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    assert system.usable_cores() == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    assert system.usable_cores() == 64


def test_a_user_is_named_by_the_permissions_in_force(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 0)
    monkeypatch.setattr(os, "geteuid", lambda: 2**31 - 7)  # whom no machine knows
    assert system.user_name() == f"user {2**31 - 7}" and system.user_number() == 0
