"""Lists of `path label` rows: HMDB51, UCF101, Kinetics and SSv2 are yaml files over this one class."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from videoadapt.atomic import write_atomically
from videoadapt.errors import DataListError, why_unreadable
from videoadapt.registry import DATASETS
from videoadapt.structures import Video
from videoadapt.video_rows import VideoRows


@DATASETS.register
class VideoList:
    """Text files with one video a row: its path below `data.root`, a space, its class index."""

    def __init__(self) -> None:
        self.class_names: list[str] | None = None

    def load(self, source: str, root: Path) -> VideoRows:
        """Read the list file `source`: UTF-8, with or without a byte-order mark, lines ended as Unix or Windows does.

        A path may hold spaces: the label is what follows the last one. Raises DataListError that names the first row that
        cannot be used and how many there are.
        """
        try:
            text = Path(source).read_text(encoding="utf-8-sig")
        except UnicodeDecodeError as error:
            raise DataListError(f"{source}: is not UTF-8 text (byte {error.start}); save it as UTF-8") from error
        except OSError as error:
            raise DataListError(
                f"{source}: cannot be read: {why_unreadable(Path(source)) or error.strerror}"
            ) from error
        problems: list[str] = []
        videos = VideoRows(root, _rows(text, problems))
        if problems:
            raise DataListError(
                f"{source}: {len(problems)} rows are not `path label` with a whole number as label, first {problems[0]}"
            )
        if not videos:
            raise DataListError(f"{source}: holds no videos; expected rows of `path label`")
        return videos


def _rows(text: str, problems: list[str]) -> Iterator[tuple[str, int, int]]:
    """(path, label, line) of every row; what is no such row goes to `problems`."""
    for line, row in enumerate(text.split("\n"), start=1):  # splitlines() would also part names at rarer characters
        if not (row := row.strip()):
            continue
        name, _, label = row.rpartition(" ")
        if name and label.isdecimal():
            yield name.strip(), int(label), line
            continue
        hint = " (the label follows a tab; write a space)" if row.rpartition("\t")[2].isdecimal() else ""
        problems.append(f"line {line}: {row!r}{hint}")


def write_list(path: Path, videos: Sequence[Video]) -> None:
    """Write rows that `VideoList.load` reads back as they are. Raises DataListError for a name that no row can hold."""
    for video in videos:
        check_name(video.id)
    text = "".join(f"{video.id} {video.label}\n" for video in videos)
    write_atomically(path, lambda partial: partial.write_text(text, encoding="utf-8"))


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
