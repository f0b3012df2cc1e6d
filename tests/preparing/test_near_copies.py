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
from videoadapt.video.decoders import open_video

imagehash = pytest.importorskip("imagehash")
from videoadapt.preparing.near_copies import _alike, frame_bits, hashes  # noqa: E402 - it needs the package above

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
    assert set(counts) == {(0, 1)} and counts[0, 1] >= 3


def bits_of(*frames: Sequence[int]) -> np.ndarray:
    """Hashes of frames that have as many bits turned as said, each from its end of the same 64."""
    turned = [
        (np.arange(64) < number) if number >= 0 else (np.arange(64) >= 64 + number) for one in frames for number in one
    ]
    return np.stack(turned)


def test_one_frame_that_is_nearly_equal_is_enough() -> None:
    """Where a film was cut in two, the last picture of one and the first of the other follow one another."""
    for bits, alike in ((6, {(0, 1): 1}), (7, {})):
        assert _alike(bits_of([32, 0], [bits, -32]), np.array([0, 0, 1, 1])) == alike
    for bits, alike in ((12, {(0, 1): 3}), (13, {})):
        assert _alike(bits_of([0, 0, 0], [bits, bits, bits]), np.repeat([0, 1], 3)) == alike
    assert _alike(bits_of([0, 0, 32], [12, 12, -32]), np.repeat([0, 1], 3)) == {}


def test_halves_of_real_clips_are_found_and_strangers_are_not(clips_dir: Path) -> None:
    halves = []
    for path in sorted(path for path in clips_dir.iterdir() if path.suffix in (".mp4", ".avi", ".mkv")):
        with open_video(path, PYAV) as film:
            middle, end = min(film.num_frames, 300) // 2, min(film.num_frames, 300)
            parts = [
                film.get(np.linspace(*ends, 16).round().astype(int)) for ends in ((0, middle - 1), (middle, end - 1))
            ]
        halves += [hashes(part_THWC) for part_THWC in parts]
    found = _alike(np.concatenate(halves), np.repeat(np.arange(len(halves)), [len(part) for part in halves]))
    right = {(one, one + 1) for one in range(0, len(halves), 2)}
    assert set(found) <= right and len(right) == 13 and len(found) >= 12  # one is cut where its scene changes


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
    assert "      1  unreadable: " in shown and "broken.mp4" in shown and "1 finding" in shown
