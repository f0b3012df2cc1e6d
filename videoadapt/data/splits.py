"""The lists of a run with their class names, and fingerprints of a list and of its files."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from io import BufferedReader
from pathlib import Path

from videoadapt.data.shared_classes import OtherList
from videoadapt.data.videos import VideoRows
from videoadapt.video.files import open_bytes, place_of

HASHED_FILES = 32
HASHED_BYTES, HASHED_PIECES = 64 * 2**20, 64  # of a file at most


@dataclass(frozen=True)
class Splits:
    """The lists a run works on; `val` may be empty. `class_names[label]` names a class.

    `num_val_in_test` counts the files that are in both the validation and the test list; None: that was not looked at.
    """

    train: VideoRows
    val: VideoRows
    test: VideoRows
    class_names: list[str]
    num_val_in_test: int | None = 0
    others: Mapping[str, OtherList] = field(default_factory=dict)  # lists to test on besides `test`, by their names

    def fingerprint(self, videos: VideoRows) -> str:
        """sha256 over the rows of a list, so that two results can be told to come from the same one."""
        digest = hashlib.sha256()
        for name, labels in zip(videos.ids(), videos.label_texts(), strict=True):
            digest.update(f"{name} {labels}\n".encode())
        return digest.hexdigest()

    @staticmethod
    def files_fingerprint(videos: VideoRows) -> str:
        """sha256 over the size of every file and the content of HASHED_FILES of them, evenly spread over the list.

        Tells other copies of a data set apart (re-encoded, trimmed, partly absent) at the cost of one look at each file. Times
        of change are not in it, for a copy has others. Of a file larger than HASHED_BYTES, pieces of so many bytes together.
        """
        digest = hashlib.sha256()
        step = max(1, len(videos) // HASHED_FILES)
        for row, video in enumerate(videos):
            try:
                looked_into = row % step == 0 and row // step < HASHED_FILES
                if video.path.is_dir():
                    digest.update(f"{video.id} {_folder_digest(video.path, looked_into)}\n".encode())
                    continue
                if (place := place_of(video.path)) is None:
                    raise OSError("is no regular file")
                digest.update(f"{video.id} {place.size}\n".encode())
                if looked_into:
                    with open_bytes(video.path) as file:
                        digest.update(_content_digest(file, place.size))
            except (OSError, ValueError):  # absent or unreadable, as far as the run allows it; a null byte in the name
                digest.update(f"{video.id} unreadable\n".encode())
        return digest.hexdigest()


def _content_digest(file: BufferedReader, size: int) -> bytes:
    """sha256 over a file's content; of a large file over pieces of it, evenly spread, with the first and the last bytes."""
    if size <= HASHED_BYTES:
        return hashlib.file_digest(file, "sha256").digest()
    digest, piece = hashlib.sha256(), HASHED_BYTES // HASHED_PIECES
    for number in range(HASHED_PIECES):
        file.seek((size - piece) * number // (HASHED_PIECES - 1))
        digest.update(file.read(piece))
    return digest.digest()


def _folder_digest(folder: Path, looked_into: bool) -> str:
    """sha256 over the names and sizes of a folder's files, and over the content of the first, the middle and the last."""
    files = sorted(folder.iterdir())
    digest = hashlib.sha256("".join(f"{file.name} {file.stat().st_size}\n" for file in files).encode())
    for place in sorted({0, len(files) // 2, len(files) - 1}) if files and looked_into else ():
        digest.update(hashlib.sha256(files[place].read_bytes()).digest())
    return digest.hexdigest()
