"""Windows over one film: their frames are to the bit those of the same part read alone, from one decode in order."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.frames import require_decoder
from tests.media import STEPS, write_video
from videoadapt.config.schema import Config
from videoadapt.errors import DecodeError
from videoadapt.runs.build_data import build_view_reader
from videoadapt.video import windows
from videoadapt.video.part import Part, film_or_part
from videoadapt.video.readers import ViewReader
from videoadapt.video.windows import KnownTimes, spread_windows, views_of_parts


def reader_of(crops: int = 2, clips: int = 1, **data: object) -> ViewReader:
    chosen = {"num_frames": 4, "sampling": {"name": "dense", "stride_frames": 2}, "crop_px": 32, **data}
    config = Config.model_validate({"output": "unused", "data": chosen})
    return build_view_reader(config.data, clips, crops)


class Noting(KnownTimes):
    """Notes which frames are asked for."""

    def __init__(self, film):
        super().__init__(film)
        self.asked: list[int] = []

    def get(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        self.asked += [int(index) for index in indices]
        return super().get(indices)


KINDS = {
    "a.mp4": {"bframes": 2, "num_frames": 90},
    "vfr.mp4": {"bframes": 2, "num_frames": 90, "steps": STEPS},
    "in_order.avi": {"codec": "mpeg4", "bframes": 2, "num_frames": 90},
    "in_order.ts": {"bframes": 2, "num_frames": 90},
}


@pytest.mark.parametrize("decoder", ["decord", "pyav"])
@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize(
    "data",
    [
        {},
        {"sampling": {"name": "dense", "stride_frames": 3, "fps_hz": 10.0}},
        {"sampling": {"name": "segment"}},
        {"short_side_px": 36, "jpeg_quality": 90},
    ],
    ids=["counted", "by time", "segments", "smaller"],
)
def test_a_window_is_its_part_read_alone(
    name: str, decoder: str, data: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    require_decoder(decoder)
    monkeypatch.setattr(windows, "_DECODED_BYTES", 7 * 3 * 48 * 64)  # many requests for one film
    path = write_video(tmp_path / name, height=48, width=64, **KINDS[name])
    reader = reader_of(decoder={"name": decoder}, **data)
    film = Noting(reader.open(path))
    parts = spread_windows(0.0, film.times.length_sec, 0.7, 0.23)
    assert len(parts) > 8
    found = list(views_of_parts(reader, film, parts, path))
    for part, views_NJCTHW in zip(parts, found, strict=True):
        named = film_or_part(f"{path}{part}")  # as a user writes it
        assert not isinstance(named, Path) and named.part == part
        assert torch.equal(views_NJCTHW, reader.with_notes(named.path, named.part)[0])
    assert len({views.numpy().tobytes() for views in found}) > len(parts) // 2  # not one picture all the time
    assert film.asked == sorted(set(film.asked))  # each once, none after a later one


def test_long_gaps_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windows, "_SKIPPED_FRAMES", 20)
    monkeypatch.setattr(windows, "_DECODED_BYTES", 0)
    path = write_video(tmp_path / "a.mp4", num_frames=120)
    reader = reader_of()
    film = Noting(reader.open(path))
    parts = [Part(0.0, 0.4), Part(3.0, 3.4)]
    found = list(views_of_parts(reader, film, parts, path))
    assert 7 < len(film.asked) < 80 and film.asked == sorted(
        set(film.asked)
    )  # and not all 81 from the first to the last
    assert all(torch.equal(views, reader.with_notes(path, part)[0]) for part, views in zip(parts, found, strict=True))


def test_windows_cover_the_film() -> None:
    assert spread_windows(0.0, 10.0, 4.0, 2.0) == [Part(0, 4), Part(2, 6), Part(4, 8), Part(6, 10)]
    assert spread_windows(0.0, 10.5, 4.0, 2.0)[-2:] == [Part(6, 10), Part(6.5, 10.5)]
    assert spread_windows(3.0, 5.0, 4.0, 2.0) == [Part(3, 5)]
    assert spread_windows(3.0, 7.0, 4.0, 2.0) == [Part(3, 7)]
    assert spread_windows(0.0, 9.9999999, 4.0, 3.0) == [Part(0, 4), Part(3, 7), Part(6, 10)]  # rounding is no window
    assert spread_windows(0.0, 9.0, 1.0, 4.0) == [Part(0, 1), Part(4, 5), Part(8, 9)]
    thirds = spread_windows(0.0, 100.0, 1.0, 1 / 3)
    assert len(thirds) == 298 and all(round(bound, 6) == bound for part in thirds for bound in part)


def test_a_part_behind_the_film_is_named(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", num_frames=25)
    reader = reader_of()
    with pytest.raises(DecodeError, match=r"a\.mp4: start_sec = 3"):
        list(views_of_parts(reader, KnownTimes(reader.open(path)), [Part(3.0, 4.0)], path))
