"""One file from an address, streamed to its place: what broke off goes on where it was, and only the right bytes arrive."""

import http.client
import os
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from videoadapt import __version__
from videoadapt.errors import CheckpointError
from videoadapt.files import alone
from videoadapt.log import progress
from videoadapt.weights.names import WebName, cache_folder, sha256_of

TIMEOUT_SEC = 30.0  # without a byte
ATTEMPTS = 4  # in a row in which not a byte arrives
WAIT_SEC = 1.0
_CHUNK = 2**20
_BROKEN = (TimeoutError, ConnectionError, http.client.HTTPException, urllib.error.URLError)


def place_of(name: WebName) -> Path:
    """Where the file of an address is kept."""
    file = os.path.basename(urllib.request.url2pathname(name.url.partition("?")[0]).rstrip("/")) or "weights"
    return cache_folder() / "files" / name.sha256 / file


def stream(url: str, target: Path, sha256: str, *, name: str, headers: Mapping[str, str] | None = None) -> None:
    """Have the file with this sha256 at `target`, atomically; `name` begins every error and its last part names the bar.

    One process downloads, others wait for it; without locks, the sha256 shows what two have mixed. What arrived before a
    connection, or a process, broke off is kept beside `target` and not asked for again. Raises CheckpointError.
    """
    partial = target.with_name(f"{target.name}.videoadapt.incomplete")
    with alone(partial.with_suffix(".lock")):
        if target.exists():
            return
        kind = _all_of(url, partial, dict(headers or {}), sha256, name)
        if (found := sha256_of(partial)) != sha256:
            partial.unlink()
            page = f"; {kind} came in place of a file: is a login needed?" if kind.startswith("text/html") else ""
            raise CheckpointError(f"{name}: what came has sha256 {found}, not {sha256}; it was deleted{page}")
        with partial.open("r+b") as file:
            os.fsync(file.fileno())
        partial.replace(target)


def _all_of(url: str, partial: Path, headers: dict[str, str], sha256: str, name: str) -> str:
    """Append to `partial` until the file is whole; return its content type, "" where it was before."""
    failed = 0
    while True:
        before = _size(partial)
        try:
            with _opened(url, headers, before) as answer:
                return _append(answer, partial, name)
        except urllib.error.HTTPError as error:
            if error.code != 416 or not before:
                _refused(error, name)
            if sha256_of(partial) == sha256:  # a process was killed while it looked at what had come
                return ""
            partial.unlink()  # longer than the file, or the server's file is another one now
        except _BROKEN as error:
            failed = 1 if _size(partial) > before else failed + 1
            if failed >= ATTEMPTS:
                reason = getattr(error, "reason", None) or str(error) or type(error).__name__
                raise CheckpointError(
                    f"{name}: the download broke off at {_size(partial) / 1e6:,.1f} MB ({reason}); run the same command again, "
                    "and it goes on from there"
                ) from error
            time.sleep(WAIT_SEC)


def _opened(url: str, headers: dict[str, str], start: int) -> Any:
    asked = {"User-Agent": f"videoadapt/{__version__}", "Accept-Encoding": "identity", **headers}
    asked |= {"Range": f"bytes={start}-"} if start else {}
    return urllib.request.urlopen(urllib.request.Request(url, headers=asked), timeout=TIMEOUT_SEC)


def _append(answer: Any, partial: Path, name: str) -> str:
    start = _size(partial)
    if start and (answer.status != 206 or f"bytes {start}-" not in (answer.headers.get("Content-Range") or "")):
        partial.unlink()  # the server gives only the whole
        start = 0
        if answer.status == 206:
            raise ConnectionError("the server sent another part than it was asked for")
    length = answer.headers.get("Content-Length")
    left = int(length) if length and length.isdigit() else None
    free = shutil.disk_usage(partial.parent).free
    if left is not None and left > free:
        raise CheckpointError(
            f"{name}: needs {left / 1e6:,.1f} MB in {partial.parent}, where {free / 1e6:,.1f} MB are free"
        )
    came = 0
    title = f"download {name.partition('#')[0].rpartition('/')[2][:40]}"
    with partial.open("ab") as file, progress(title, _mb((left or 0) + start), "MB") as line:
        line.start_at(_mb(start))
        while chunk := answer.read(_CHUNK):
            try:
                file.write(chunk)
                file.flush()
            except OSError as error:
                error.filename = str(partial)
                raise
            line.advance(count=_mb(start + came + len(chunk)) - _mb(start + came))
            came += len(chunk)
    if left is not None and came < left:
        raise ConnectionError(f"the connection ended {(left - came) / 1e6:,.1f} MB too early")
    return str(answer.headers.get("Content-Type", ""))


def _mb(size: int) -> int:
    """Megabytes, a begun one is one."""
    return -(-size // 10**6)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _refused(error: urllib.error.HTTPError, name: str) -> NoReturn:
    advice = {
        401: "a login is needed: download it with a browser, and name the file",
        403: "access is refused: download it with a browser, and name the file",
        404: "there is no such file; check the address",
    }.get(error.code, "try again later")
    raise CheckpointError(f"{name}: the server answers {error.code} {error.reason}: {advice}") from error
