"""What a user who is not root may do, also where the tests run as root."""

import ctypes
import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import pytest

Answer = TypeVar("Answer")


def as_permitted(act: Callable[[], Answer]) -> Answer:
    """What `act` gives in a thread that reads what a file's permissions say.

    What it imports needs to be imported before: the clone may lie where that thread cannot read.
    """

    def obey_and_act() -> Answer:
        read_only_what_is_permitted()
        return act()

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(obey_and_act).result()


def read_only_what_is_permitted() -> None:
    """Root may read every file; from now on this thread reads what a file's permissions say, as other users do."""
    if os.geteuid() != 0:
        return
    if sys.platform != "linux":
        pytest.skip("only Linux lets one thread of root do without some of its powers")
    libc = ctypes.CDLL(None)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)  # the third version of capabilities(7), this thread
    powers = (ctypes.c_uint32 * 6)()  # effective, permitted and inheritable ones, then the same of the numbers from 32
    assert libc.capget(header, powers) == 0
    for place in range(3):
        powers[place] &= ~(1 << 1 | 1 << 2)  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
    assert libc.capset(header, powers) == 0
