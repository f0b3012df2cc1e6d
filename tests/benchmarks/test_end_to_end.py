"""The benchmark from files to updates and to logits: all parts are measured, and beside one another."""

import json
from pathlib import Path

import pytest

from benchmarks import long_films
from benchmarks.long_films import make_films
from benchmarks.run import main
from tests import forked
from tests.media import write_video
from tests.toy_runs import environment, places
from videoadapt.video.decoders import open_video

SMALL = ["--size", "tiny", "--crop", "32", "--batch", "2", "--precision", "fp32", "--no-compile", "--device", "cpu"]


@pytest.mark.slow
@pytest.mark.parametrize(("mode", "unit", "share"), [("train", "clips", "waiting"), ("test", "videos", "device_busy")])
def test_all_parts_are_measured(
    mode: str, unit: str, share: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = tmp_path / "films", tmp_path / "out"
    folder.mkdir()
    write_video(folder / "a.mp4")
    write_video(folder / "b.mp4")
    arguments = ["end_to_end", "--mode", mode, *SMALL, "--videos", str(folder), "--reencoded", "--workers", "1"]
    assert main([*arguments, "--seconds", "0.2", "--out", str(out)]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result == json.loads((out / f"end_to_end_{mode}.json").read_text())
    assert set(result["groups"]) == {"films", "films, re-encoded"}
    for of_decoder in result["groups"].values():
        row = of_decoder["pyav"]
        speed, readers, alone = (row[f"{key}{unit}_per_sec"] for key in ("", "readers_", "device_"))
        assert min(speed, readers, alone) > 0 and row[share] >= 0
        assert row["of_the_possible"] == pytest.approx(speed / min(readers, alone))
        assert row["waiting"] < 1 if mode == "train" else row["device_busy"] == pytest.approx(speed / alone)
    assert (out / f"end_to_end_{mode}.md").read_text().count("| films") == 2


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["train", "test"])
def test_training_out_of_jpeg_is_measured_in_both_ways(
    mode: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = tmp_path / "films", tmp_path / "out"
    folder.mkdir()
    write_video(folder / "a.mp4")
    arguments = ["end_to_end", "--mode", mode, *SMALL, "--videos", str(folder), "--cache-jpeg", "90", "--workers", "1"]
    assert main([*arguments, "--seconds", "0.2", "--out", str(out)]) == 0
    rows = json.loads(capsys.readouterr().out)["groups"]["films"]
    assert len(list((out / "frames").glob("*/*.jpegs"))) == 1
    table = (out / f"end_to_end_{mode}.md").read_text()
    if mode == "test":
        assert list(rows) == ["pyav, JPEG 90, processor"] and "clips/s" not in table
        return
    assert list(rows) == ["pyav, JPEG 90, processor", "pyav, JPEG 90, device"]
    processor, device = rows.values()
    assert "decoding_clips_per_sec" not in processor and device["decoding_clips_per_sec"] > 0
    assert min(row[key] for row in (processor, device) for key in row if key.endswith("_per_sec")) > 0
    assert f"decoded on the device alone, {device['decoding_clips_per_sec']:.1f} clips/s" in table
    assert f"| {device['of_the_device']:.0%} |\n" in table


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["train", "test"])
def test_two_processes_measure_together(mode: str, tmp_path: Path) -> None:
    """As under torchrun: one table, whose rates are those of both, and films that one of them has made."""
    (tmp_path / "films").mkdir()
    write_video(tmp_path / "films" / "a.mp4")
    told = ["tools/benchmark.py", "end_to_end", "--mode", mode, *SMALL, "--videos", str(tmp_path / "films")]
    told += ["--reencoded", "--workers", "1", "--seconds", "0.2", "--out", str(tmp_path / "out")]
    with (tmp_path / "said").open("w+b") as said, places(2) as of_ranks:
        started = [forked.start(told, environment() | place, said.fileno()) for place in of_ranks]
        assert [process.wait(timeout=300) for process in started] == [0, 0], (tmp_path / "said").read_text()
    result = json.loads((tmp_path / "out" / f"end_to_end_{mode}.json").read_text())
    assert result["gpus"] == 2 and set(result["groups"]) == {"films", "films, re-encoded"}
    for of_decoder in result["groups"].values():
        row = of_decoder["pyav"]
        assert row["gpus"] == 2 and min(rate for key, rate in row.items() if key.endswith("_per_sec")) > 0
        assert row["waiting"] < 1 if mode == "train" else row["videos"] % 2 == 0
    assert (tmp_path / "said").read_text().count("2 x CPU") == 1


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bad.mp4").write_text("no video")
    arguments = ["end_to_end", *SMALL, "--videos", str(tmp_path), "--workers", "1", "--out", str(tmp_path / "out")]
    assert main(arguments) == 2 and "bad.mp4" in capsys.readouterr().err
    assert main([*arguments, "--videos", str(tmp_path / "none")]) == 2
    assert "none: no folder with video files" in capsys.readouterr().err


def test_films_are_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(long_films, "NUM_FRAMES", 12)
    long_films.make_film(tmp_path / "0.mp4")
    with open_video(tmp_path / "0.mp4", {"name": "pyav"}) as opened:
        assert (opened.num_frames, opened.height, opened.width) == (12, 256, 340)
    written = (tmp_path / "0.mp4").stat().st_mtime_ns
    (film,) = make_films(tmp_path, 1, 1)
    assert film.path.stat().st_mtime_ns == written
