"""One process works on a run's folder: the kernel holds the lock and drops it however the process ends."""

import errno
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from videoadapt import distributed, logger
from videoadapt.errors import ConfigError
from videoadapt.system import NO_LINK, WRITE_BYTES, lock


@contextmanager
def only_process_in(folder: Path) -> Iterator[None]:
    """Keep every other run out of `folder` during the block. Raises ConfigError on all ranks when one is running there.

    Rank 0 holds the lock (flock) on the file `.lock` for all ranks. On NFS, flock keeps other hosts out only where the
    mount has locking (Linux since 2.6.12, not with `nolock` or `local_lock=flock`); Lustre needs the mount option `flock`.
    """
    taken: list[int] = []
    try:
        distributed.on_main(lambda: taken.append(_take(folder / ".lock")))
        yield
    finally:
        for handle in taken:
            os.close(handle)


def wait_until_left(folder: Path, patience_sec: float) -> None:
    """Wait up to `patience_sec` for the process that holds `folder` to end: for a caller who knows that it will."""
    path, deadline = folder / ".lock", time.monotonic() + patience_sec
    while path.exists() and time.monotonic() < deadline:
        with path.open(encoding="utf-8") as file:
            try:
                lock(file.fileno())
                return
            except BlockingIOError:
                logger.warning("%s: waiting for process %s to end", folder, file.read().strip())
            except OSError:  # no locks here
                return
        time.sleep(1)


def _take(path: Path) -> int:
    try:
        handle = os.open(path, WRITE_BYTES | NO_LINK, 0o666)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise ConfigError(
            f"output = {path.parent}: its {path.name} is a link, whose target would be overwritten; remove the link"
        ) from error
    try:
        lock(handle)
    except BlockingIOError as error:
        owner = os.read(handle, 200).decode(errors="replace").strip() or "unknown"
        os.close(handle)
        raise ConfigError(
            f"output = {path.parent}: another run is using this folder (process {owner}); wait for it, stop it, or choose "
            "another `output`"
        ) from error
    except OSError as error:
        logger.warning("%s: this file system has no locks (%s): nothing keeps a second run out", path, error.strerror)
    os.ftruncate(handle, 0)
    os.write(handle, f"{os.getpid()} on {socket.gethostname()}\n".encode())
    return handle
