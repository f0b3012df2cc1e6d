"""All loggers of a run, fed alike. One that fails costs a warning."""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Protocol, Self

from videoadapt import distributed, logger
from videoadapt.config.loading import load_config
from videoadapt.errors import VideoAdaptError
from videoadapt.files import read_jsonl
from videoadapt.processes import server
from videoadapt.processes.server import CONTEXT
from videoadapt.registry import LOGGERS
from videoadapt.registry.transfer import transferable
from videoadapt.runs.follower import Ending, follow, log_of, shown
from videoadapt.runs.loggers import Beginning, Record
from videoadapt.runs.outcome import Outcome, read_outcome
from videoadapt.runs.statement import flat

_END_SEC, _STOP_SEC = 60.0, 15.0  # to send what is left: at the end of a run, and of one that was asked to stop

# for a logger, and for what reads videos, whose processes come from the same server, which may begin here
_PRELOAD = [follow.__module__, "videoadapt.video.readers"]


class _Feed(Protocol):
    def begin(self, run: Beginning) -> None: ...
    def add(self, record: Record) -> None: ...
    def end(self, ending: Ending) -> None: ...


class Loggers:
    """A context around a run on rank 0, elsewhere without effect: what `begin` began ends with it, and hears how."""

    def __init__(self, folder: Path, specs: Sequence[dict[str, Any]]):
        self._folder = folder
        self._feeds: list[_Feed] = [_feed(folder, spec) for spec in specs] if distributed.is_main() else []
        self._began = False
        self._tested: dict[str, Mapping[str, Any]] = {}

    def begin(self, step: int) -> None:
        """A training begins, or goes on after `step` updates; config.yaml and metrics.jsonl are in the folder."""
        if not self._feeds:
            return
        self._began, num = True, len(read_jsonl(self._folder / "metrics.jsonl", "kind", "step"))
        config = dict(flat(load_config(self._folder / "config.yaml").model_dump(mode="json")))
        del config["train.loggers"]  # an address may hold a password, which is none of the others' business
        for feed in self._feeds:
            feed.begin(Beginning(self._folder, step, num, config))

    def add(self, record: Record) -> None:
        """The record that was written to metrics.jsonl last."""
        for feed in self._feeds:
            feed.add(record)

    def tested(self, kind: Literal["test", "robustness"], results: Mapping[str, Any]) -> None:
        """What this run's test, or its test on corrupted videos, gave; all numbers of it are sent at the end."""
        self._tested[kind] = results

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(VideoAdaptError):  # of a damaged file, which whoever reads it next says
            ending = self._ending()
            if ending.tests and not self._began:
                self.begin(ending.tests[0].step)
            for feed in self._feeds:
                feed.end(ending)

    def _ending(self) -> Ending:
        outcome = read_outcome(self._folder)
        if not self._tested:
            return Ending((), outcome)
        records = read_jsonl(self._folder / "metrics.jsonl", "kind", "step")
        step = records[-1]["step"] if records else 0
        return Ending(tuple(Record(kind, step, _numbers(results)) for kind, results in self._tested.items()), outcome)


def _numbers(results: Mapping[str, Any]) -> dict[str, float]:
    return {k: v for k, v in results.items() if isinstance(v, int | float) and not isinstance(v, bool)}


def _feed(folder: Path, spec: dict[str, Any]) -> _Feed:
    return _Apart(folder, spec) if LOGGERS.get(spec["name"]).own_process else _Here(folder, spec)


def _give_up(folder: Path, spec: dict[str, Any], why: str) -> None:
    logger.warning(
        "train.loggers: %s gets no further numbers of %s: %s; metrics.jsonl has them all", spec["name"], folder, why
    )


class _Here:
    """A logger in this process."""

    def __init__(self, folder: Path, spec: dict[str, Any]):
        self._folder, self._spec = folder, spec
        self._logger: Any = None

    def begin(self, run: Beginning) -> None:
        """See Loggers."""
        self._logger = LOGGERS.build(self._spec)
        self._try(lambda: self._logger.begin(run))

    def add(self, record: Record) -> None:
        """See Loggers."""
        if self._logger is not None:
            self._try(lambda: self._logger.add([record]))

    def end(self, ending: Ending) -> None:
        """See Loggers."""
        for tested in ending.tests:
            self.add(tested)
        if self._logger is not None:
            self._try(lambda: self._logger.end(ending.outcome))
        self._logger = None

    def _try(self, action: Callable[[], Any]) -> None:
        try:
            action()
        except Exception as error:  # noqa: BLE001 - whatever another package raises costs the logger, and never the run
            _give_up(self._folder, self._spec, _said(error))
            failed, self._logger = self._logger, None
            with suppress(Exception):
                failed.end(None)


def _said(error: Exception) -> str:
    return f"cannot be written ({error.strerror or error})" if isinstance(error, OSError) else shown(error)


class _Apart:
    """A logger in a process of its own, which `follow`s."""

    def __init__(self, folder: Path, spec: dict[str, Any]):
        self._folder, self._spec = folder, spec
        self._process: Any = None

    def begin(self, run: Beginning) -> None:
        """See Loggers."""
        CONTEXT.set_forkserver_preload(_PRELOAD)
        self._pipe, theirs = CONTEXT.Pipe()
        self._process = CONTEXT.Process(target=transferable(follow), args=(self._spec, run, dict(os.environ), theirs))
        try:
            server.start(self._process)
        except OSError as error:
            self._process = None
            _give_up(self._folder, self._spec, f"its process cannot be started ({error})")
        finally:
            theirs.close()

    def add(self, record: Record) -> None:
        """It reads the record itself; this is where its end is noticed."""
        if self._process is not None and self._pipe.poll():
            self._hear()

    def end(self, ending: Ending) -> None:
        """See Loggers."""
        if self._process is None:
            return
        stopped = ending.outcome is not None and ending.outcome.outcome == Outcome.STOPPED
        limit_sec = _STOP_SEC if stopped else _END_SEC
        began = time.monotonic()
        with suppress(OSError):  # it is gone, and what it said comes next
            self._pipe.send(ending)
        try:
            if self._pipe.poll(limit_sec):
                self._hear()
            else:
                _give_up(self._folder, self._spec, f"it has not sent what is left in {limit_sec:g} s; see its log")
        finally:
            self._close(max(1.0, began + limit_sec - time.monotonic()))

    def _hear(self) -> None:
        """Say why it ended, if not because it was to."""
        log = log_of(self._folder, self._spec["name"])
        try:
            said = self._pipe.recv()
        except (EOFError, OSError):
            said = "its process was killed"
        if said is not None:
            _give_up(self._folder, self._spec, f"{said} ({log})")
        self._close(server.PATIENCE_SEC)

    def _close(self, limit_sec: float) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        self._pipe.close()
        process.join(limit_sec)
        if process.is_alive():
            process.kill()
            server.wait_for(process)
