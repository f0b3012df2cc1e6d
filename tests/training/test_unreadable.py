"""Training videos that cannot be read: named once each, counted, and too many of them an error."""

from pathlib import Path

import pytest
import torch

from videoadapt import distributed
from videoadapt.data.structures import ClipBatch, Unreadable, Video
from videoadapt.errors import DecodeError
from videoadapt.training.unreadable import UnreadableVideos


def without(*rows: int) -> ClipBatch:
    """An empty batch that these rows of a list are missing from."""
    lost = tuple(Unreadable(n, Video(f"{n}.mp4", Path(f"/v/{n}.mp4"), 0, n + 1), f"no video {n}") for n in rows)
    return ClipBatch(torch.empty(0, 3, 2, 8, 8), torch.empty(0), (), (), lost)


def test_each_is_named_once_and_all_are_counted(log_lines: list[str]) -> None:
    unreadable = UnreadableVideos(num_videos=200, max_share=0.01)
    unreadable.log_total()
    for batches in ([without(3), without()], [without(3, 7)], [without()]):
        unreadable.note(batches)
    unreadable.log_total()
    assert log_lines == [
        "WARNING training skips 3.mp4 of data.train, line 4: no video 3",
        "WARNING training skips 7.mp4 of data.train, line 8: no video 7",
        "WARNING skipped 2 of 200 training videos that could not be read (1 %; reasons above)",
    ]
    assert unreadable.reasons == {"3.mp4": "line 4: no video 3", "7.mp4": "line 8: no video 7"}


def test_more_than_the_share_is_an_error_that_names_ten(log_lines: list[str]) -> None:
    unreadable = UnreadableVideos(num_videos=100, max_share=0.11)
    unreadable.note([without(*range(11))])
    with pytest.raises(DecodeError) as error:
        unreadable.note([without(50)])
    words = str(error.value)
    assert words.startswith(
        "12 of 100 training videos cannot be read, more than data.max_unreadable = 0.11: 0.mp4, 1.mp4"
    )
    assert "9.mp4 and 2 more, all named in run.log; fix them" in words and "10.mp4" not in words
    assert len(log_lines) == 12


def test_those_of_other_ranks_count(log_lines: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed, "all_reduce", lambda value, op="sum": value + 1)
    monkeypatch.setattr(distributed, "all_gather_objects", lambda mine: [mine, {"9.mp4": "line 10: gone"}])
    unreadable = UnreadableVideos(num_videos=2, max_share=0.5)
    unreadable.note([without()])
    assert log_lines == ["WARNING training skips 9.mp4 of data.train, line 10: gone"]
    with pytest.raises(DecodeError, match=r"^2 of 2 training videos cannot be read, .* = 0.5: 9.mp4, 1.mp4; fix"):
        unreadable.note([without(1)])
