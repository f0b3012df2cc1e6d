"""The loader alone, with readers that only wait: does it keep so many of them busy on a machine that has not as many cores?

A reader sleeps for the time that a clip would take, and gives one of 8 x 224 x 224. What takes the batches has them copied by
nobody, as with a GPU, computes for a while in Python and waits for the rest of its step, as a training loop does.
"""

import os
import statistics
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import closing

import torch

from benchmarks.readers_alone import items_per_sec
from videoadapt.data.loader import Loader
from videoadapt.processes.slots import Read

CLIP_BYTES = 3 * 8 * 224 * 224
_FIRST = 5  # batches, in which processes start; as many more are read while the last is taken


class Pretend:
    """Waits for as long as reading a clip takes, and gives one without content."""

    def __init__(self, clip_ms: float):
        self._sec, self._pixels = clip_ms / 1000, torch.zeros(1)

    def __call__(self, item: int) -> Read[None]:
        """See Loader."""
        if len(self._pixels) == 1:  # it need not travel
            self._pixels = torch.zeros(CLIP_BYTES, dtype=torch.uint8)
        time.sleep(self._sec)
        return Read(self._pixels, None)


def measure(
    workers: int, clip_ms: float, batch: int, step_ms: float, python_ms: float, seconds: float, repeats: int
) -> dict[str, float]:
    """Medians of `repeats`: clips a second of the readers alone and of the loader, its share of the most that is possible

    with these readers and steps, microseconds of a core that its thread needs for a clip, and how busy the machine was.
    """
    rows = [_measure_once(Pretend(clip_ms), workers, batch, step_ms, python_ms, seconds) for _ in range(repeats)]
    medians = {key: statistics.median(row[key] for row in rows) for key in rows[0]}
    return {
        "workers": workers,
        "clip_ms": clip_ms,
        "batch": batch,
        "step_ms": step_ms,
        "python_ms": python_ms,
        **medians,
    }


def markdown(rows: Sequence[Mapping[str, float]]) -> str:
    """The rows as a table."""
    lines = [
        "| processes | a clip takes, ms | readers alone, clips/s | loader | of the possible | its thread, us a clip | load |"
    ]
    lines.append("| --- " * 7 + "|")
    for row in rows:
        line = "| {workers} | {clip_ms:g} | {readers_alone:.0f} | {loader:.0f} | {share:.0%} | {thread_us:.0f} | {load:.0f} |"
        lines.append(line.format(**row))
    return "\n".join(lines) + "\n"


def _measure_once(
    read: Pretend, workers: int, batch: int, step_ms: float, python_ms: float, seconds: float
) -> dict[str, float]:
    limit = items_per_sec(read, range(workers), workers, seconds / 2)
    most = min(limit, 1000 * batch / step_ms) if step_ms else limit
    steps = max(4, round(seconds * most / batch))
    loader: Loader[int, None, None, int] = Loader(
        read,
        [list(range(batch))] * (_FIRST + steps + _FIRST),
        lambda samples, pixels_BN: len(samples),
        workers=workers,
        sample_bytes=CLIP_BYTES,
        limit_sec=600,
        device=torch.device("meta"),
    )
    with closing(iter(loader)) as batches:
        for _ in range(_FIRST):
            next(batches)
            _step(step_ms, python_ms)
        start, busy_start = time.perf_counter(), _thread_sec()
        for _ in range(steps):
            next(batches)
            _step(step_ms, python_ms)
        took, busy = time.perf_counter() - start, _thread_sec() - busy_start
    clips, load = batch * steps, os.getloadavg()[0]
    speed = clips / took
    return {
        "readers_alone": limit,
        "loader": speed,
        "share": speed / most,
        "thread_us": 1e6 * busy / clips,
        "load": load,
    }


def _thread_sec() -> float:
    """CPU seconds of the loader's thread."""
    (thread,) = [thread for thread in threading.enumerate() if thread.name == "loader"]
    assert thread.ident is not None
    return time.clock_gettime(time.pthread_getcpuclockid(thread.ident))


def _step(step_ms: float, python_ms: float) -> None:
    until = time.perf_counter() + python_ms / 1000
    while time.perf_counter() < until:
        pass
    time.sleep(max(0.0, step_ms - python_ms) / 1000)
