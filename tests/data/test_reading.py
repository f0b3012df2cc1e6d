"""What was read of a list's rows, put together: clips with their labels, and by name what could not be read."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.media import write_video
from videoadapt.data import batches
from videoadapt.data.batches import TrainItem
from videoadapt.data.loader import Sample
from videoadapt.data.reading import ClipNotes, ReadClips, ReadViews, collate_clips, collate_views
from videoadapt.data.structures import Unreadable, Video, VideoViews
from videoadapt.processes.slots import InSlot, Read
from videoadapt.processes.worker import Lost
from videoadapt.video.boxes import EraseBox
from videoadapt.video.cache.source import FrameSource
from videoadapt.video.readers import ClipReader, FileNotes, ViewReader
from videoadapt.video.samplers.dense import Dense
from videoadapt.video.transforms import TrainTransform

VIDEOS = [Video(f"{name}.mp4", Path(f"{name}.mp4"), label, line=label + 1) for label, name in enumerate("abcd")]
ITEMS = [TrainItem(0, row, video) for row, video in enumerate(VIDEOS)]
BOX = EraseBox(0, 0, 2, 2, seed=5)


def clips(number: int, value: int) -> torch.Tensor:
    return torch.full((number, 3, 2, 4, 4), value, dtype=torch.uint8)


def row(number: int, value: int) -> torch.Tensor:
    """The pixels of so many clips, as they lie in a batch."""
    return clips(number, value).flatten()


def test_a_batch_holds_the_clips_and_names_the_rest() -> None:
    broken, shape = Unreadable(1, VIDEOS[1], "b.mp4: is empty"), clips(2, 0).shape
    pixels_BN = torch.stack([row(2, value) for value in (7, 1, 2, 9)])
    batch = collate_clips(
        [
            Sample(ITEMS[0], InSlot(shape, ClipNotes((BOX, None), FileNotes(3, 25.0)))),
            Sample(ITEMS[1], broken),
            Sample(ITEMS[2], Lost("took longer than 3 s", overtime=True)),
            Sample(ITEMS[3], InSlot(shape, ClipNotes((None, BOX)))),
        ],
        pixels_BN,
    )
    assert batch.clips_BCTHW.equal(torch.cat([clips(2, 7), clips(2, 9)]))
    assert batch.labels_B.tolist() == [0, 0, 3, 3] and batch.video_ids == ("a.mp4", "a.mp4", "d.mp4", "d.mp4")
    assert batch.erase == (BOX, None, None, BOX) and batch.damaged == (("a.mp4", 3),)
    assert batch.rates_hz == (25.0, 25.0)
    lost = "c.mp4: took longer than 3 s; raise data.limit_sec, or encode it anew, or take it out of the list"
    assert batch.unreadable == (broken, Unreadable(2, VIDEOS[2], lost))


def test_a_batch_that_could_be_read_is_no_copy() -> None:
    pixels_BN = torch.stack([row(1, 7), row(1, 9)])
    batch = collate_clips(
        [Sample(item, InSlot(clips(1, 0).shape, ClipNotes((None,)))) for item in ITEMS[:2]], pixels_BN
    )
    assert batch.clips_BCTHW.equal(torch.cat([clips(1, 7), clips(1, 9)]))
    assert batch.clips_BCTHW.data_ptr() == pixels_BN.data_ptr()


def test_clips_are_counted_by_their_pixels() -> None:
    with pytest.raises(ValueError, match="differ in number"):
        collate_clips([Sample(ITEMS[0], InSlot(clips(2, 7).shape, ClipNotes((None,))))], row(2, 7)[None])


def test_a_batch_of_nothing_readable_has_no_clips() -> None:
    batch = collate_clips([Sample(ITEMS[0], Lost("killed"))], row(1, 7)[None])
    assert len(batch.clips_BCTHW) == 0 and batch.unreadable[0].reason == (
        "a.mp4: killed; encode it anew, or take it out of the list"
    )


def test_views_travel_with_their_video_or_the_reason() -> None:
    item, shape = batches.TestItem(3, VIDEOS[3]), clips(2, 1)[:, None].shape
    views = collate_views([Sample(item, InSlot(shape, FileNotes(5, 12.0)))], row(2, 1)[None])
    assert isinstance(views, VideoViews) and (views.index, views.video) == (3, VIDEOS[3])
    assert views.views_NJCTHW.equal(clips(2, 1)[:, None]) and (views.damaged_frames, views.fps_hz) == (5, 12.0)
    broken = Unreadable(3, VIDEOS[3], "d.mp4: is empty")
    assert collate_views([Sample(item, broken)], row(2, 1)[None]) is broken


class Vast:
    """A film of pictures that no machine has memory for."""

    num_frames, height, width, damaged = 8, 2**24, 2**24, None

    def get(self, indices: object) -> np.ndarray:
        return np.empty((8, self.height, self.width, 3), np.uint8)

    def close(self) -> None:
        pass


def test_pictures_too_large_for_memory_cost_their_file() -> None:
    class Source(FrameSource):
        def open(self, video: object) -> Vast:
            return Vast()

    views = ReadViews(ViewReader(Source({"name": "pyav"}), Dense(), num_frames=4, crop_px=32, num_clips=1, num_crops=1))
    clips = ReadClips(
        ClipReader(
            Source({"name": "pyav"}),
            Dense(),
            TrainTransform(crop_px=32, crop="centre", flip=0.0, erasing=0.0),
            num_frames=4,
        ),
        seed=0,
    )
    for found in (views(batches.TestItem(0, VIDEOS[0])), clips(TrainItem(0, 0, VIDEOS[0]))):
        assert isinstance(found, Unreadable)
        assert found.reason.startswith("a.mp4: memory does not suffice for its frames (Unable to allocate 6.00 PiB")
        assert found.reason.endswith("lower data.workers, give the run more memory, or encode it with smaller pictures")


def test_a_row_is_read_or_says_why_not(tmp_path: Path) -> None:
    source, good = FrameSource({"name": "pyav"}), Video("good.mp4", write_video(tmp_path / "good.mp4"), 1, 4)
    transform = TrainTransform(crop_px=32, crop="random", flip=0.5, erasing=1.0)
    read = ReadClips(ClipReader(source, Dense(), transform, num_frames=4), seed=3, repeated=2)
    first, again, later = (read(TrainItem(epoch, 5, good)) for epoch in (0, 0, 1))
    assert isinstance(first, Read) and isinstance(again, Read) and isinstance(later, Read)
    assert first.pixels.shape == (2, 3, 4, 32, 32) and first.pixels.numel() == read.sample_bytes
    assert first.pixels.equal(again.pixels) and first.notes == again.notes and None not in first.notes.erase
    assert not first.pixels.equal(later.pixels)
    assert isinstance(repeat := read(TrainItem(0, 5, good, before=1)), Read) and not first.pixels.equal(repeat.pixels)
    views = ReadViews(ViewReader(source, Dense(), num_frames=4, crop_px=32, num_clips=2, num_crops=3))
    assert isinstance(seen := views(batches.TestItem(5, good)), Read) and seen.pixels.shape == (2, 3, 3, 4, 32, 32)
    assert seen.pixels.numel() == views.sample_bytes
    absent = Video("none.mp4", tmp_path / "none.mp4", 1, 4)
    expected = Unreadable(5, absent, f"{tmp_path}/none.mp4: No such file or directory")
    assert read(TrainItem(0, 5, absent)) == expected == views(batches.TestItem(5, absent))
