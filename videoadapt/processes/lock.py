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
def only_process_in(folder: Path, key: str = "output") -> Iterator[None]:
    """Keep every other run out of `folder` during the block. Raises ConfigError on all ranks when one is running there.

    `key`: what the user names it by. Rank 0 holds the lock (flock) on the file `.lock` for all ranks. On NFS, flock keeps other
    hosts out only where the mount has locking (Linux since 2.6.12, not with `nolock` or `local_lock=flock`); Lustre needs the
    mount option `flock`.
    """
    taken: list[int] = []
    try:
        distributed.on_main(lambda: taken.append(_take(folder / ".lock", key)))
        yield
    finally:
        for handle in taken:
            os.close(handle)


def wait_until_left(folder: Path, patience_sec: float) -> None:
    """Wait up to `patience_sec` for the process that holds `folder` to end: for a caller who knows that it will."""
    path, deadline, said = folder / ".lock", time.monotonic() + patience_sec, False
    while path.exists() and time.monotonic() < deadline:
        with path.open("r+", encoding="utf-8") as file:  # NFS locks nothing that cannot be written
            try:
                lock(file.fileno())
                return
            except BlockingIOError:
                if not said:
                    logger.warning("%s: waiting for process %s to end", folder, file.read().strip())
                said = True
            except OSError:  # no locks here
                return
        time.sleep(1)


def _take(path: Path, key: str) -> int:
    said = f"{key} {path.parent}" if key.startswith("-") else f"{key} = {path.parent}"
    try:
        handle = os.open(path, WRITE_BYTES | NO_LINK, 0o666)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise ConfigError(
            f"{said}: its {path.name} is a link, whose target would be overwritten; remove the link"
        ) from error
    try:
        try:
            lock(handle)
        except BlockingIOError as error:
            owner = os.read(handle, 200).decode(errors="replace").strip() or "unknown"
            raise ConfigError(
                f"{said}: another run is using this folder (process {owner}); wait for it, stop it, or choose another `{key}`"
            ) from error
        except OSError as error:
            logger.warning(
                "%s: this file system has no locks (%s): nothing keeps a second run out", path, error.strerror
            )
        try:
            os.ftruncate(handle, 0)
            os.write(handle, f"{os.getpid()} on {socket.gethostname()}\n".encode())
        except OSError as error:  # as of a full disk
            error.filename = str(path)
            raise
    except BaseException:  # or it would keep out this very process, for as long as that lives
        os.close(handle)
        raise
    return handle
