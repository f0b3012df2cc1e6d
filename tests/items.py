"""What worker processes of the tests do with an item: apart, so that a worker can import it."""

import hashlib
import math
import os
import re
import signal
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from videoadapt.data.loader import Sample
from videoadapt.data.structures import Unreadable, Video
from videoadapt.processes.slots import InSlot, Read

Seen = list[tuple[str, list[list[int]] | None, str]]


def misbehave(item: str) -> str:
    """What native decoders do: crash, end, block."""
    if item == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if item == "raise":
        raise ValueError(item)
    if item == "block":
        signal.pause()
    if item.startswith("stop once ") and not os.path.exists(marker := item.removeprefix("stop once ")):
        open(marker, "w").close()
        os.kill(os.getpid(), signal.SIGSTOP)
    return item + "!"


def process_of(item: str) -> int:
    """The process that has this item."""
    return os.getpid()


def loop_with_the_lock() -> None:
    """A native loop of years that never lets another Python thread run: a regular expression that backtracks."""
    re.match(r"(a+)+$", "a" * 60 + "b")


def loop_without_the_lock() -> None:
    """A native loop of years that has released Python's lock: OpenSSL stretching a password."""
    hashlib.pbkdf2_hmac("sha512", b"", b"", 2**31 - 1)


class Stubborn(Exception):
    """An exception that pickle cannot make again."""

    def __init__(self, number: int, what: str):
        super().__init__(f"{number} {what}")


def read(item: str) -> Read[str] | Unreadable:
    """What a loader's process does: "PIXELS:WHAT" is that many values of them, after doing what a decoder may do."""
    pixels, _, what = item.partition(":")
    if what.startswith("once "):  # a folder that remembers who was there
        what, _, marker = what.removeprefix("once ").partition(" ")
        if os.path.exists(marker):
            what = ""
        else:
            open(marker, "w").close()
    if what.startswith("counted "):  # a file that gets a line for each try
        what, _, tries = what.removeprefix("counted ").partition(" in ")
        with open(tries, "a") as file:
            file.write(f"{item}\n")
    if what == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if what == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "fill memory":
        kept = [bytearray(b"1") * 2**28 for _ in range(40)]  # pages that are written, unlike those only asked for
        assert kept
    if what == "lock held":
        loop_with_the_lock()
    if what == "lock released":
        loop_without_the_lock()
    if what == "raise":
        raise ZeroDivisionError(item)
    if what == "stubborn":
        raise Stubborn(int(pixels), "things")
    if what == "pid":
        return Read(torch.zeros(1, dtype=torch.uint8), str(os.getpid()))
    if what == "unreadable":
        return Unreadable(0, Video(item, Path(item), 0), "no such film")
    if what == "slow":
        time.sleep(0.3)
    if what.startswith("waiting for "):
        while not os.path.exists(what.removeprefix("waiting for ")):
            time.sleep(0.01)
    return Read(torch.full((int(pixels), 2), int(pixels), dtype=torch.uint8), item)


def listed(samples: Sequence[Sample[str, str, Unreadable]], pixels_BN: torch.Tensor) -> Seen:
    """Copies of what a batch holds: item, pixels, and the notes or why there are none."""
    return [
        (s.item, pixels_N[: math.prod(s.result.shape)].view(s.result.shape).tolist(), s.result.notes)
        if isinstance(s.result, InSlot)
        else (s.item, None, s.result.reason)
        for s, pixels_N in zip(samples, pixels_BN, strict=True)
    ]
