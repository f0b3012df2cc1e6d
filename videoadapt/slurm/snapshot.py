"""A copy of the package as it is at submission, for jobs that start later."""

import hashlib
import os
import shutil
from pathlib import Path

import videoadapt


def code_version() -> str:
    """A hash of the package's files."""
    digest = hashlib.sha256()
    root = Path(videoadapt.__file__).parent
    for path in sorted(path for path in root.rglob("*") if path.is_file() and "__pycache__" not in path.parts):
        digest.update(f"{path.relative_to(root)}\0{path.stat().st_size}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def snapshot(folder: Path) -> Path:
    """Copy the package to `folder/<hash of its files>/videoadapt`, unless it is there; return the folder for PYTHONPATH."""
    target = (folder / code_version()).resolve()
    if not target.exists():
        partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
        source = Path(videoadapt.__file__).parent
        shutil.copytree(source, partial / source.name, ignore=shutil.ignore_patterns("__pycache__"))
        partial.rename(target)
    return target
