"""Clips whose JPEG files the device decodes are those that the processor makes, but for the rounding of a grey level."""

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.media import write_video
from tests.toy_runs import assert_same_run, records, run, toy_config, write_config
from videoadapt.cli import train
from videoadapt.config.schema import DataConfig
from videoadapt.data.batches import Schedule, TrainItem
from videoadapt.data.reading import ReadClips
from videoadapt.data.structures import ClipBatch, Video
from videoadapt.processes.slots import Read
from videoadapt.runs.build_data import build_clip_reader, build_train_loader
from videoadapt.runs.checkpoint import list_checkpoints
from videoadapt.video import jpeg_clips, jpeg_strip
from videoadapt.video.cache import folder as cache_place
from videoadapt.video.frames import ThroughJpeg
from videoadapt.video.jpeg_clips import JpegDecoder
from videoadapt.video.part import FramePart

# Grey levels by which one pixel may differ: resizing rounds otherwise, and a GPU's JPEG decoder as well.
DEVICES = {"cpu": 1, "cuda": 4}
BASE = {"num_frames": 4, "crop_px": 64, "jpeg_quality": 90, "decoder": {"name": "pyav"}}


@pytest.fixture(params=DEVICES)
def device(request: pytest.FixtureRequest) -> torch.device:
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("needs a GPU")
    return torch.device(request.param)


@pytest.fixture
def place(tmp_path: Path) -> Any:
    """A folder for frames, left as at the end of a process."""
    yield str(tmp_path / "frames")
    cache_place.leave_all()


def assert_near(made: torch.Tensor, truth: torch.Tensor, device: torch.device) -> None:
    assert made.shape == truth.shape and made.dtype == torch.uint8 and made.device.type == device.type
    away = (made.cpu().int() - truth.int()).abs()
    assert away.max() <= DEVICES[device.type] and away.float().mean() < 0.5


def batches(videos: list[Video], device: torch.device, workers: int = 0, **data: Any) -> list[ClipBatch]:
    """All batches of two epochs."""
    config = DataConfig.model_validate({**BASE, "workers": workers, **data})
    schedule = Schedule(len(videos), 2, epochs=2, accumulate=1, seed=5)
    return list(build_train_loader(videos, config, schedule, 0, device))


