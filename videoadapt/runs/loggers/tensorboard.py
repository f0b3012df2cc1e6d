"""TensorBoard: curves in a browser, from files in the run's folder, where it is installed."""

import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from videoadapt import logger
from videoadapt.registry import LOGGERS
from videoadapt.runs.loggers._base import Beginning, Logger, Record
from videoadapt.runs.outcome import OutcomeRecord


@LOGGERS.register
class TensorBoard(Logger):
    """Scalars `train/loss`, `val/top1`, `test/top1` in the folder `tensorboard`, in float32 as TensorBoard keeps them."""

    own_process = False

    def __init__(self) -> None:
        self._writer: Any = None
        self._hook = threading.excepthook

    def begin(self, run: Beginning) -> str:
        """What a killed process left of later steps is not shown."""
        folder = run.folder / "tensorboard"
        try:
            from torch.utils.tensorboard import SummaryWriter  # slow to import, and only rank 0 needs it
        except ModuleNotFoundError:
            logger.info(
                "no curves for TensorBoard, which is not installed (pip install tensorboard); see metrics.jsonl"
            )
            return str(folder)
        self._hook, threading.excepthook = threading.excepthook, self._without_traceback
        self._writer = SummaryWriter(str(folder), purge_step=run.step + 1 if run.step else None)
        return str(folder)

    def add(self, records: Sequence[Record]) -> None:
        """Write scalars; what keeps its thread from the disk is raised at one of the next numbers."""
        if self._writer is not None:
            for kind, step, values in records:
                for key, value in values.items():
                    self._writer.add_scalar(f"{kind}/{key}", value, step)

    def end(self, outcome: OutcomeRecord | None) -> None:
        """Close the file."""
        writer, self._writer = self._writer, None
        if writer is not None:
            with suppress(OSError):
                writer.close()
            threading.excepthook = self._hook

    def _without_traceback(self, args: "threading.ExceptHookArgs") -> None:
        """What ends TensorBoard's thread is raised at the next number, and said then."""
        if not (isinstance(args.exc_value, OSError) and type(args.thread).__module__.startswith("tensorboard.")):
            self._hook(args)
