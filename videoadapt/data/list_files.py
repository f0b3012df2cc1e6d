"""List and class files: names checked, written and read."""

from collections.abc import Sequence
from pathlib import Path

from videoadapt.data.structures import Video
from videoadapt.errors import DataListError
from videoadapt.files import write_text


def write_list(path: Path, videos: Sequence[Video]) -> None:
    """Write rows that `VideoList.load` reads back as they are. Raises DataListError for a name that no row can hold."""
    for video in videos:
        check_name(video.id)
    write_text(path, "".join(f"{video.id} {video.label}\n" for video in videos))


def check_name(name: str) -> None:
    """Raise DataListError when no row of a list can hold this name as it is."""
    if name != name.strip() or len(name.splitlines()) != 1:
        raise DataListError(f"{name!r}: rename it; a list cannot hold line breaks, or spaces at either end")
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise DataListError(f"{name!r}: rename it; a list holds UTF-8 names only") from error


def read_classes(path: Path) -> list[str]:
    """Read a file with one class name a line. Raises DataListError when it holds fewer than two, or one twice."""
    try:
        names = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataListError(f"{path}: cannot be read as class names: {error}") from error
    if len(names) < 2 or len(set(names)) < len(names) or not all(name.strip() for name in names):
        raise DataListError(f"{path}: expected at least two class names, one a line, none twice")
    return names
