"""Unpacking archives as they are downloaded: zip, tar (also cut into parts), and rar with `unar`, which brings `lsar`."""

import gzip
import io
import json
import shutil
import subprocess
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import IO

from videoadapt.errors import DISK_FULL, DataListError
from videoadapt.files import PARTIAL

# Videos are packed already, and lists of them to a fifth at best.
_SUSPICIOUS_BYTES, _MOST_TIMES = 10**9, 50
_MOST_PADDING = 100 * 2**20  # behind the end of a tar, which is filled up to a block
_ENCRYPTED = 1  # a bit of a zip's flags
_YOURSELF = "unpack it yourself and name the folder"
# Not bsdtar, which unpacks damaged files without an error, nor unrar, which lists sizes for people only.
_UNAR = ("unar", "-quiet", "-force-overwrite", "-no-directory", "-output-directory")


class _Joined(io.RawIOBase):
    """Files read one after the other, as if they were one."""

    def __init__(self, paths: Sequence[Path]):
        self._waiting = list(paths)
        self._file: IO[bytes] | None = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "memoryview") -> int:  # type: ignore[override]
        while True:
            if self._file is None:
                if not self._waiting:
                    return 0
                self._file = self._waiting.pop(0).open("rb")
            data = self._file.read(len(buffer))
            if data:
                buffer[: len(data)] = data
                return len(data)
            self._file.close()
            self._file = None


def unpack(parts: Sequence[Path], folder: Path) -> None:
    """Unpack one archive, given as its parts in their order, into `folder`. Files that are there in full are passed over.

    Raises DataListError for a damaged or cut archive, for names that would leave `folder`, for more than the disk has room
    for, for far more than videos can be packed into, and for a rar that nothing here can list.
    """
    folder.mkdir(parents=True, exist_ok=True)
    first = parts[0]
    packed = sum(part.stat().st_size for part in parts)
    written: list[Path] = []
    total = 0
    if first.suffix == ".rar":
        sizes = {_target(folder, first, name): size for name, size in _rar_members(first)}
        written = [target for target in sizes if not target.is_file()]
        _check_sizes(first, folder, packed, sum(sizes.values()), sum(sizes[target] for target in written))
        try:
            _unpack_rar(first, folder)
        except DataListError:
            _remove(written)
            raise
        return
    try:
        for name, size, stream in _zip_members(first, folder) if zipfile.is_zipfile(first) else _tar_members(parts):
            target = _target(folder, first, name)
            total += size
            if not (target.is_file() and target.stat().st_size == size):
                _check_sizes(first, folder, packed, total, size)
                written.append(target)
                _write(target, stream)
    except DataListError:
        _remove(written)
        raise
    except RuntimeError as error:  # of a zip: a method that Python does not know
        _remove(written)
        raise DataListError(f"{first}: cannot be unpacked here: {error}; {_YOURSELF}") from error
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, OSError, ValueError, zlib.error) as error:
        _remove(written)
        if isinstance(error, OSError) and error.errno is not None:  # of the system, not of the archive
            room = f"; {shutil.disk_usage(folder).free / 1e6:.1f} MB are free there" if error.errno in DISK_FULL else ""
            where = f" ({error.filename})" if error.filename and not room else ""
            raise DataListError(
                f"{first}: cannot be unpacked into {folder}: {error.strerror}{where}{room}; choose another folder"
                f"{', or free some space, and run the same command again' if room else f', or {_YOURSELF}'}"
            ) from error
        whole = f"in full, with all {len(parts)} parts" if len(parts) > 1 else "in full"
        raise DataListError(f"{first}: cannot be unpacked ({error}); is it downloaded {whole}?") from error


def _remove(written: Sequence[Path]) -> None:
    """Take back what was unpacked: a checksum covers what was written before it, so none of it can be trusted."""
    for target in written:
        target.unlink(missing_ok=True)


def _check_sizes(archive: Path, folder: Path, packed: int, total: int, needed: int) -> None:
    """Raise DataListError where an archive of `packed` bytes, `total` unpacked, is not to be unpacked into `folder`.

    `needed`: bytes that are to be written next.
    """
    if total > _SUSPICIOUS_BYTES and total > _MOST_TIMES * packed:
        times = total // max(1, packed)
        raise DataListError(
            f"{archive}: {packed / 1e6:.1f} MB unpack to {total / 1e9:.1f} GB or more, {times} times as much, which no videos "
            f"do; if that is right, {_YOURSELF}"
        )
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise DataListError(
            f"{archive}: cannot be unpacked into {folder}: {needed / 1e9:.3f} GB are to be written, {free / 1e9:.3f} GB are "
            "free there; choose another folder, or free some space, and run the same command again"
        )


