"""A list in arrays is the list that was read, and loader's processes do without it."""

import pickle
from pathlib import Path

import numpy as np
import pytest

from videoadapt.config.schema import DataConfig
from videoadapt.data.batches import Schedule, TrainBatches
from videoadapt.data.reading import ReadClips
from videoadapt.data.structures import Video
from videoadapt.data.videos import VideoRows
from videoadapt.runs.build_data import build_clip_reader

ROWS = [("a b/ü [1].mp4", 3, 1), ("日本.mp4", 0, 2), ("/elsewhere/c.mp4", 1, 5), ("d.mp4", 2, 6)]
LISTED = [Video(name, Path("/videos") / name, label, line) for name, label, line in ROWS]


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


def test_a_loader_s_process_gets_no_list() -> None:
    """Whatever the length of the list, a process gets the reader once, and each video when it is to be read."""
    rows = ((f"class {i % 400:03d}/video_{i:06d}_000001_000011.mp4", i % 400, i + 1) for i in range(150_000))
    videos = VideoRows(Path("/videos"), rows)
    items = TrainBatches(videos, Schedule(len(videos), 8, 1, 1, seed=0), start_step=100)
    assert len(items) == 150_000 // 8 - 100 and len(pickle.dumps(items[7])) < 8 * 500
    assert len(pickle.dumps(ReadClips(build_clip_reader(DataConfig()), seed=0))) < 5_000
    memory = sum(part.nbytes for part in vars(videos).values() if isinstance(part, np.ndarray))
    assert memory / len(videos) < 100
