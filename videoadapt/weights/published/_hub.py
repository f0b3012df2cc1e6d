"""Repositories of the Hugging Face hub, through huggingface_hub and into its cache.

Weights themselves come by our own `stream`: huggingface_hub 2 compares no checksum, deletes what arrived when it gives up, and
gives up when a connection is reset. Its cache takes the finished file, as `blobs/<sha256>`, for its own.
"""

import errno
import hashlib
import json
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from videoadapt.errors import CheckpointError
from videoadapt.log import announce
from videoadapt.weights.files import IN_A_FOLDER
from videoadapt.weights.names import Download, HubName, sha256_of
from videoadapt.weights.published._web import stream

TIMEOUT_SEC = 10.0
BESIDE = ("config.json", "open_clip_config.json")  # what is told of a model beside its tensors
OF_PIXELS = "preprocessor_config.json"  # of `transformers`, where there is one
ADAPTER = "adapter.safetensors"


class Unreachable(CheckpointError):
    """The hub, or the network, does not answer; what is in the cache may do."""


def commit_of(name: HubName) -> str:
    """The commit that the revision of a name (none: the newest) is now. Raises CheckpointError."""
    return str(_about(name).sha)


def cached_commit(name: HubName) -> str | None:
    """The commit of a revision that other programs left in the hub's cache."""
    from huggingface_hub import try_to_load_from_cache

    for file in [name.file] if name.file else IN_A_FOLDER:
        found = try_to_load_from_cache(name.repo, file, revision=name.revision)
        if isinstance(found, str):
            return Path(found).parents[file.count("/")].name
    return None


def download(name: HubName) -> Download:
    """Download what a name with a commit stands for: one file, or a model's weights and its config. Raises CheckpointError."""
    try:
        about = _about(name, files_metadata=True)
    except Unreachable:
        if (found := _in_cache(name)) is None:
            raise
        return found
    there = {item.rfilename: item for item in about.siblings or ()}
    licence = licence_of(about)
    files = _first(name, there)
    size = sum(there[file].size or 0 for file in files)
    announce(f"{name}: licence {licence}; {', '.join(files)}, {size / 1e6:,.1f} MB")
    place = {file: _one(name, file, there[file]) for file in files}
    if files[-1].endswith(".json"):  # the index of shards
        shards = _shards(name, place[files[-1]])
        if absent := [file for file in shards if file not in there]:
            raise CheckpointError(
                f"{name}: its {place[files[-1]].name} names {absent[0]}, which the repository does not hold"
            )
        announce(f"{name}: {len(shards)} shards, {sum(there[file].size or 0 for file in shards) / 1e6:,.1f} MB")
        place |= {file: _one(name, file, there[file]) for file in shards}
    return _described(name, place, licence)


def upload(name: HubName, folder: Path, *, private: bool) -> str:
    """Put the files of a folder into a repository, which is made unless it is there; return its name with the new commit.

    Raises CheckpointError.
    """
    from huggingface_hub import HfApi, get_token

    if get_token() is None:
        raise CheckpointError(
            f"{name}: uploading needs a login: `hf auth login`, or HF_TOKEN with a token that may write"
        )
    with explained(name):
        HfApi().create_repo(name.repo, private=private or None, exist_ok=True)
        done = HfApi().upload_folder(repo_id=name.repo, folder_path=folder, commit_message="Adapter of videoadapt")
    return str(name._replace(revision=done.oid))


def licence_of(about: Any) -> str:
    """What a model's card says of its licence."""
    card = about.card_data or {}
    said = card.get("license")
    if said == "other":
        said = card.get("license_name") or "other"
        said += f" ({card.get('license_link')})" if card.get("license_link") else ""
    return str(said) if said else "unknown: its page names none"


def _first(name: HubName, there: Collection[str]) -> list[str]:
    """The files to begin with, weights or their index last."""
    if name.file:
        if name.file not in there:
            raise CheckpointError(f"{name}: the repository holds no such file; {_weights_in(name, there)}")
        return [name.file]
    found = next((file for file in (*IN_A_FOLDER, ADAPTER) if file in there), None)
    if found is None:
        raise CheckpointError(f"{name}: holds none of {', '.join(IN_A_FOLDER)}; {_weights_in(name, there)}")
    return [*(file for file in (*BESIDE, OF_PIXELS) if file in there and found != ADAPTER), found]


def _weights_in(name: HubName, there: Collection[str]) -> str:
    files = [file for file in there if file.endswith((".safetensors", ".bin", ".pth", ".pt", ".ckpt"))]
    if not files:
        return "it holds no weights at all"
    shown = ", ".join(str(name._replace(file=file, revision=None)) for file in files[:5])
    return f"name one of its files: {shown}{', ...' if len(files) > 5 else ''}"


def _shards(name: HubName, index: Path) -> list[str]:
    """The files that an index names. Raises CheckpointError for what is no index."""
    try:
        return sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{name}: its {index.name} holds no `weight_map` of tensors to files") from error


