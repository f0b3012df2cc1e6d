"""A list in arrays is the list that was read, and loader workers share it instead of copying it."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from torch.utils.data import DataLoader, Dataset

from tests.runs import REPOSITORY, environment
from videoadapt.structures import Video
from videoadapt.video_rows import VideoRows

ROWS = [("a b/ü [1].mp4", 3, 1), ("日本.mp4", 0, 2), ("/elsewhere/c.mp4", 1, 5), ("d.mp4", 2, 6)]
LISTED = [Video(name, Path("/videos") / name, label, line) for name, label, line in ROWS]
SMAPS = Path("/proc/self/smaps_rollup")


def test_videos_are_those_of_the_list_by_any_index() -> None:
    videos = VideoRows(Path("/videos"), ROWS)
    assert list(videos) == LISTED and len(videos) == 4 and videos[-1] == LISTED[-1] == videos[np.int64(3)]
    assert list(videos.ids()) == [v.id for v in LISTED] and list(videos.paths()) == [str(v.path) for v in LISTED]
    assert videos[2].path == Path("/elsewhere/c.mp4")
    assert list(videos[1:3]) == LISTED[1:3] and list(videos[::-1]) == LISTED[::-1]
    for outside in (4, -5):
        with pytest.raises(IndexError):
            videos[outside]
    assert not VideoRows(Path(), ()) and list(VideoRows(Path(), ())) == []


def test_a_part_is_chosen_by_rows_or_mask() -> None:
    videos = VideoRows(Path("/videos"), ROWS)
    assert list(videos.select(np.array([2, 0]))) == [LISTED[2], LISTED[0]]
    mask = np.array([True, False, False, True])
    part = videos.select(mask)
    assert list(part) == [LISTED[0], LISTED[3]] and list(part.select(np.array([1]))) == [LISTED[3]]
    assert part.labels_N.tolist() == [3, 2]


class _PrivateMegabytes(Dataset[float]):
    """Reads every video; says at each how much memory the worker shares with nobody."""

    def __init__(self, videos: Sequence[Video]):
        self.videos = videos

    def __getitem__(self, row: int) -> float:
        assert self.videos[row].label >= 0
        if 0 < row < len(self.videos) - 1:
            return 0.0
        fields = dict(line.split(":") for line in SMAPS.read_text().splitlines()[1:])
        return sum(int(fields[key].split()[0]) for key in ("Private_Clean", "Private_Dirty")) / 1024

    def __len__(self) -> int:
        return len(self.videos)


def print_growth() -> None:
    """Print how many private MB a loader worker gains on its way through a list in arrays, and through a list of objects."""
    rows = ((f"class {i % 400:03d}/video_{i:06d}_000001_000011.mp4", i % 400, i + 1) for i in range(150_000))
    videos = VideoRows(Path("/videos"), rows)
    for make in (lambda: videos, lambda: list(videos)):
        loader = DataLoader(_PrivateMegabytes(make()), batch_size=256, num_workers=1, multiprocessing_context="fork")
        read = [float(value) for batch in loader for value in batch]
        sys.stdout.write(f"{read[-1] - read[0]}\n")


@pytest.mark.slow
@pytest.mark.skipif(not SMAPS.exists(), reason="needs Linux to tell shared from private memory")
def test_a_loader_worker_does_not_copy_the_list() -> None:
    # A process of its own: in one that ran other tests, the worker's garbage collector copies what they left behind.
    code = "from tests.test_video_rows import print_growth; print_growth()"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=REPOSITORY, env=environment(), text=True, capture_output=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows, objects = map(float, done.stdout.split())
    assert rows < 17  # a worker's own pages, 6 to 11 MB however long the list
    assert objects > 24  # what a list of objects costs: the measurement sees it
