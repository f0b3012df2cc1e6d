"""What lies where in a tar: its members are read in place, in any order, as if each was a file below the tar's name.

A tar is walked through once, from header to header; what is found is kept in a file beside it, where that can be written, with
the tar's size and time of change. Compressed ones cannot be entered anywhere but at their start, and are refused.
"""

import errno
import json
import os
import posixpath
import tarfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import NamedTuple, TypeAlias

from videoadapt.errors import DataListError
from videoadapt.files import write_atomically

SUFFIX, INDEX_SUFFIX = ".tar", ".index.json"
_LAYOUT = 1  # of the file beside a tar
_MOST_MEMBERS = 500_000  # of all tars, that a process remembers
_BLOCK = tarfile.BLOCKSIZE
_LOOK_BEHIND = 2**20  # bytes; writers fill the last record with zeros, 10 kB mostly
Members: TypeAlias = dict[str, tuple[int, int]]  # name to first byte and number of bytes, in the order of the tar

_known: dict[str, tuple[tuple[int, int], Members]] = {}
_looking = Lock()  # a program may ask a model about films in several threads


class Span(NamedTuple):
    """Bytes `start` to `start` + `size` of a file."""

    file: Path
    start: int
    size: int


def shard_of(path: str | Path) -> tuple[Path, str] | None:
    """The tar that a path leads into, and the member's name; None for a path that leads into none."""
    text = os.fspath(path)
    end = text.find(f"{SUFFIX}{os.sep}")
    while end >= 0:
        shard, name = text[: end + len(SUFFIX)], text[end + len(SUFFIX) + 1 :]
        if os.path.isfile(shard):
            return Path(shard), Path(name).as_posix()
        end = text.find(f"{SUFFIX}{os.sep}", end + 1)
    return None


def span_of(path: str | Path) -> Span | None:
    """Where a member lies; None for a path that leads into no tar. Raises OSError for one that is not there, DataListError."""
    if (found := shard_of(path)) is None:
        return None
    shard, name = found
    place = members_of(shard).get(name)
    if place is None:
        raise FileNotFoundError(errno.ENOENT, f"{shard.name} has no such member", os.fspath(path))
    return Span(shard, *place)


def members_of(shard: Path) -> Members:
    """All files in a tar. Raises DataListError for one that is compressed, cut off, or names a file twice."""
    try:
        status = os.stat(shard)
    except OSError as error:
        raise DataListError(f"{shard}: {error.strerror}") from error
    state, key = (status.st_size, status.st_mtime_ns), os.path.abspath(shard)
    with _looking:
        before, members = _known.pop(key, (None, None))
        if members is None or before != state:
            members = _kept(shard, state) or _found(shard, state)
        _known[key] = state, members
        while len(_known) > 1 and sum(len(of_one) for _, of_one in _known.values()) > _MOST_MEMBERS:
            del _known[next(iter(_known))]
    return members


def _kept(shard: Path, state: tuple[int, int]) -> Members | None:
    """What the file beside a tar says, where it is of this very tar."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        found = json.loads(Path(f"{shard}{INDEX_SUFFIX}").read_text(encoding="utf-8"))
        if found["layout"] == _LAYOUT and tuple(found["state"]) == state:
            return {str(name): (int(start), int(size)) for name, start, size in found["members"]}
    return None


def _found(shard: Path, state: tuple[int, int]) -> Members:
    members = dict(_walk(shard, state[0]))
    index = {"layout": _LAYOUT, "state": state, "members": [(name, *place) for name, place in members.items()]}
    with suppress(OSError, UnicodeEncodeError):  # of a folder that this user may not write to
        text = json.dumps(index)
        write_atomically(Path(f"{shard}{INDEX_SUFFIX}"), lambda partial: partial.write_text(text, encoding="utf-8"))
    return members


def _walk(shard: Path, size: int) -> Iterator[tuple[str, tuple[int, int]]]:
    seen: set[str] = set()
    try:
        with shard.open("rb") as file:
            if (kind := _compression(file.read(6))) or not size:
                raise DataListError(
                    f"{shard}: is {kind or 'empty'}; {'unpack it to a plain tar' if kind else 'copy it again'}"
                )
            file.seek(0)
            with tarfile.open(fileobj=file, mode="r:") as tar:
                for member in tar:
                    if not member.isreg():
                        continue
                    name = posixpath.normpath(member.name)
                    if name in seen or member.issparse():
                        said = "is a file with holes" if member.issparse() else "is there twice"
                        raise DataListError(f"{shard}: {member.name} {said}; write the tar anew")
                    seen.add(name)
                    yield name, (member.offset_data, member.size)
                file.seek(tar.offset)
                _check_end(shard, file.read(_LOOK_BEHIND))
    except tarfile.TarError as error:
        raise DataListError(f"{shard}: is cut off, damaged or no tar ({error}); copy it again") from error
    except OSError as error:
        raise DataListError(f"{shard}: cannot be read: {error.strerror or error}") from error


def _check_end(shard: Path, rest: bytes) -> None:
    """A tar ends with two blocks of zeros, without which it may have been cut off; behind them, tars that were joined go on."""
    if len(rest) < _BLOCK or any(rest[:_BLOCK]):
        raise DataListError(f"{shard}: is cut off, its end is missing; copy it again")
    if rest.strip(b"\0"):
        raise DataListError(f"{shard}: goes on behind its end, as tars that were joined do; name the tars one by one")


def _compression(head: bytes) -> str:
    starts = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd"}
    return next((f"compressed ({name})" for start, name in starts.items() if head.startswith(start)), "")
