"""TensorBoard's copy of a run's numbers: what keeps it from being written costs a warning, for metrics.jsonl has them all."""

import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from videoadapt import logger


class Board:
    """Writes scalars for TensorBoard, where it is installed, as long as its folder can be written."""

    def __init__(self, folder: Path, step: int):
        """`step` is where the run resumes: what a killed process left of later steps is not shown."""
        self._folder = folder
        self._writer: Any = None
        self._hook = threading.excepthook
        try:
            from torch.utils.tensorboard import SummaryWriter  # slow to import, and only rank 0 needs it
        except ModuleNotFoundError:
            logger.info(
                "no curves for TensorBoard, which is not installed (pip install tensorboard); see metrics.jsonl"
            )
            return
        threading.excepthook = self._without_traceback
        try:
            self._writer = SummaryWriter(str(folder), purge_step=step + 1 if step else None)
        except OSError as error:
            self._give_up(error)

    def add(self, kind: str, values: Mapping[str, float], step: int) -> None:
        """Show what `kind` ("train", "val") measured at `step`."""
        if self._writer is None:
            return
        try:
            for key, value in values.items():
                self._writer.add_scalar(f"{kind}/{key}", value, step)
        except OSError as error:  # its thread's, at one of the next numbers
            self._give_up(error)

    def close(self) -> None:
        """Close the file."""
        writer, self._writer = self._writer, None
        if writer is not None:
            with suppress(OSError):
                writer.close()
        threading.excepthook = self._hook

    def _give_up(self, error: OSError) -> None:
        logger.warning(
            "%s: cannot be written (%s): no further curves for TensorBoard; metrics.jsonl has all numbers",
            self._folder, error.strerror or error,
        )  # fmt: skip
        self.close()

    def _without_traceback(self, args: "threading.ExceptHookArgs") -> None:
        """What ends TensorBoard's thread is raised at the next number, and said then."""
        if not (isinstance(args.exc_value, OSError) and type(args.thread).__module__.startswith("tensorboard.")):
            self._hook(args)
