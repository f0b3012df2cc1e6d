"""Weights that others publish, by name: which commit a name stands for, and its files on this machine.

Only a name with `hf:`, `timm:` or `https:` in front downloads anything, after its licence was said.
"""

from datetime import UTC, datetime

from videoadapt.errors import CheckpointError
from videoadapt.log import announce
from videoadapt.weights.names import (
    Download,
    HubName,
    WebName,
    downloaded,
    is_name,
    keep_record,
    remember,
    remembered,
    split_name,
)
from videoadapt.weights.published._hub import Unreachable, cached_commit, commit_of, download, upload
from videoadapt.weights.published._timm import hub_name
from videoadapt.weights.published._web import place_of, stream
from videoadapt.weights.trunks import TRUNKS

__all__ = ["fetch", "fetched", "pinned", "upload"]


def pinned(location: str, before: str | None = None) -> str:
    """The same weights by a name that never changes: with the commit of `before`, if that is the same name, else the newest.

    Anything that is no name stays. Without a network, the newest commit that is on this machine; a short name asks no network.
    Raises CheckpointError.
    """
    if not is_name(location):
        return location
    name, part = split_name(location)
    if name in TRUNKS:
        return f"{_of_short(name, part, before)}{part}"
    if name.startswith("http"):
        WebName.read(name)
        return location
    asked, note = _asked(name)
    if note:
        announce(note)
    if asked.commit:
        return f"{asked}{part}"
    if asked.revision is None and before is not None and (known := _same(asked, part, before)):
        return known
    try:
        stands_for = f"{asked._replace(revision=commit_of(asked))}"
    except Unreachable as error:
        stands_for = remembered(name) or ""
        if not stands_for and (commit := cached_commit(asked)):
            stands_for = f"{asked._replace(revision=commit)}"
        if not stands_for:
            raise
        announce(f"{error}; taken from this machine: {stands_for}")
    remember(name, stands_for)
    return f"{stands_for}{part}"


def fetch(location: str) -> None:
    """Have the files of a name as `pinned` gives it on this machine, downloaded unless they are there; a path is let be.

    Their checksums are compared with those of the first download. Raises CheckpointError.
    """
    if not is_name(location):
        return
    name = split_name(location)[0]
    found = downloaded(name)
    if found is None:
        keep_record(_from_web(WebName.read(name), name) if name.startswith("http") else download(HubName.read(name)))
    elif (changed := found.changed_file()) is not None:
        raise CheckpointError(
            f"{name}: {changed} has changed since it was downloaded ({found.date}); delete it, and it is downloaded again"
        )


def fetched(location: str) -> str:
    """`pinned`, and at once on this machine."""
    name = pinned(location)
    fetch(name)
    return name


def _asked(name: str) -> tuple[HubName, str]:
    return hub_name(name) if name.startswith("timm:") else (HubName.read(name), "")


def _of_short(name: str, part: str, before: str | None) -> str:
    """The commit of a short name that is on this machine. Raises CheckpointError: a short name downloads nothing."""
    trunk = TRUNKS[name]
    if before and downloaded(split_name(before)[0]) and _same(_asked(trunk.stands_for)[0], part, before):
        return split_name(before)[0]
    if (known := remembered(trunk.stands_for)) is None:
        licence = f" ({trunk.licence})" if trunk.licence else ""
        raise CheckpointError(
            f"{name}: stands for {trunk.stands_for}{licence}, which is not on this machine; give that name to download it"
        )
    return known


def _same(asked: HubName, part: str, before: str) -> str | None:
    """`before`, where it is the asked name with a commit."""
    name, before_part = split_name(before)
    if not name.startswith("hf:") or part != before_part:
        return None
    known = HubName.read(name)
    return before if known.commit and known._replace(revision=None) == asked else None


def _from_web(address: WebName, name: str) -> Download:
    path = place_of(address)
    if not path.exists():
        announce(f"{name}: licence unknown: an address tells none; see where it is published")
    stream(address.url, path, address.sha256, name=name)
    files = {path.name: (path.stat().st_size, address.sha256)}
    return Download(name, str(path.absolute()), "unknown", files, datetime.now(UTC).isoformat(timespec="seconds"))
