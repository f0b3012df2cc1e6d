"""Samples come back whole and in order, whatever happens to the processes that read them."""

import gc
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.items import Seen, listed, read
from tests.live_runs import is_gone
from tests.toy_runs import REPOSITORY, environment
from videoadapt.data import loader as data_loader
from videoadapt.data.loader import Loader
from videoadapt.processes import pool, server, worker
from videoadapt.processes.slots import Slots


def load(
    batches: Sequence[Sequence[str]], workers: int, limit_sec: float = 60.0, *, in_place: bool = False
) -> list[Seen]:
    """All batches, of samples of up to 40 bytes."""
    settings: dict[str, Any] = {"workers": workers, "sample_bytes": 40, "limit_sec": limit_sec}
    return list(Loader(read, batches, listed, in_place=in_place, **settings))


def pixels(samples: object, pixels_BN: torch.Tensor) -> torch.Tensor:
    """The pixels of a batch themselves."""
    return pixels_BN


def of(item: str) -> tuple[str, list[list[int]], str]:
    """What `read` gives for an item that can be read."""
    number = int(item.partition(":")[0])
    return item, [[number, number]] * number, item


def test_samples_arrive_in_order_and_whole_whoever_is_slow() -> None:
    items = [f"{1 + i % 20}:{'slow' if i in (0, 7, 23) else ''}" for i in range(50)]
    batches = [items[start : start + 8] for start in range(0, 50, 8)]
    here = load(batches, 0)
    assert here == [[of(item) for item in batch] for batch in batches]
    assert load(batches, 3) == here
    for workers in (0, 3):
        assert load(batches, workers, in_place=True) == here
    assert load([[item] for item in items], 2) == [[of(item)] for item in items]
    assert load([], 2) == []


@pytest.mark.parametrize("in_place", [False, True])
def test_no_batch_is_longer_than_the_first(in_place: bool) -> None:
    """There is no memory for it."""
    batches = [["1", "2"], ["3"], ["4", "5", "6"]]
    loader = Loader(read, batches, listed, workers=1, sample_bytes=40, limit_sec=60.0, in_place=in_place)
    seen = []
    with pytest.raises(ValueError, match="a batch of 3 items after one of 2 at first"):
        seen.extend(loader)
    assert all(batch in ([of("1"), of("2")], [of("3")]) for batch in seen)


def test_a_batch_stays_as_it_is_while_others_are_read() -> None:
    loader = Loader(read, [[f"{i}", f"{i}"] for i in range(1, 13)], pixels, workers=2, sample_bytes=40, limit_sec=60.0)
    kept = list(loader)  # thrice as many as there is memory for
    assert [pixels_BN[:, :2].unique().tolist() for pixels_BN in kept] == [[i] for i in range(1, 13)]


def test_a_batch_may_be_collated_in_the_memory_itself() -> None:
    memory: set[int] = set()

    def collate(samples: object, pixels_BN: torch.Tensor) -> torch.Tensor:
        memory.add(pixels_BN.data_ptr())
        return pixels_BN[:, :2].clone()

    batches = [[f"{i}", f"{i}"] for i in range(1, 13)]
    made = list(Loader(read, batches, collate, workers=2, sample_bytes=40, limit_sec=60.0, in_place=True))
    assert [pixels_BN.unique().tolist() for pixels_BN in made] == [[i] for i in range(1, 13)]
    assert len(memory) == data_loader._BATCHES


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("in_place", [False, True])
def test_a_mistake_in_collating_is_raised(workers: int, in_place: bool) -> None:
    def collate(samples: Sequence[Any], pixels_BN: torch.Tensor) -> str:
        if samples[0].item == "3":
            raise ZeroDivisionError(samples[0].item)
        return str(samples[0].item)

    items = [[f"{i}"] for i in range(1, 13)]
    loader = Loader(read, items, collate, workers=workers, sample_bytes=40, limit_sec=60.0, in_place=in_place)
    made = iter(loader)
    assert [next(made), next(made)] == ["1", "2"]
    with pytest.raises(ZeroDivisionError, match="3"):
        next(made)


def join_loaders() -> None:
    """Wait for the end of threads that begin batches; those that make them have ended before, with the iteration."""
    for thread in threading.enumerate():
        if thread.name == "loader":
            thread.join(60)
            assert not thread.is_alive()
    assert not any(thread.name == "one ahead" for thread in threading.enumerate())


