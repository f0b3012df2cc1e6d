"""Stopping politely: the first SIGINT or SIGTERM asks, the second ends the process."""

import logging
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

logger = logging.getLogger("videoadapt")


@contextmanager
def stop_on_signal() -> Iterator[list[int]]:
    """Yield a list that fills with the numbers of SIGINT and SIGTERM received inside the block.

    The loop looks at it after each step. A second signal raises KeyboardInterrupt wherever the process is.
    """
    received: list[int] = []

    def handle(number: int, frame: FrameType | None) -> None:
        if received:
            raise KeyboardInterrupt
        received.append(number)
        logger.warning("%s: stopping after this step; once more stops at once", signal.Signals(number).name)

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
