"""A copy of the package as it is at submission, for jobs that start later."""

import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from videoadapt.config.shipped import LISTS, PACKAGE, shipped_folder
from videoadapt.files import make_folder


def code_version() -> str:
    """A hash of the files that a snapshot holds."""
    digest = hashlib.sha256()
    for folder, name in _parts():
        for path in sorted(path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts):
            digest.update(f"{name}/{path.relative_to(folder)}\0{path.stat().st_size}\0".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def snapshot(folder: Path) -> Path:
    """Copy the package to `folder/<hash of its files>/videoadapt`, unless it is there; return the folder for PYTHONPATH."""
    target = (folder / code_version()).resolve()
    if not target.exists():
        make_folder(target, _copy)
    return target


def _copy(folder: Path) -> None:
    for source, name in _parts():
        shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))


def _parts() -> Iterator[tuple[Path, str]]:
    """The package, and beside it the shipped lists of a clone, where the package in the snapshot looks for them."""
    yield PACKAGE, PACKAGE.name
    lists = shipped_folder(LISTS)
    if lists.is_dir() and not lists.is_relative_to(PACKAGE):
        yield lists, LISTS
