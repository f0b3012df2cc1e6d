"""What of `nvdec` needs no GPU: with FFmpeg's own decoder in the place of NVDEC, decoders kept from file to file are right."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from av.video.frame import VideoFrame

from tests.frames import read_in_order
from tests.media import overwritten, write_film, write_video
from tests.toy_runs import toy_config, write_config
from videoadapt.cli import train
from videoadapt.errors import ConfigError, DecodeError
from videoadapt.registry import DECODERS
from videoadapt.video.decoders import _device, open_video
from videoadapt.video.decoders._pictures import Pictures


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[None]]:
    """Decoders without a GPU: one entry for each that was made."""
    made: list[None] = []

    @contextmanager
    def no_gpu() -> Iterator[None]:
        made.append(None)
        yield

    monkeypatch.setattr(_device, "on_gpu", no_gpu)
    _device._waiting.clear()
    yield made
    _device._waiting.clear()


def opened(path: Path):
    video = open_video(path, "nvdec")
    assert isinstance(video, DECODERS.get("nvdec"))
    return video


def test_a_decoder_is_kept_for_the_next_file_of_its_kind(made: list[None], tmp_path: Path) -> None:
    films = [
        write_video(tmp_path / "a.mp4", bframes=3),
        write_video(tmp_path / "b.mp4", bframes=3, num_frames=50),
        write_film(tmp_path, "hevc_closed.mp4"),
        write_film(tmp_path, "h264_bt709.mp4"),
    ]
    for path in films * 2:
        reference = read_in_order(path)
        with opened(path) as video:
            for indices in ([40, 3], range(10, 30), [47, 0]):
                assert np.array_equal(video.get(indices), reference[list(indices)])
    assert len(made) == 3  # the first two have the same parameters


def test_two_files_of_a_kind_at_once(made: list[None], tmp_path: Path) -> None:
    paths = [write_video(tmp_path / "a.mp4", bframes=2), write_video(tmp_path / "b.mp4", bframes=2, num_frames=40)]
    first, second = (read_in_order(path) for path in paths)
    with opened(paths[0]) as one, opened(paths[1]) as other:
        for index in range(5, 20):
            assert np.array_equal(one.get([index, index + 1]), first[index : index + 2])
            assert np.array_equal(other.get([index, index + 1]), second[index : index + 2])
    assert len(made) == 2 and len(_device._waiting) == 1


def test_a_decoder_at_which_a_file_failed_is_not_kept(made: list[None], tmp_path: Path) -> None:
    path = overwritten(tmp_path / "a.mp4")
    with opened(path) as video, pytest.raises(DecodeError, match=r"a\.mp4"):
        video.get(range(48))
    assert not _device._waiting


def test_no_more_decoders_are_kept_than_the_gpu_has_room_for(
    made: list[None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_device, "MOST_KEPT", 2)
    for width in (64, 80, 96, 64):
        with opened(write_video(tmp_path / f"{width}.mp4", width=width)) as video:
            video.get([0])
    assert len(made) == 4 and len(_device._waiting) == 2


@pytest.mark.parametrize(
    "name", ["h264_bt709.mp4", "h264_full_range.mp4", "interlaced.mp4", "ycgco.mp4", "bt2020_constant.mkv"]
)
def test_pictures_of_a_gpu_are_those_of_planes(tmp_path: Path, name: str) -> None:
    with av.open(str(write_film(tmp_path, name))) as container:
        frame = next(iter(container.decode(video=0)))
    expected = Pictures().rgb(frame).copy()
    assert np.array_equal(Pictures().rgb(as_nv12(frame)), expected)


def as_nv12(frame: VideoFrame) -> VideoFrame:
    """The frame as NVDEC gives it: one plane of brightness, one of both colours in turn."""
    planes = [np.frombuffer(p, np.uint8).reshape(-1, p.line_size)[: p.height, : p.width] for p in frame.planes]
    same = VideoFrame(frame.width, frame.height, "nv12")
    colours = np.stack(planes[1:], axis=-1).reshape(planes[1].shape[0], -1)
    for plane, content in zip(same.planes, (planes[0], colours), strict=True):
        rows = np.zeros((plane.buffer_size // plane.line_size, plane.line_size), np.uint8)
        rows[: content.shape[0], : content.shape[1]] = content
        plane.update(rows.tobytes())
    same.colorspace, same.color_range = frame.colorspace, frame.color_range
    return same


@pytest.mark.skipif(torch.cuda.is_available(), reason="has a GPU")
def test_without_a_gpu_one_line_says_so(tmp_path: Path, clips: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigError, match="no NVIDIA GPU is visible here; choose another"):
        open_video(write_video(tmp_path / "a.mp4"), "nvdec")
    config = write_config(tmp_path / "c.yaml", toy_config(tmp_path / "out", clips, data={"decoder": {"name": "nvdec"}}))
    assert train.main(["--cfg", str(config), "data.workers=0"]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "GPU" in line]
    assert "no NVIDIA GPU is visible here" in line
