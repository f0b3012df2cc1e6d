"""What worker processes of the tests do with an item: apart, so that a worker need not import torch."""

import os
import signal


def misbehave(item: str) -> str:
    """What native decoders do: crash, end, block."""
    if item == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if item == "raise":
        raise ValueError(item)
    if item == "block":
        signal.pause()
    return item + "!"


def process_of(item: str) -> int:
    """The process that has this item."""
    return os.getpid()
