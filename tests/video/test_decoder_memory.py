"""What a process remembers of files is bounded, and holds for the file it was found out about only."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.frames import require_decoder
from tests.media import write_video
from videoadapt.errors import DecodeError
from videoadapt.preparing.encoding import Encoded, Settings, write_h264
from videoadapt.video.decoders import _probe, open_video
from videoadapt.video.decoders._lru import Memory


def test_the_least_recently_used_is_forgotten() -> None:
    memory: Memory[str] = Memory(10)
    for name in "abc":
        memory.put(name, name.upper(), 3)
    assert memory.get("a") == "A"
    memory.put("d", "D", 4)
    assert [memory.get(name) for name in "abcd"] == ["A", None, "C", "D"]
    memory.put("d", "E", 1)
    memory.put("e", "F", 3)
    assert [memory.get(name) for name in "acde"] == ["A", "C", "E", "F"]
    memory.put("f", "G", 11)  # more than there is room for
    assert [memory.get(name) for name in "acdef"] == [None] * 5


@pytest.mark.parametrize("decoder", ["decord", "pyav", "torchcodec"])
@pytest.mark.parametrize("name", ["a.mp4", "a.avi"])
def test_another_file_of_that_name_is_looked_into_anew(
    name: str, decoder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    require_decoder(decoder)
    options: dict[str, Any] = {"codec": "mpeg4"} if name == "a.avi" else {"bframes": 2}

    def frames() -> np.ndarray:
        with open_video(tmp_path / name, {"name": decoder}) as opened:
            return opened.get(range(opened.num_frames))

    first = write_video(tmp_path / name, num_frames=30, **options)
    new = [frames(), frames()]
    stamp = first.stat().st_mtime_ns
    new_file = write_video(tmp_path / f"other_{name}", num_frames=20, **options)
    os.utime(new_file, ns=(stamp, stamp))
    os.replace(new_file, tmp_path / name)
    other = [frames(), frames()]
    _probe.forget()
    assert np.array_equal(*new) and len(new[0]) == 30
    assert np.array_equal(*other) and len(other[0]) == 20 and np.array_equal(other[0], frames())


@pytest.mark.parametrize("budget", [0, 2**26])
def test_seeking_that_lands_at_an_earlier_key_frame_reads_on(
    budget: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At 26 frames a second in ticks of 1/90000, mp4's times of decoding are rounded, and FFmpeg seeks by those."""
    write_video(tmp_path / "a.mp4", num_frames=8)
    source = write_video(tmp_path / "26.mp4", num_frames=60, fps_hz=26)
    assert isinstance(write_h264((source, tmp_path / "new.mp4"), Settings()), Encoded)
    monkeypatch.setattr(_probe, "PACKET_BUDGET_BYTES", budget)
    with _probe.open_demuxed(tmp_path / "new.mp4", 1) as video:
        landed = []
        for key in video.info.keys:
            video.container.seek(video.info.pts[key], stream=video.stream)
            landed.append(next(packet.pts for packet in video.container.demux(video.stream) if packet.size))
    assert landed != [video.info.pts[key] for key in video.info.keys], (
        "the file is none of those that the test is about"
    )
    with open_video(tmp_path / "new.mp4", {"name": "pyav"}) as first:
        truth = first.get(range(60))
    for index in (*range(0, 60, 7), 59, 12, 36, 24):
        with open_video(tmp_path / "new.mp4", {"name": "pyav"}) as again:
            assert np.array_equal(again.get([index])[0], truth[index])


def test_a_file_that_changes_unseen_is_an_error(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.avi", codec="mpeg4", bframes=2, num_frames=30)
    with open_video(path, {"name": "pyav"}) as opened:
        assert opened.num_frames == 30
    stat = path.stat()
    shorter = write_video(tmp_path / "b.avi", codec="mpeg4", bframes=2, num_frames=20).read_bytes()
    with path.open("r+b") as file:  # the same place, size and time
        file.write(shorter)
        file.truncate(stat.st_size)
    os.utime(path, ns=(stat.st_mtime_ns, stat.st_mtime_ns))
    with pytest.raises(DecodeError, match="changes while it is being read"):
        open_video(path, {"name": "pyav"})