def test_only_what_is_made_in_place_is_made_in_a_thread() -> None:
    def collate(samples: Sequence[Any], pixels_BN: torch.Tensor) -> str:
        return threading.current_thread().name

    here = threading.current_thread().name
    for workers, in_place, where in ((0, False, here), (0, True, here), (1, False, here), (1, True, "one ahead")):
        loader = Loader(read, [["1"]] * 3, collate, workers=workers, sample_bytes=40, limit_sec=60.0, in_place=in_place)
        assert list(loader) == [where] * 3


@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("waits", ["for a file", "for its turn"])
def test_it_can_be_closed_while_a_read_is_pending(waits: str, in_place: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """And no process is started then, which would find what it needs closed where this one comes to its end."""
    started: list[object] = []

    class Counted(worker.Worker[Any, Any]):
        def __init__(self, *given: Any, **settings: Any):
            started.append(self)
            super().__init__(*given, **settings)

    monkeypatch.setattr(pool, "Worker", Counted)
    batches = [["1:pid"], ["2"], ["3:lock held" if waits == "for a file" else "3"], *[["4"]] * 9]
    loader = Loader(read, batches, listed, workers=1, sample_bytes=40, limit_sec=600.0, in_place=in_place)
    with closing(iter(loader)) as made:
        pid = int(next(made)[0][2])
        assert next(made) == [of("2")]
        time.sleep(0.3)  # until all wait who have to
        began = time.monotonic()
    assert time.monotonic() - began < 20 and is_gone(pid)
    join_loaders()
    assert len(started) == 1


@pytest.mark.parametrize("in_place", [False, True])
def test_it_can_be_closed_from_its_own_thread(in_place: bool) -> None:
    """As the garbage collector may close it, where it is that thread's turn."""
    kept: list[Any] = []
    used = threading.Event()

    class Batches(list[list[str]]):
        def __iter__(self) -> Iterator[list[str]]:
            yield from [["1"], ["1"], *[["3:lock held"]] * data_loader._BATCHES]  # two have been taken then
            used.wait(20)
            kept.clear()
            yield ["1"]

    batches = Batches([["1"]])  # of which it looks at the first here
    loader = Loader(read, batches, listed, workers=1, sample_bytes=40, limit_sec=60.0, in_place=in_place)
    kept.append(iter(loader))
    assert [next(kept[0]) for _ in range(2)] == [[of("1")]] * 2
    used.set()
    join_loaders()
    assert not kept


@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("two", [[["1"], ["4"]], [["2:killed"], ["4"]], [["3:raise"], ["4"]], [["1"], ["4", "5"]]])
def test_no_file_stays_open(two: list[list[str]], in_place: bool) -> None:
    """After the last batch, one that failed, or the first of many; nobody waits for the garbage collector."""

    def open_after() -> int:
        with suppress(ZeroDivisionError, ValueError), closing(iter(Loader(read, two * 9, **settings))) as batches:
            next(batches)
        with suppress(ZeroDivisionError, ValueError):
            list(Loader(read, two, **settings))
        join_loaders()
        return len(os.listdir("/proc/self/fd"))

    settings: dict[str, Any] = {"collate": listed, "workers": 2, "sample_bytes": 40, "limit_sec": 60.0}
    settings["in_place"] = in_place
    gc.disable()
    try:
        assert open_after() == open_after()
    finally:
        gc.enable()


class Copied:
    """What CUDA tells of a copy: here, that somebody waited for it."""

    waits = 0

    def synchronize(self) -> None:
        Copied.waits += 1


def test_memory_is_written_again_only_when_it_is_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Copied, "waits", 0)
    monkeypatch.setattr(data_loader, "_moved", lambda pixels_BN, device: (pixels_BN.clone(), Copied()))
    loader = Loader(read, [["1", "2"]] * 10, listed, workers=1, sample_bytes=40, limit_sec=60.0)
    assert list(loader) == [[of("1"), of("2")]] * 10
    assert Copied.waits == 10 - data_loader._BATCHES


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("refused", [False, True])
def test_batches_on_a_gpu_are_those_of_the_cpu(refused: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """With work that keeps the device from copying at once, so that memory written too early would be seen."""
    device, batches = torch.device("cuda"), [[f"{1 + (i + j) % 20}" for j in range(16)] for i in range(40)]
    pinned: list[bool] = []
    pin = Slots.pin
    monkeypatch.setattr(Slots, "pin", lambda slots, device: [] if refused else pin(slots, device))
    moved = data_loader._moved
    monkeypatch.setattr(data_loader, "_moved", lambda x, device: (pinned.append(x.is_pinned()), moved(x, device))[1])
    loader = Loader(read, batches, pixels, workers=4, sample_bytes=40, limit_sec=60.0, device=device)
    kept, matrix = [], torch.randn(4096, 4096, device=device)
    for pixels_BN in loader:
        kept.append(pixels_BN)
        for _ in range(20):
            matrix = matrix @ matrix / 4096
    assert {*pinned} == {not refused} and len(pinned) == 40
    assert [x[:, 0].tolist() for x in kept] == [[int(item) for item in batch] for batch in batches]


@pytest.mark.parametrize("what", ["lock held", "lock released"])
def test_a_file_that_blocks_in_native_code_is_lost_alone(what: str) -> None:
    batches = [["1", "2", f"3:{what}", "4"], ["5", "6", "7", f"8:{what}"], ["9", "10", "11", "12"]]
    seen = load(batches, 2, limit_sec=1.0)
    lost = {item: reason for batch in seen for item, pixels, reason in batch if pixels is None}
    assert lost == {f"3:{what}": "took longer than 1 s", f"8:{what}": "took longer than 1 s"}
    assert [[entry for entry in batch if entry[1]] for batch in seen] == [
        [of(item) for item in batch if what not in item] for batch in batches
    ]


def test_a_kill_costs_nothing_and_a_killing_file_only_itself(tmp_path: Path) -> None:
    batches = [["1", f"2:once killed {tmp_path}/a", "3"], ["4:crash", "5", "6:unreadable"], ["7", "8", "9"]]
    seen = load(batches, 2)
    assert seen[0] == [of(item) for item in batches[0]] and seen[2] == [of(item) for item in batches[2]]
    assert (tmp_path / "a").exists()
    assert seen[1] == [
        ("4:crash", None, "the process that worked on it was killed by SIGSEGV"),
        of("5"),
        ("6:unreadable", None, "no such film"),
    ]


def test_a_process_killed_for_want_of_memory_says_what_to_do() -> None:
    seen = load([["1:killed", "2"]], 2)
    assert seen[0][1] == of("2") and seen[0][0][2] == (
        "the process that worked on it was killed by SIGKILL, as Linux does when memory runs out: use fewer processes "
        "(data.workers, --workers, --jobs) or more memory"
    )


MEMORY = Path("/sys/fs/cgroup/memory")
FILLS = """
import sys
from pathlib import Path
from videoadapt.data.loader import Loader
from tests.items import listed, read

if __name__ == "__main__":
    (Path(sys.argv[1]) / "cgroup.procs").write_text("0")
    loader = Loader(read, [["1", "2:fill memory"], ["3", "4"]], listed, workers=2, sample_bytes=40, limit_sec=300)
    for batch in loader:
        print(*("lost " + reason if pixels is None else "read" for _, pixels, reason in batch), sep="; ")
"""


@pytest.mark.slow
def test_the_kernels_memory_killer_costs_the_file_that_fills_it(tmp_path: Path) -> None:
    group = MEMORY / f"videoadapt-test-{os.getpid()}"
    try:
        group.mkdir()
        (group / "memory.limit_in_bytes").write_text(str(2 * 2**30))
    except OSError:
        pytest.skip("needs root and a control group of version 1 for memory")
    script = tmp_path / "fills.py"
    script.write_text(FILLS)
    try:
        done = subprocess.run(
            [sys.executable, script, group], cwd=REPOSITORY, env=environment(), capture_output=True, text=True
        )
        assert "oom_kill 2" in (group / "memory.oom_control").read_text()  # it was tried twice
    finally:
        until = time.monotonic() + 20  # its last processes are on their way out
        while group.exists() and time.monotonic() < until:
            with suppress(OSError):
                group.rmdir()
    first, second = done.stdout.splitlines()
    assert first.startswith("read; lost the process that worked on it was killed by SIGKILL, as Linux does when memory")
    assert second == "read; read" and done.returncode == 0


def test_a_file_that_was_lost_twice_is_not_tried_again(tmp_path: Path) -> None:
    batches = [[f"{number}:counted lock held in {tmp_path}/tries"] for number in range(1, 10)]
    loader = Loader(read, batches, listed, workers=1, sample_bytes=40, limit_sec=0.5, file=lambda item: item[2:])
    assert [batch[0][2] for batch in loader] == ["took longer than 0.5 s"] * 9
    tries = [line.partition(":")[0] for line in (tmp_path / "tries").read_text().splitlines()]
    assert tries == ["1", "1"]  # not the others, although some had been handed out


def test_a_process_that_was_stopped_for_a_while_costs_nothing() -> None:
    loader = Loader(read, [["1:pid"], *[["2:slow"]] * 6], listed, workers=1, sample_bytes=40, limit_sec=1.0)
    with closing(iter(loader)) as batches:
        pid = int(next(batches)[0][2])
        os.kill(pid, signal.SIGSTOP)  # at its second item, whose time runs on
        time.sleep(1.5)
        os.kill(pid, signal.SIGCONT)
        rest = list(batches)
    assert [batch[0] for batch in rest] == [of("2:slow")] * 6
    assert is_gone(pid)


def test_a_process_that_stays_stopped_is_replaced(monkeypatch: pytest.MonkeyPatch, log_lines: list[str]) -> None:
    monkeypatch.setattr(server, "LOOK_EVERY_SEC", 0.1)
    monkeypatch.setattr(server, "PATIENCE_SEC", 0.2)
    files = dict.fromkeys(["2:slow"], "films/a.mp4")
    batches = [["1:pid"], *[["2:slow"]] * 4]
    loader = Loader(
        read, batches, listed, workers=1, sample_bytes=40, limit_sec=1.0, file=lambda item: files.get(item, "")
    )
    with closing(iter(loader)) as batches:
        pid = int(next(batches)[0][2])
        os.kill(pid, signal.SIGSTOP)
        rest = list(batches)
    assert [batch[0] for batch in rest] == [of("2:slow")] * 4 and is_gone(pid)
    (said,) = [line for line in log_lines if "process" in line]
    assert re.fullmatch(
        rf"WARNING process {pid}, stopped by .* for \d+ s to films/a\.mp4; another one takes over", said
    )


def stop_the_server() -> int:
    """Stop the process that starts the others, as SIGSTOP or a debugger does."""
    server.start_server()
    pid = forkserver._forkserver._forkserver_pid
    os.kill(pid, signal.SIGSTOP)
    while server.state(pid) not in server.STOPPED:
        time.sleep(0.01)
    return pid


@pytest.mark.slow  # the next one imports all anew
def test_a_stopped_server_is_replaced(monkeypatch: pytest.MonkeyPatch, log_lines: list[str]) -> None:
    monkeypatch.setattr(server, "LOOK_EVERY_SEC", 0.1)
    monkeypatch.setattr(server, "START_SEC", 0.3)
    monkeypatch.setattr(server, "PATIENCE_SEC", 0.2)
    pid = stop_the_server()
    loader = Loader(read, [["1:x"], ["2:y"]], listed, workers=2, sample_bytes=40, limit_sec=60.0)
    assert [batch[0] for batch in loader] == [of("1:x"), of("2:y")]
    (said,) = [line for line in log_lines if "process" in line]
    assert re.fullmatch(
        rf"WARNING process {pid}, which starts .*, was stopped by .* for \d+ s; another one takes over", said
    )
    assert is_gone(pid)


def test_a_server_that_was_stopped_for_a_while_costs_nothing(
    monkeypatch: pytest.MonkeyPatch, log_lines: list[str]
) -> None:
    monkeypatch.setattr(server, "LOOK_EVERY_SEC", 0.1)
    pid = stop_the_server()
    threading.Timer(0.5, os.kill, (pid, signal.SIGCONT)).start()
    loader = Loader(read, [["1:x"]], listed, workers=1, sample_bytes=40, limit_sec=60.0)
    assert [batch[0] for batch in loader] == [of("1:x")] and not log_lines and not is_gone(pid)


def test_a_server_that_is_stopped_later_holds_up_no_end(monkeypatch: pytest.MonkeyPatch, log_lines: list[str]) -> None:
    monkeypatch.setattr(server, "LOOK_EVERY_SEC", 0.1)
    monkeypatch.setattr(server, "PATIENCE_SEC", 0.2)
    loader = Loader(read, [["1:pid"], ["2:slow"]], listed, workers=1, sample_bytes=40, limit_sec=60.0)
    with closing(iter(loader)) as batches:
        reader = int(next(batches)[0][2])
        pid = stop_the_server()
    assert is_gone(reader) and is_gone(pid) and f"process {pid}, which starts" in log_lines[0]


def test_a_process_that_is_slow_to_end_is_said_and_waited_for(
    monkeypatch: pytest.MonkeyPatch, log_lines: list[str]
) -> None:
    monkeypatch.setattr(server, "LOOK_EVERY_SEC", 0.01)
    monkeypatch.setattr(server, "PATIENCE_SEC", -1.0)  # so that it is late before its limit
    monkeypatch.setattr(worker, "_SAY_EVERY_SEC", 0.2)
    loader = Loader(read, [["1:pid"], ["2:slow"]], listed, workers=1, sample_bytes=40, limit_sec=1.0)
    began = time.monotonic()
    assert len(list(loader)) == 2
    took_sec = time.monotonic() - began  # a busy machine takes long to start the process, of which it is said, too
    said = [line for line in log_lines if "has not answered" in line]
    assert said and all("waiting on" in line for line in said) and len(said) <= 1 + took_sec / 0.2


def test_an_exception_that_cannot_travel_says_what_it_is() -> None:
    with pytest.raises(RuntimeError, match="Stubborn: 2 things") as raised:
        load([["1"], ["2:stubborn"]], 1)
    assert "tests/items.py" in raised.value.__notes__[0]


BLOCKED = """
import os, sys
from tests.items import listed, read
from videoadapt.data.loader import Loader

if __name__ == "__main__":
    items = [["1:pid"], ["1:pid"], ["1:lock held"]]
    batches = iter(Loader(read, items, listed, workers=1, sample_bytes=40, limit_sec=3.0, in_place=IN_PLACE))
    print(next(batches)[0][2], flush=True)
    HOW
"""


def blocked(how: str, in_place: bool) -> str:
    """A program that comes to its end, how, while a file is read that never ends."""
    return BLOCKED.replace("HOW", how).replace("IN_PLACE", str(in_place))


@pytest.mark.slow
@pytest.mark.parametrize("in_place", [False, True])
def test_processes_that_cannot_start_blame_no_file(in_place: bool, tmp_path: Path) -> None:
    """A script without the guard that Python's processes need."""
    program = tmp_path / "program.py"
    program.write_text(blocked("pass", in_place).replace('if __name__ == "__main__":', "if True:"))
    done = subprocess.run(
        [sys.executable, str(program)], cwd=REPOSITORY, env=environment(), capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 1 and "CannotStart" in done.stderr and "if __name__ == '__main__':" in done.stderr


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("in_place", [False, True])
def test_a_mistake_in_the_reader_is_raised(workers: int, in_place: bool) -> None:
    loader = Loader(
        read, [["1"], ["2:raise"], ["3"]], listed, workers=workers, sample_bytes=40, limit_sec=60.0, in_place=in_place
    )
    made = iter(loader)
    assert next(made) == [of("1")]
    with pytest.raises(ZeroDivisionError, match="2:raise") as raised:
        next(made)
    if workers:
        assert "tests/items.py" in raised.value.__notes__[0]


def test_workers_ignore_signals_and_end_with_the_iteration() -> None:
    loader = Loader(read, [["1:pid", "1:pid"]] * 50, listed, workers=2, sample_bytes=40, limit_sec=60.0)
    with closing(iter(loader)) as batches:
        pids = {int(rest) for _ in range(5) for _, _, rest in next(batches)}
        assert len(pids) == 2 and os.getpid() not in pids
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2):
            for pid in pids:
                os.kill(pid, number)
        assert {int(rest) for _ in range(10) for _, _, rest in next(batches)} == pids
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


@pytest.mark.slow
@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("how", ["kill", "leave", "raise"])
def test_no_process_stays_behind(how: str, in_place: bool, tmp_path: Path) -> None:
    """The parent is killed, comes to its end in the middle, or raises with the iteration alive in the traceback."""
    ends = {"kill": "sys.stdin.read()", "leave": "sys.modules['kept'] = batches", "raise": "1 / 0"}
    program = tmp_path / "program.py"
    program.write_text(blocked(ends[how], in_place))
    with subprocess.Popen(
        [sys.executable, str(program)],
        cwd=REPOSITORY, env=environment(), text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        worker = int(process.stdout.readline())
        if how == "kill":
            process.send_signal(signal.SIGKILL)
        assert process.wait(timeout=120) == {"kill": -9, "leave": 0, "raise": 1}[how]
    deadline = time.monotonic() + 20
    while not is_gone(worker):
        assert time.monotonic() < deadline, "a worker is alive, blocked in native code, without a parent"
        time.sleep(0.05)
