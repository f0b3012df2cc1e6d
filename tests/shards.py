"""Tars of samples, as webdataset's writer lays them out."""

import io
import tarfile
from collections.abc import Mapping
from pathlib import Path


def write_shard(path: Path, members: Mapping[str, bytes]) -> Path:
    """Write files into a tar, in this order."""
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path
