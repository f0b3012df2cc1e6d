"""Signals that would kill a process end a block once, so that it can say how it ended."""

import os
import signal

import pytest

from videoadapt.processes.signals import Ended, ended_by_signal, stop_on_signal


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR2, signal.SIGHUP])
def test_the_first_signal_ends_the_block_and_no_later_one(number: signal.Signals) -> None:
    written, before = [], signal.signal(number, signal.SIG_DFL)  # these tests may have been started by nohup
    try:
        with pytest.raises(Ended, match=number.name), ended_by_signal():
            try:
                os.kill(os.getpid(), number)
            finally:
                os.kill(os.getpid(), signal.SIGTERM)
                written.append("how it ended")
        assert written and signal.getsignal(number) == signal.SIG_DFL
    finally:
        signal.signal(number, before)


def test_what_is_ignored_stays_so_and_a_loop_stops_by_itself() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        with ended_by_signal(), stop_on_signal() as received:
            os.kill(os.getpid(), signal.SIGHUP)
            os.kill(os.getpid(), signal.SIGTERM)
        assert received == [signal.SIGTERM] and signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
