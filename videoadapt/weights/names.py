"""Names under which weights are published, and where what was downloaded of them lies on this machine.

`hf:OWNER/NAME[@revision][/file]`, `timm:MODEL` and `https://...#sha256=...`. Only `published/` speaks to a network.
"""

import hashlib
import json
import os
import re
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, Self

from videoadapt.errors import CheckpointError
from videoadapt.files import alone, write_json
from videoadapt.weights.trunks import TRUNKS

PREFIXES = ("hf:", "timm:", "https://", "http://")
_HUB = re.compile(r"hf:(?P<repo>[\w.-]+/[\w.-]+)(@(?P<revision>[^/@#]+))?(/(?P<file>[^#]+))?")
_WEB = re.compile(r"(?P<url>https?://[^#]+)#sha256=(?P<sha256>[0-9a-f]{64})", re.I)
_COMMIT = re.compile(r"[0-9a-f]{40}")


def is_name(location: str) -> bool:
    """Whether weights are given by a name that may be downloaded or a short one of TRUNKS, and not by a path."""
    return location.startswith(PREFIXES) or is_short(location)


def is_short(location: str) -> bool:
    """Whether weights are given by a short name of TRUNKS, which downloads nothing."""
    return location.partition("#")[0] in TRUNKS and not os.path.exists(location)


def split_name(location: str) -> tuple[str, str]:
    """The name, and `#part` behind it or ""; the sha256 of an address belongs to its name."""
    known = re.match(r"(https?://[^#]*(#sha256=[^#]*)?|[^#]*)", location)
    assert known is not None
    return known[0], location[known.end() :]


class HubName(NamedTuple):
    """`hf:OWNER/NAME@revision/file`."""

    repo: str
    revision: str | None = None
    file: str | None = None

    @classmethod
    def read(cls, name: str) -> Self:
        """Raises CheckpointError for what is no such name."""
        found = _HUB.fullmatch(name)
        if found is None or any(part in (".", "..", "") for part in (found["file"] or "x").split("/")):
            raise CheckpointError(
                f"{name}: expected hf:OWNER/NAME, hf:OWNER/NAME@REVISION, or either with /FILE behind it"
            )
        return cls(found["repo"], found["revision"], found["file"])

    @property
    def commit(self) -> str | None:
        """The revision, where it is a commit, which never changes."""
        return self.revision if self.revision and _COMMIT.fullmatch(self.revision) else None

    def __str__(self) -> str:
        revision, file = (f"{sign}{part}" if part else "" for sign, part in (("@", self.revision), ("/", self.file)))
        return f"hf:{self.repo}{revision}{file}"


class WebName(NamedTuple):
    """`https://...#sha256=...`."""

    url: str
    sha256: str

    @classmethod
    def read(cls, name: str) -> Self:
        """Raises CheckpointError without a sha256."""
        found = _WEB.fullmatch(name)
        if found is None:
            raise CheckpointError(
                f"{name}: an address needs the sha256 of its file behind it, ADDRESS#sha256=64 HEX DIGITS (on the page that "
                "offers it, or from `sha256sum` of a copy that you trust)"
            )
        return cls(found["url"], found["sha256"].lower())


@dataclass(frozen=True)
class Download:
    """What was downloaded of a name: `path`, its files below (or beside) it with size and sha256, the licence that was said."""

    name: str
    path: str
    licence: str
    files: dict[str, tuple[int, str]]
    date: str

    @property
    def folder(self) -> Path:
        """Where the names of `files` start."""
        path = Path(self.path)
        return path if path.name not in self.files else path.parent

    def is_whole(self) -> bool:
        """Whether all files are there with their sizes."""
        try:
            return all((self.folder / name).stat().st_size == size for name, (size, _) in self.files.items())
        except OSError:
            return False

    def changed_file(self) -> Path | None:
        """The first file that has another sha256 than it was downloaded with; None where none has."""
        places = ((self.folder / name, sha256) for name, (_, sha256) in self.files.items())
        return next((path for path, sha256 in places if sha256_of(path) != sha256), None)


def cache_folder() -> Path:
    """Where records of downloads, and files of addresses, are kept: $XDG_CACHE_HOME/videoadapt, else ~/.cache/videoadapt."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(base) / "videoadapt"


def sha256_of(path: Path) -> str:
    """The sha256 of a file, in hex; computed anew once the file has changed."""
    status = path.stat()
    return _sha256(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=64)
def _sha256(path: Path, size: int, mtime_ns: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def keep_record(download: Download) -> None:
    """Note a download, for `downloaded`."""
    write_json(_record_of(download.name), asdict(download))


def downloaded(name: str) -> Download | None:
    """What was downloaded of a name with its commit or sha256, None where it is not, or no longer, all there."""
    found = _read(_record_of(name))
    try:
        files = {file: (int(size), str(sha256)) for file, (size, sha256) in found["files"].items()}
        download = Download(**{**found, "files": files})
    except (KeyError, TypeError, ValueError, AttributeError):
        return None
    return download if download.is_whole() else None


def all_downloads() -> list[Download]:
    """Everything that was downloaded and is there, by name."""
    names = [str(_read(path).get("name")) for path in (cache_folder() / "names").glob("*.json")]
    return [found for name in sorted(names) if (found := downloaded(name)) is not None]


def remember(asked: str, stands_for: str) -> None:
    """Note which commit a name without one stood for, for `remembered`."""
    if asked == stands_for:
        return
    record = _record_of(asked)
    with alone(record.with_suffix(".lock")):  # or what another process notes in between would be lost
        before = [name for name in _stood_for(asked) if name != stands_for]
        write_json(record, {"asked": asked, "stands_for": [stands_for, *before]})


def remembered(asked: str) -> str | None:
    """The newest commit that a name stood for and that is on this machine."""
    return next((name for name in _stood_for(asked) if downloaded(split_name(name)[0])), None)


def here(location: str) -> str:
    """Where weights lie on this machine: of a name what was downloaded, with `#part`; a path is itself.

    A name of which nothing is here stays as it is, which no file is called.
    """
    if not is_name(location):
        return location
    name, part = split_name(location)
    found = downloaded(name)
    if found is None and (known := remembered(name)) is not None:
        found = downloaded(known)
    return f"{found.path}{part}" if found else location


def _stood_for(asked: str) -> list[str]:
    found = _read(_record_of(asked)).get("stands_for")
    return [str(name) for name in found] if isinstance(found, list) else []


def _record_of(name: str) -> Path:
    return cache_folder() / "names" / f"{hashlib.sha256(name.encode()).hexdigest()[:32]}.json"


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # none yet, or damaged: it is downloaded, or asked for, again
        return {}
    return content if isinstance(content, dict) else {}
