"""Lists of `path label` rows: HMDB51, UCF101, Kinetics and SSv2 are yaml files over this one class."""

from pathlib import Path

from videoadapt.errors import DataListError
from videoadapt.registry import DATASETS
from videoadapt.structures import Video


@DATASETS.register
class VideoList:
    """Text files with one video a row: its path below `data.root`, a space, its class index."""

    def __init__(self) -> None:
        self.class_names: list[str] | None = None

    def load(self, source: str, root: Path) -> list[Video]:
        """Read the list file `source`. A path may hold spaces: the label is what follows the last one.

        Raises DataListError that names the first rows that cannot be used and how many there are.
        """
        try:
            text = Path(source).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise DataListError(f"{source}: cannot be read as a list of videos: {error}") from error
        videos, problems = [], []
        for number, row in enumerate(text.splitlines(), start=1):
            if not row.strip():
                continue
            name, _, label = row.strip().rpartition(" ")
            if not name or not label.isdecimal():
                problems.append(f"line {number}: {row!r}")
                continue
            videos.append(Video(name.strip(), root / name.strip(), int(label)))
        if problems:
            raise DataListError(
                f"{source}: {len(problems)} rows are not `path label` with a whole number as label, first {problems[0]}"
            )
        if not videos:
            raise DataListError(f"{source}: holds no videos; expected rows of `path label`")
        return videos