def _zip_members(path: Path, folder: Path) -> Iterator[tuple[str, int, IO[bytes]]]:
    with zipfile.ZipFile(path) as archive:
        absent = [m.file_size for m in archive.infolist() if not (folder / m.filename).is_file()]
        total = sum(member.file_size for member in archive.infolist())
        _check_sizes(path, folder, path.stat().st_size, total, sum(absent))
        for member in archive.infolist():
            if member.flag_bits & _ENCRYPTED:
                raise DataListError(f"{path}: holds {member.filename!r}, which is encrypted; {_YOURSELF}")
            if not member.filename.endswith("/"):
                with archive.open(member) as stream:
                    yield member.filename, member.file_size, stream


def _tar_members(parts: Sequence[Path]) -> Iterator[tuple[str, int, IO[bytes]]]:
    raw = io.BufferedReader(_Joined(parts), 2**20)
    # tarfile's own reading of gzip streams checks neither the checksum nor that the end is there.
    joined = gzip.GzipFile(fileobj=raw) if raw.peek(2)[:2] == b"\x1f\x8b" else raw
    with tarfile.open(fileobj=joined, mode="r|" if joined is not raw else "r|*") as archive:
        for member in archive:
            stream = archive.extractfile(member) if member.isfile() else None
            if stream is not None:
                yield member.name, member.size, stream
            elif not member.isdir():
                raise DataListError(f"{parts[0]}: holds {member.name!r}, which is neither a file nor a folder")
    padding = 0
    while part := joined.read(2**20):  # to the end, where the checksum stands
        if (padding := padding + len(part)) > _MOST_PADDING:
            raise DataListError(
                f"{parts[0]}: goes on for more than {_MOST_PADDING / 1e6:.0f} MB behind its end; download it again"
            )


def _target(folder: Path, archive: Path, name: str) -> Path:
    relative = PurePosixPath(name)
    if relative.is_absolute() or ".." in relative.parts:
        raise DataListError(f"{archive}: holds {name!r}, which leads out of the folder")
    if not relative.parts:
        raise DataListError(f"{archive}: holds {name!r}, which is no name of a file; download it again")
    return folder / relative


def _write(target: Path, stream: IO[bytes]) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}{PARTIAL}")  # one name: what a kill left is written over
    try:
        with partial.open("wb") as file:
            shutil.copyfileobj(stream, file, 2**20)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def _rar_members(archive: Path) -> list[tuple[str, int]]:
    """Names and sizes of the files in a rar, as `lsar` lists them. Raises DataListError where it cannot, and for links."""
    if not (shutil.which("lsar") and shutil.which("unar")):
        raise DataListError(
            f"{archive}: rar is listed and unpacked by lsar and unar, which are not installed (Debian and Ubuntu: sudo apt-get "
            f"install unar; macOS: brew install unar); or {_YOURSELF}"
        )
    found = _said_by("lsar", "-json", str(archive.absolute()))
    try:
        entries = json.loads(found.stdout)["lsarContents"]
        link = next((str(e["XADFileName"]) for e in entries if e.get("XADIsLink")), None)
        files = [(str(e["XADFileName"]), int(e["XADFileSize"])) for e in entries if not e.get("XADIsDirectory")]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataListError(f"{archive}: is no rar that lsar can list; download it again") from error
    if link is not None:  # unar would make it, and it would be read as a video or a list of the download
        raise DataListError(f"{archive}: holds {link!r}, which is neither a file nor a folder")
    return files


def _unpack_rar(archive: Path, folder: Path) -> None:
    done = _said_by(*_UNAR, str(folder.absolute()), str(archive.absolute()))
    if done.returncode:
        said = (done.stderr or done.stdout).strip()
        if "password" in said:
            raise DataListError(f"{archive}: is encrypted; {_YOURSELF}")
        last = (said.splitlines() or [""])[-1]
        raise DataListError(
            f"{archive}: unar ended with exit code {done.returncode}: {last}; is it downloaded in full?"
        )


def _said_by(*command: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(command, capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL)
