"""Pictures that a decoder could not decode whole are read, and counted wherever they end up: results, logs, predictions."""

from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.frames import PYAV, require_decoder, source
from tests.media import damaged, write_video
from videoadapt.config.schema import Config, DataConfig
from videoadapt.data.batches import TrainItem
from videoadapt.data.datasets.video_list import VideoList
from videoadapt.data.loader import Loader
from videoadapt.data.reading import ReadClips, collate_clips
from videoadapt.evaluation.views import ViewAccumulator, evaluate
from videoadapt.inference.videos import AskedReader, as_video
from videoadapt.runs.build_data import build_clip_reader, build_test_loader
from videoadapt.runs.rates import OtherRates, Rates
from videoadapt.training.unreadable import DamagedVideos
from videoadapt.video.cache import folder as cache_place
from videoadapt.video.decoders import open_video
from videoadapt.video.decoders._opening import open_stream


def marked(path: Path) -> set[int]:
    """Frames that FFmpeg marks when all are decoded in order."""
    with open_stream(path, 1) as (container, stream):
        return {index for index, frame in enumerate(container.decode(stream)) if frame.is_corrupt}


@pytest.mark.parametrize("file", ["a.mp4", "a.avi"])
@pytest.mark.parametrize("codec", ["libx264", "mpeg4", "mpeg2video"])
def test_pyav_counts_what_it_gives(tmp_path: Path, codec: str, file: str) -> None:
    path = damaged(tmp_path / file, codec)
    expected = marked(path)
    assert expected
    with open_video(path, PYAV) as video:
        assert video.damaged == set()  # nothing is given yet
        video.get(range(len(video)))
        assert video.damaged == expected
    with open_video(path, PYAV) as video:
        video.get([min(expected)])
        assert video.damaged == {min(expected)}


@pytest.mark.parametrize("name", ["decord", "nvdec", "torchcodec"])
def test_decoders_that_cannot_tell_say_so(tmp_path: Path, name: str) -> None:
    require_decoder(name)
    with open_video(write_video(tmp_path / "a.mp4"), name) as video:
        video.get([0])
        assert video.damaged is None
    with open_video(damaged(tmp_path / "a.avi", "mpeg4"), name) as video:  # handed over to PyAV
        video.get(range(len(video)))
        assert video.damaged


def test_the_cache_keeps_the_count(tmp_path: Path) -> None:
    path = damaged(tmp_path / "a.mp4")
    expected = marked(path)
    made = source(tmp_path / "frames", short_side_px=48)
    try:
        for _ in range(2):
            with closing(made.open(path)) as film:
                assert type(film).__name__ == "KeptFrames" and film.damaged == set()
                film.get([min(expected)])
                assert film.damaged == {min(expected)}
                film.get(np.arange(film.num_frames))
                assert film.damaged == expected
    finally:
        cache_place.leave_all()


def test_a_prediction_says_what_it_saw(tmp_path: Path, log_lines: list[str]) -> None:
    data = {"num_frames": 48, "crop_px": 32, "decoder": PYAV, "sampling": {"name": "segment"}}
    config = Config.model_validate({"output": tmp_path, "data": data, "test": {"clips": 1, "crops": 1}})
    read = AskedReader(config, OtherRates(config.data, Rates()))
    read(as_video(write_video(tmp_path / "b.mp4")))
    assert not log_lines
    path = damaged(tmp_path / "a.mp4")
    read(as_video(path))
    (line,) = log_lines
    assert f"{path}: {len(marked(path))} of the frames that were read have damage, which the decoder conceals" in line


def test_results_and_logs_name_what_is_damaged(tmp_path: Path, log_lines: list[str]) -> None:
    files = [damaged(tmp_path / "a.mp4"), write_video(tmp_path / "b.mp4"), damaged(tmp_path / "c.avi", "mpeg4")]
    (tmp_path / "list.csv").write_text("a.mp4 0\nb.mp4 1\nc.avi 0\n")
    videos = VideoList().load(str(tmp_path / "list.csv"), tmp_path)
    config = DataConfig.model_validate({"num_frames": 48, "crop_px": 32, "workers": 0, "sampling": {"name": "segment"}})
    totals = {}
    for decoder in ("pyav", "decord"):
        require_decoder(decoder)
        data = config.model_copy(update={"decoder": {"name": decoder}})
        accumulator = ViewAccumulator(videos, 1, 1, 2)
        evaluate(lambda clips: torch.zeros(len(clips), 2), build_test_loader(videos, data, 1, 1), accumulator, 4)
        totals[decoder] = accumulator.predictions("logits").results()
    found = {file.name: len(marked(file)) for file in files}
    assert found["b.mp4"] == 0 and found["a.mp4"] and found["c.avi"]
    assert totals["pyav"]["num_damaged_videos"] == 2 and totals["pyav"]["num_damage_unknown"] == 0
    assert totals["pyav"]["num_damaged_frames"] == found["a.mp4"] + found["c.avi"]
    assert totals["pyav"]["damaged"][1] == {"video": "c.avi", "line": 3, "frames": found["c.avi"]}
    assert totals["decord"]["num_damaged_videos"] == 1 and totals["decord"]["num_damage_unknown"] == 2
    read, total = ReadClips(build_clip_reader(config.model_copy(update={"decoder": PYAV})), seed=0), DamagedVideos()
    for epoch in range(2):
        batch = [TrainItem(epoch, row, video) for row, video in enumerate(videos)]
        (made,) = Loader(read, [batch], collate_clips, workers=0, sample_bytes=read.sample_bytes, limit_sec=60)
        assert not made.unreadable
        total.note([made])
    assert total.frames == {name: frames for name, frames in found.items() if frames}
    total.log_total()
    assert "2 training videos have damage that the decoder conceals" in log_lines[-1] and "first a.mp4" in log_lines[-1]