def _one(name: HubName, file: str, about: Any) -> Path:
    """One file of a commit, in the hub's cache, with the bytes that the hub says it has."""
    from huggingface_hub import constants, errors, get_hf_file_metadata, hf_hub_download, hf_hub_url
    from huggingface_hub.file_download import repo_folder_name
    from huggingface_hub.utils import build_hf_headers

    whole = name._replace(file=file)
    with explained(whole):
        if about.lfs is not None:
            url, headers = hf_hub_url(name.repo, file, revision=name.revision), build_hf_headers()
            known = get_hf_file_metadata(url, timeout=TIMEOUT_SEC)
            if known.commit_hash is None or known.etag is None:
                raise errors.FileMetadataError
            if known.etag != about.lfs.sha256:
                raise CheckpointError(f"{whole}: the hub says two checksums of it, {known.etag} and {about.lfs.sha256}")
            if urlsplit(known.location).netloc != urlsplit(url).netloc:  # a token is for the hub alone
                headers.pop("authorization", None)
            blobs = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=name.repo, repo_type="model") / "blobs"
            stream(known.location, blobs / about.lfs.sha256, about.lfs.sha256, name=str(whole), headers=headers)
        path = Path(hf_hub_download(name.repo, file, revision=name.revision, etag_timeout=TIMEOUT_SEC))
    wanted = about.lfs.sha256 if about.lfs is not None else about.blob_id
    if wanted and wanted != (found := sha256_of(path) if about.lfs is not None else _git_sha(path)):
        path.resolve().unlink(missing_ok=True)
        path.unlink(missing_ok=True)
        raise CheckpointError(
            f"{whole}: what is in the cache has checksum {found}, not {wanted}; it was deleted: run again"
        )
    return path


def _git_sha(path: Path) -> str:
    content = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def _described(name: HubName, place: dict[str, Path], licence: str) -> Download:
    files = {file: (path.stat().st_size, sha256_of(path)) for file, path in place.items()}
    if name.file:
        path = place[name.file]
        files = {path.name: files[name.file]}
    else:
        file, path = next(iter(place.items()))
        path = path.parents[file.count("/")]
        path = path / ADAPTER if ADAPTER in place else path
    return Download(str(name), str(path.absolute()), licence, files, datetime.now(UTC).isoformat(timespec="seconds"))


def _in_cache(name: HubName) -> Download | None:
    """What another program downloaded of a commit, if that is all it needs: timm leaves no config.json, and needs none."""
    from huggingface_hub import try_to_load_from_cache

    def at(file: str) -> Path | None:
        found = try_to_load_from_cache(name.repo, file, revision=name.revision)
        return Path(found) if isinstance(found, str) else None

    asked = [name.file] if name.file else [*BESIDE, OF_PIXELS, *IN_A_FOLDER, ADAPTER]
    there = {file: path for file in asked if (path := at(file)) is not None}
    first = _first(name, there) if name.file in there or any(file in there for file in IN_A_FOLDER) else []
    if first and first[-1].endswith(".json"):
        shards = _shards(name, there[first[-1]])
        there |= {file: path for file in shards if (path := at(file)) is not None}
        first += shards
    told = name.file or name.repo.startswith("timm/") or ADAPTER in first or any(file in there for file in BESIDE)
    if not first or not told or any(file not in there for file in first):
        return None
    for path in (there[file] for file in first):
        blob = path.resolve().name
        if len(blob) == 64 and sha256_of(path) != blob:
            raise CheckpointError(f"{path}: is damaged, its sha256 is not {blob}; delete it, and download it again")
    return _described(name, {file: there[file] for file in first}, "not known here: the hub cannot be reached")


def _about(name: HubName, files_metadata: bool = False) -> Any:
    from huggingface_hub import HfApi

    with explained(name):
        return HfApi().model_info(name.repo, revision=name.revision, files_metadata=files_metadata, timeout=TIMEOUT_SEC)


@contextmanager
def explained(name: HubName) -> Iterator[None]:
    """One clear line, CheckpointError, for whatever the hub or the network answers in the block."""
    import httpx2
    from huggingface_hub import constants, errors

    page = f"{constants.ENDPOINT}/{name.repo}"
    login = "log in with `hf auth login`, or set HF_TOKEN"
    try:
        yield
    except errors.GatedRepoError as error:
        raise CheckpointError(f"{name}: is gated: accept its terms at {page}, then {login}") from error
    except errors.RevisionNotFoundError as error:
        raise CheckpointError(f"{name}: the repository has no revision {name.revision}; see {page}/commits") from error
    except errors.RepositoryNotFoundError as error:
        status = error.response.status_code
        raise CheckpointError(
            f"{name}: no such repository (the hub says {status}), or a private one: check the name; for a private one {login}"
        ) from error
    except errors.RemoteEntryNotFoundError as error:
        raise CheckpointError(f"{name}: the repository holds no such file; see {page}/tree/main") from error
    except errors.OfflineModeIsEnabled as error:
        raise Unreachable(f"{name}: is not on this machine, and HF_HUB_OFFLINE is set") from error
    except errors.HfHubHTTPError as error:
        status = error.response.status_code
        kind = Unreachable if status >= 500 else CheckpointError
        advice = login if status in (401, 403) else "try again later"
        raise kind(f"{name}: the hub answers {status} {error.response.reason_phrase}; {advice}") from error
    except httpx2.TimeoutException as error:
        raise Unreachable(f"{name}: the hub ({constants.ENDPOINT}) did not answer within {TIMEOUT_SEC:g} s") from error
    except httpx2.HTTPError as error:
        raise Unreachable(f"{name}: the hub ({constants.ENDPOINT}) cannot be reached: {error}") from error
    except errors.LocalEntryNotFoundError as error:  # of hf_hub_download, which hides what the network said
        raise Unreachable(
            f"{name}: the hub ({constants.ENDPOINT}) cannot be reached, and it is not in its cache"
        ) from error
    except (errors.FileMetadataError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{name}: what answers at {constants.ENDPOINT} is not the hub: a login page of the network, or a wrong HF_ENDPOINT?"
        ) from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise CheckpointError(
                f"{name}: no space is left in {constants.HF_HUB_CACHE}; free some, or set HF_HOME"
            ) from error
        if error.errno is None:  # of huggingface_hub: another size than it was told
            raise CheckpointError(f"{name}: {str(error).splitlines()[0]}") from error
        raise
