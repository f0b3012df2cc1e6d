"""Films that look alike: cut from one film, in another size and quality; strangers and black films do not."""

from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from videoadapt.cli import prepare
from videoadapt.errors import DecodeError

imagehash = pytest.importorskip("imagehash")
from videoadapt.preparing.near_copies import _alike, frame_bits  # noqa: E402 - it needs the package above

PYAV = {"name": "pyav"}


def write_scene(
    path: Path, seed: int, frames: Sequence[int], height: int = 96, width: int = 128, crf: int = 18
) -> Path:
    """Frames of a scene of blurred spots that change slowly; each seed is another scene."""
    ends_213HW = torch.rand((2, 1, 3, 6, 8), generator=torch.Generator().manual_seed(seed))
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": str(crf)})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for index in frames:
            mixed_1CHW = torch.lerp(ends_213HW[0], ends_213HW[1], index / 100)
            shown_CHW = F.interpolate(mixed_1CHW, (height, width), mode="bicubic")[0].clamp(0, 1) * 255
            picture = shown_CHW.byte().movedim(0, 2).contiguous().numpy()
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


def test_another_size_is_alike_and_strangers_are_not(tmp_path: Path) -> None:
    films = [
        write_scene(tmp_path / "film.mp4", 0, range(24)),
        write_scene(tmp_path / "small.mp4", 0, range(12, 36), 48, 64, crf=32),
        *(write_scene(tmp_path / f"{seed}.mp4", seed, range(24)) for seed in (1, 2, 3)),
    ]
    found = [frame_bits(path, PYAV) for path in films]
    bits = [bits_FD for bits_FD in found if isinstance(bits_FD, np.ndarray)]
    assert len(bits) == 5 and {bits_FD.shape for bits_FD in bits} == {(16, 64)}
    counts = _alike(np.concatenate(bits), np.repeat(np.arange(5), 16))
    assert {pair for pair, frames in counts.items() if frames >= 3} == {(0, 1)}


def test_frames_without_contrast_are_like_nothing(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "black.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _ in range(8):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format="rgb24")))
        container.mux(stream.encode())
    bits_FD = frame_bits(tmp_path / "black.mp4", PYAV)
    assert isinstance(bits_FD, np.ndarray) and bits_FD.shape == (0, 64)


def test_a_file_that_cannot_be_read_is_an_answer(tmp_path: Path) -> None:
    (tmp_path / "x.mp4").write_bytes(b"nothing")
    assert isinstance(frame_bits(tmp_path / "x.mp4", PYAV), DecodeError)


@pytest.mark.slow
def test_the_command_reports_them_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_scene(tmp_path / "film.mp4", 0, range(24))
    write_scene(tmp_path / "small.mp4", 0, range(12, 36), 48, 64, crf=32)
    write_scene(tmp_path / "other.mp4", 1, range(24))
    (tmp_path / "broken.mp4").write_bytes(b"nothing")
    (tmp_path / "l.csv").write_text("film.mp4 0\nother.mp4 0\nsmall.mp4 0\nbroken.mp4 0\n")
    command = ["check", str(tmp_path / "l.csv"), "--root", str(tmp_path), "--out", str(tmp_path / "out"), "--jobs", "1"]
    assert prepare.main(command) == 0
    shown = capsys.readouterr().out
    assert "      1  alike: " in shown and f"small.mp4 ({tmp_path}/l.csv, line 3, label 0) and film.mp4" in shown
    assert "      1  unreadable: " in shown and "broken.mp4" in shown and "1 findings" in shown