@pytest.mark.parametrize("crop", ["multi_scale", "random_resized", "random_clipped", "random", "centre"])
def test_pixels_and_draws_are_the_processors(
    crop: str, device: torch.device, place: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sizes = [(48, 64), (96, 72), (68, 82), (64, 64)]
    videos = [
        Video(f"{i}.mp4", write_video(tmp_path / f"{i}.mp4", height=height, width=width), i)
        for i, (height, width) in enumerate(sizes)
    ]
    augment = {"crop": crop, "flip": 0.5, "erasing": 0.5, "repeated": 2}
    for cache in ("off", place, place):  # compressed for the call, put in, and read
        data = {"augment": augment, "cache": cache}
        truth = batches(videos, torch.device("cpu"), **data)
        for made, expected in zip(batches(videos, device, jpeg_decoding="device", **data), truth, strict=True):
            assert_near(made.clips_BCTHW, expected.clips_BCTHW, device)
            assert made.erase == expected.erase and made.video_ids == expected.video_ids
            assert made.labels_B.equal(expected.labels_B) and made.rates_hz == expected.rates_hz
    erase = [box for batch in truth for box in batch.erase]
    assert None in erase and any(erase)
    assert "take more room" not in caplog.text  # so that all of this was decoded on the device


def test_one_set_of_frames_travels_once(device: torch.device, place: str, tmp_path: Path) -> None:
    video = Video("a.mp4", write_video(tmp_path / "a.mp4", height=48, width=80), 0, part=FramePart(8, 40))
    augment = {"crop": "random_resized", "repeated": 3, "repeated_frames": "same"}
    config = DataConfig.model_validate({**BASE, "augment": augment, "cache": place})
    reader = build_clip_reader(config)
    truth, packed = (ReadClips(reader, 0, 3, in_jpeg=way)(TrainItem(0, 0, video)) for way in (False, True))
    assert isinstance(truth, Read) and isinstance(packed, Read)
    jpeg = packed.notes.jpeg
    assert jpeg is not None and jpeg.frames == 4 and len(jpeg.lengths) == 1 and len(jpeg.clips) == 3
    assert sum(jpeg.lengths) == packed.pixels.numel() < truth.pixels.numel()
    assert_near(reader.decoder(device)([(packed.pixels, jpeg)]), truth.pixels, device)


def test_files_larger_than_their_clip_are_decoded_here(
    device: torch.device, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """One video of a batch is too large; what there is of it are the processor's own pixels."""
    small, large = (
        Video(name, write_video(tmp_path / name, height=side, width=side), i)
        for i, (name, side) in enumerate((("small.mp4", 16), ("large.mp4", 320)))
    )
    data: dict[str, Any] = {"crop_px": 16, "jpeg_quality": 60, "augment": {"crop": "random_resized", "flip": 0.5}}
    truth = batches([small, large], torch.device("cpu"), **data)
    made = batches([small, large], device, jpeg_decoding="device", **data)
    for batch, expected in zip(made, truth, strict=True):
        assert_near(batch.clips_BCTHW, expected.clips_BCTHW, device)
        at = batch.video_ids.index("large.mp4")
        assert batch.clips_BCTHW[at].cpu().equal(expected.clips_BCTHW[at])
    assert caplog.text.count("take more room than their clip") == 1


def test_processes_strips_and_the_size_of_parts_change_nothing(
    device: torch.device, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    videos = [Video(f"{i}.mp4", write_video(tmp_path / f"{i}.mp4", height=48, width=64), i) for i in range(6)]
    data = {"cache": place, "jpeg_decoding": "device"}
    here = batches(videos, device, **data)
    monkeypatch.setattr(jpeg_clips, "_DECODED_BYTES", 1)
    monkeypatch.setattr(jpeg_clips, "_CUT_BYTES", 1)
    found_in_parts = batches(videos, device, **data)
    monkeypatch.setattr(jpeg_strip, "_TALLEST_PX", 2 * 48)
    for found in (found_in_parts, batches(videos, device, **data), batches(videos, device, workers=2, **data)):
        for batch, expected in zip(found, here, strict=True):
            assert batch.clips_BCTHW.equal(expected.clips_BCTHW) and batch.video_ids == expected.video_ids


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("late", ["decoder", "training"])
@pytest.mark.parametrize("workers", [0, 2])
def test_streams_of_a_gpu_hand_clips_over(
    late: str, workers: int, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One is held up, the decoder's or that of the training, which is none that a thread begins with."""
    videos = [Video(f"{i}.mp4", write_video(tmp_path / f"{i}.mp4", height=48, width=64), i) for i in range(12)]
    device, data = torch.device("cuda"), {"cache": place, "jpeg_decoding": "device"}
    truth = [batch.clips_BCTHW.cpu() for batch in batches(videos, device, **data)]
    cut_out = JpegDecoder._cut_out

    def cut_out_late(decoder: JpegDecoder, *given: torch.Tensor) -> torch.Tensor:
        if late == "decoder":
            torch.cuda._sleep(10**8)  # cycles of the GPU, some 50 ms
        return cut_out(decoder, *given)

    monkeypatch.setattr(JpegDecoder, "_cut_out", cut_out_late)
    config = DataConfig.model_validate({**BASE, "workers": workers, **data})
    seen = []
    with torch.cuda.stream(torch.cuda.Stream()):
        for batch in build_train_loader(videos, config, Schedule(12, 2, epochs=2, accumulate=1, seed=5), 0, device):
            if late == "training":
                torch.cuda._sleep(10**8)
            seen.append(batch.clips_BCTHW.clone())
            del batch  # whose memory is the decoder's again when the copy is made, and not before
        torch.cuda.synchronize()
    assert len(seen) == 12 and all(made.cpu().equal(expected) for made, expected in zip(seen, truth, strict=True))


def test_a_video_that_cannot_be_read_is_left_out(device: torch.device, tmp_path: Path) -> None:
    good = Video("a.mp4", write_video(tmp_path / "a.mp4", height=48, width=64), 3)
    bad = Video("none.mp4", tmp_path / "none.mp4", 1)
    for batch in batches([good, bad], device, jpeg_decoding="device"):
        assert batch.video_ids == ("a.mp4",) and len(batch.clips_BCTHW) == 1 and len(batch.unreadable) == 1
    for batch in batches([bad, bad], device, jpeg_decoding="device"):
        assert len(batch.clips_BCTHW) == 0 and len(batch.unreadable) == 2


def test_a_damaged_entry_gives_way_to_the_video(place: str, tmp_path: Path) -> None:
    video = Video("a.mp4", write_video(tmp_path / "a.mp4", height=48, width=64), 0)
    config = DataConfig.model_validate({**BASE, "cache": place})
    source = build_clip_reader(config)._source
    files = source.open_jpeg(video.path).get_jpeg([0, 5, 40])
    (entry,) = Path(place).glob("*/*.jpegs")
    content = entry.read_bytes()
    at = content.index(files[1])
    entry.write_bytes(content[: at + 500] + bytes([content[at + 500] ^ 1]) + content[at + 501 :])
    assert source.open_jpeg(video.path).get_jpeg([0, 5, 40]) == files
    with pytest.raises(TypeError, match="jpeg_quality is None"):
        build_clip_reader(config.model_copy(update={"jpeg_quality": None}))._source.open_jpeg(video.path)
    uncached = build_clip_reader(config.model_copy(update={"cache": "off"}))._source.open_jpeg(video.path)
    assert isinstance(uncached, ThroughJpeg) and uncached.get_jpeg([0, 5, 40]) == files


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ([], "data.jpeg_decoding = device: is for frames in JPEG; set data.jpeg_quality, such as 95"),
        (
            ["data.jpeg_quality=95", "data.augment.rand_augment=rand-m7-n4-mstd0.5-inc1"],
            "does not go with data.augment.rand_augment = rand-m7-n4-mstd0.5-inc1, which the processor does; set it to null",
        ),
        (
            ["data.jpeg_quality=95", "data.augment.noise=8"],
            "does not go with data.augment.noise = 8.0, which the processor does; set it to 0",
        ),
        (
            ["data.jpeg_quality=95", "data.resize=letterbox", "data.augment.crop=random", "test.crops=1"],
            "does not go with data.resize = letterbox, which the processor does; set it to crop",
        ),
    ],
)
def test_what_it_cannot_do_is_said_first(
    overrides: list[str], said: str, clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = write_config(tmp_path / "c.yaml", toy_config(tmp_path / "out", clips))
    assert train.main(["--cfg", str(config), "data.jpeg_decoding=device", *overrides]) == 2
    assert said in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_a_torchvision_that_decodes_none_is_said_first(
    clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(*_: object, **__: object) -> None:
        raise RuntimeError("decode_jpeg: torchvision not compiled with libjpeg support\nand a trace")

    assert jpeg_clips.why_not_decoded(torch.device("cpu")) == ""
    monkeypatch.setattr("torchvision.io.decode_jpeg", refuses)
    config = write_config(tmp_path / "c.yaml", toy_config(tmp_path / "out", clips))
    assert train.main(["--cfg", str(config), "data.jpeg_decoding=device", "data.jpeg_quality=95"]) == 2
    said = capsys.readouterr().err
    assert "no JPEG on cpu (decode_jpeg: torchvision not compiled with libjpeg support); install" in said


@pytest.mark.slow
def test_a_run_is_like_the_processors_and_resumes_to_the_bit(clips: Path, tmp_path: Path) -> None:
    def trained(name: str, *overrides: str) -> None:
        config = write_config(tmp_path / f"{name}.yaml", toy_config(tmp_path / name, clips))
        run(config, "data.jpeg_quality=90", f"data.cache={tmp_path / 'frames'}", *overrides)

    trained("here", "data.jpeg_decoding=device")
    trained("whole", "data.jpeg_decoding=device", "data.workers=2")
    assert_same_run(tmp_path / "here", tmp_path / "whole")
    list_checkpoints(tmp_path / "whole")[0].unlink()
    trained("whole", "data.jpeg_decoding=device", "data.workers=2")
    assert_same_run(tmp_path / "here", tmp_path / "whole")
    trained("processor")
    losses = [[record["loss"] for record in records(tmp_path / name)] for name in ("here", "processor")]
    assert losses[0] == pytest.approx(losses[1], rel=0.02) and losses[0] != losses[1]
