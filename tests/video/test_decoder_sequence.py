"""An opened video is a sequence of frames: length, indices, slices, a loop, and a line that says what it is."""

from pathlib import Path

import numpy as np
import pytest

from tests.media import write_video
from videoadapt.errors import DecodeError
from videoadapt.video.decoders import Decoder, open_video
from videoadapt.video.decoders._base import ITERATED_FRAMES

MANY, FEW = ITERATED_FRAMES + 8, 10  # frames: more than a loop decodes at a time, and less


@pytest.fixture(params=[("decord", MANY, ".mp4"), ("pyav", MANY, ".mp4"), ("pyav", FEW, ".ts")], ids=str)
def video(request: pytest.FixtureRequest, tmp_path: Path) -> Decoder:
    decoder, num_frames, suffix = request.param
    path = write_video(tmp_path / f"clip{suffix}", num_frames=num_frames, bframes=2)
    return open_video(path, {"name": decoder})


def test_a_video_is_a_sequence_of_its_frames(video: Decoder) -> None:
    num_frames = video.num_frames
    all_NHWC = video.get(range(num_frames))
    assert len(video) == num_frames
    for index in (0, 3, np.int64(num_frames - 1), -1, -num_frames):
        assert np.array_equal(video[index], all_NHWC[index])
    for part in (slice(None), slice(2, 9, 3), slice(-3, None), slice(None, None, -4), slice(5, 5)):
        assert np.array_equal(video[part], all_NHWC[part])
    assert np.array_equal(np.stack(list(video)), all_NHWC)


def test_a_frame_that_is_not_there(video: Decoder) -> None:
    for index in (len(video), -len(video) - 1):
        with pytest.raises(IndexError, match=rf"{video.path}: no frame {index}; allowed: 0 to {len(video) - 1}"):
            video[index]
    with pytest.raises(TypeError):
        video["first"]  # type: ignore[index]


def test_after_its_block_a_video_is_closed(video: Decoder) -> None:
    with video:
        assert video[0].shape == (48, 64, 3)
    for ask in (len, lambda closed: closed[0], lambda closed: closed[:2], lambda closed: closed.get([0]), list):
        with pytest.raises(ValueError, match=f"^{video.path}: is closed; read frames inside the `with` block"):
            ask(video)
    assert str(video.path) in repr(video)


def test_what_an_opened_video_says_of_itself(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.mp4", num_frames=FEW)
    with open_video(str(path), {"name": "pyav"}) as video:
        assert repr(video) == f"<PyAV {str(path)!r}: {FEW} frames, 64 x 48 px, 25 fps>"
    with open_video(write_video(tmp_path / "clip.ts", num_frames=FEW), {"name": "pyav"}) as video:
        assert "not counted yet" in repr(video)


def test_a_path_may_be_text(tmp_path: Path) -> None:
    with pytest.raises(DecodeError, match=r"none\.mp4: No such file"):
        open_video(str(tmp_path / "none.mp4"), {"name": "pyav"})
