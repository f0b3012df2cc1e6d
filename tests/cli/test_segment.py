"""`videoadapt segment` on films: files of each, records, and what it says of films that cannot be read."""

import csv
import json
from pathlib import Path

import pytest

from tests.media import write_video
from videoadapt.cli import segment
from videoadapt.cli._models import QUICKSTART_ADAPTER
from videoadapt.inference.predictor import Predictor
from videoadapt.inference.segments import Cut, segments_of

SOON = ["--on", "0.13", "--off", "0.1", "--least-sec", "0"]  # a toy run is hardly surer than chance


@pytest.fixture(scope="module")
def run(finished_run: Path) -> Path:
    return finished_run


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("films") / "a film.mp4", num_frames=60, fps_hz=12)


def test_files_and_records(run: Path, film: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.mp4").write_bytes(b"nothing")
    out = tmp_path / "out"
    films = [str(film), str(tmp_path / "x.mp4"), f"{film}#t=1,3"]
    capsys.readouterr()
    assert segment.main([*films, "--run", str(run), "--out", str(out), "--json", "--every-sec", "0.25", *SOON]) == 3
    captured = capsys.readouterr()
    whole, unreadable, part = map(json.loads, captured.out.splitlines())
    assert unreadable["video"] == films[1] and "x.mp4" in captured.err
    assert whole["num_frames"] == 60 and (part["start_sec"], part["end_sec"]) == (1.0, 3.0)
    predictor = Predictor.from_run(run, "cpu")
    expected = segments_of(
        predictor.timeline(film, every_sec=0.25), predictor.answers, Cut(on=0.13, off=0.1, least_sec=0)
    )
    assert expected and [s["action"] for s in whole["segments"]] == [s.name for s in expected]
    with (out / "a film/segments.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(float(row["start_sec"]), row["action"]) for row in rows] == [
        (pytest.approx(s.start_sec, abs=1e-3), s.name) for s in expected
    ]
    assert {path.name for path in (out / "a film").iterdir()} == {
        "segments.csv", "segments.json", "timeline.png", "timeline.npz",
    }  # fmt: skip
    found = json.loads((out / "detections.json").read_text())["results"]
    assert list(found) == ["a film", "a film#t=1,3"] and len(found["a film"]) == len(expected)


def test_lines_for_people(run: Path, film: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    call = [str(film), "--run", str(run), "--out", str(tmp_path / "out")]
    assert segment.main([*call, *SOON]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(str(film)) and " to " in lines[1] and " %  " in lines[1]
    assert segment.main([*call, "--on", "1"]) == 0
    assert "nothing: no class is as probable" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--on", "2"], "on = 2: allowed"),
        (["--every-sec", "0"], "every_sec = 0.0: allowed"),
        (["--out", "{film}/inside"], "--out"),
    ],
)
def test_what_cannot_be_is_one_line(
    more: list[str], said: str, run: Path, film: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    words = [word.format(film=film) for word in more]
    assert segment.main([str(film), "--run", str(run), "--out", str(tmp_path / "out"), *words]) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("error: ") and said in last and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--crops", "0"], "crops = 0: allowed: 1 to 100"),
        (["--crops", "101"], "crops = 101: allowed: 1 to 100"),
        (["--every-sec", "1e-9"], "every_sec = 1e-09: allowed: 0.001 or more"),
        (["--window-sec", "inf"], "window_sec = inf: allowed: 0.001 or more"),
    ],
)
def test_windows_that_cannot_be_are_refused_first(
    options: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert segment.main(["no film.mp4", "--run", "no run", *options]) == 2
    assert capsys.readouterr().err == f"error: {said}\n"


def test_two_films_of_one_name_are_refused(
    run: Path, film: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = write_video(tmp_path / "a film.mp4", num_frames=24)
    assert segment.main([str(film), str(other), "--run", str(run), "--out", str(tmp_path / "out")]) == 2
    assert "two films are called a film" in capsys.readouterr().err


@pytest.mark.parametrize("options", [[], ["--adapter", QUICKSTART_ADAPTER]])
def test_without_a_run_the_quickstarts_model_answers(
    options: list[str], film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert segment.main([str(film), "--device", "cpu", *options]) == 0
    assert ("knows rendered motions only: " in capsys.readouterr().err) != bool(options)
    found = json.loads((tmp_path / "segments/a film/segments.json").read_text())
    assert found["num_frames"] == 60
