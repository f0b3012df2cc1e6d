"""`tools/benchmark.py data`: what it compares does the same work."""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import run as benchmark
from benchmarks.decoding_alone import limit_of
from benchmarks.reading_speed import alternate
from tests.frames import assert_same, require_decoder
from tests.media import write_video
from videoadapt.video.decoders import open_video


@pytest.mark.parametrize("decoder", ["decord", "pyav", "torchcodec"])
def test_decoding_alone_gives_the_frames_of_the_loader(tmp_path: Path, decoder: str) -> None:
    require_decoder(decoder)
    for path in (
        write_video(tmp_path / "seek.mp4", bframes=2),
        write_video(tmp_path / "enter.avi", codec="mpeg4"),
        write_video(tmp_path / "in_order.avi", codec="mpeg4", bframes=2),
    ):
        limit, _ = limit_of(path, decoder)
        with open_video(path, {"name": decoder}) as opened:
            for indices in ([3, 7, 11, 15], [14, 26, 38, 47], [47, 47, 47]):
                assert_same(np.ascontiguousarray(limit(indices)), opened.get(indices))


def test_all_ways_are_measured_and_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_video(tmp_path / "a.avi", codec="mpeg4", bframes=2, num_frames=12)
    write_video(tmp_path / "b.mp4", num_frames=12)
    (tmp_path / "mine.csv").write_text("a.avi 0\nb.mp4 1\n")
    arguments = ["data", str(tmp_path / "mine.csv"), "--root", str(tmp_path), "--out", str(tmp_path / "out")]
    arguments += ["--decoders", "decord", "--reencoded", "--clips", "1", "--repeats", "1", "--workers", "1"]
    assert benchmark.main(arguments) == 0
    result = json.loads(capsys.readouterr().out)
    assert result == json.loads((tmp_path / "out" / "data.json").read_text())
    assert set(result["groups"]) == {"mine", "mine, re-encoded"}
    figures = result["groups"]["mine"]["decord"]
    assert [video["read_by"] for video in figures["videos"]] == ["pyav", "decord"]
    names = ("limit_ms", "loader_ms", "ours_ms", "per_view_ms", "adaptformer_ms")
    assert all(figures[name] > 0 for name in names)
    for row in result["workers"].values():
        assert all(row["decord"][name] > 0 for name in ("limit_clips_per_sec", "loader_clips_per_sec"))
    assert (tmp_path / "out" / "data.md").read_text().count("| mine") == 6


def test_an_unreadable_file_is_named_and_not_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bad.mp4").write_text("no video")
    (tmp_path / "mine.csv").write_text("bad.mp4 0\n")
    arguments = ["data", str(tmp_path / "mine.csv"), "--root", str(tmp_path), "--out", str(tmp_path / "out")]
    assert benchmark.main(arguments) == 2
    assert "bad.mp4" in capsys.readouterr().err


def test_what_is_compared_is_called_in_turn_after_a_warm_up() -> None:
    calls: list[str] = []
    times = iter(range(100))
    alternate([lambda: calls.append("a"), lambda: calls.append("b")], 2, lambda: float(next(times)))
    assert calls == ["a", "b"] * 3
