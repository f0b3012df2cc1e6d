"""`prepare_data.py scan` on real files with real faults, in real processes."""

import csv
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from tests.frames import FILE_DECODERS, require_decoder
from tests.items import misbehave, process_of
from tests.media import UNUSUAL, write_film, write_video
from tests.toy_runs import copy_tree, environment
from videoadapt.cli import prepare
from videoadapt.cli._prepare_videos import show_findings
from videoadapt.data.datasets.video_list import VideoList
from videoadapt.data.list_files import write_list
from videoadapt.data.structures import Video
from videoadapt.errors import DataListError
from videoadapt.preparing.inspection import Inspection, _difference, inspect_file
from videoadapt.preparing.scan import Row, _judge_file, summary
from videoadapt.processes import server
from videoadapt.processes.worker import Lost, map_in_processes
from videoadapt.video.decoders import _seekable

DECORD = {"name": "decord"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One file of each fault."""
    root = tmp_path_factory.mktemp("scan")
    whole = write_video(root / "good one [a].mp4", bframes=2)
    write_video(root / "short.mp4", num_frames=5)
    write_video(root / "mpeg4.avi", codec="mpeg4", bframes=2)
    (root / "cut.mp4").write_bytes(whole.read_bytes()[:3000])
    (root / "text.mp4").write_text("not a video")
    write_video(root / "other.mp4", num_frames=30)
    shutil.copy(root / "other.mp4", root / "copy.mp4")
    write_video(root / "torn.mp4", num_frames=40)
    shutil.copy(root / "torn.mp4", root / "torn_copy.mp4")
    (root / "link.mp4").symlink_to("good one [a].mp4")
    return root


LIST = """good one [a].mp4 0
short.mp4 0
mpeg4.avi 1
cut.mp4 0
text.mp4 1
absent.mp4 0
other.mp4 1
copy.mp4 1
torn.mp4 0
torn_copy.mp4 1
link.mp4 0
mpeg4.avi 7
"""


def run_scan(folder: Path, rows: str, out: Path, *options: str) -> tuple[int, dict[str, dict]]:
    """Exit code and the report's rows by "name label"."""
    (out.parent / "list.csv").write_text(rows)
    code = prepare.main(
        [
            "scan",
            "--list",
            str(out.parent / "list.csv"),
            "--root",
            str(folder),
            "--out",
            str(out),
            "--jobs",
            "2",
            *options,
        ]
    )
    rows_found = json.loads((out / "report.json").read_text())["rows"]
    return code, {f"{row['video']} {row['label']}": row for row in rows_found}


def test_every_fault_is_found_and_named(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, rows = run_scan(folder, LIST, tmp_path / "out", "--classes", "2", "--min-frames", "8")
    assert code == 3
    assert {name: row["faults"] for name, row in rows.items()} == {
        "good one [a].mp4 0": [],
        "short.mp4 0": ["short"],
        "mpeg4.avi 1": ["contradiction"],
        "cut.mp4 0": ["unreadable"],
        "text.mp4 1": ["unreadable"],
        "absent.mp4 0": ["unreadable"],
        "other.mp4 1": [],
        "copy.mp4 1": ["copy"],
        "torn.mp4 0": ["contradiction"],
        "torn_copy.mp4 1": ["contradiction"],
        "link.mp4 0": ["twice"],
        "mpeg4.avi 7": ["label", "contradiction"],
    }
    assert (tmp_path / "out" / "clean.csv").read_text() == "good one [a].mp4 0\nother.mp4 1\n"
    with (tmp_path / "out" / "report.csv").open(encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))
    assert [row["faults"] for row in table] == ["; ".join(row["faults"]) for row in rows.values()]
    assert rows["short.mp4 0"]["frames"] == 5 and rows["absent.mp4 0"]["frames"] is None
    assert "No such file" in rows["absent.mp4 0"]["reason"]
    shown = capsys.readouterr().out
    assert "2 of 12 rows are kept" in shown
    assert "         short.mp4 (line 2): 5 frames; allowed: 8 or more\n" in shown


def test_a_sound_list_is_kept_whole(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = "good one [a].mp4 3\nmpeg4.avi 0\n"
    code, found = run_scan(folder, rows, tmp_path / "out")
    assert code == 0 and (tmp_path / "out" / "clean.csv").read_text() == rows
    ways = {name: (row["decoder"], row["in_order_because"], row["wrong"]) for name, row in found.items()}
    assert ways == {"good one [a].mp4 3": ("decord", "", ""), "mpeg4.avi 0": ("pyav", "mpeg4 in avi", "")}
    assert "labels are not checked" in capsys.readouterr().out


def test_real_clips_header_and_frames(clips_dir: Path, tmp_path: Path) -> None:
    names = {  # header, decoded
        "RATRACE_wave_f_nm_np1_fr_goo_37.avi": (73, 72),
        "WUzgd7C1pWA.mp4": (327, 327),
        "flipping_a_pancake.mkv": (0, 310),
    }
    code, rows = run_scan(clips_dir, "".join(f"{name} 0\n" for name in names), tmp_path / "out")
    assert code == 0  # HMDB51's headers are wrong in a known way, which harms nothing here
    assert [(row["header_frames"], row["frames"]) for row in rows.values()] == list(names.values())
    assert [row["notes"] for row in rows.values()] == [["header"], [], []]


@pytest.mark.parametrize("decoder", FILE_DECODERS)
def test_unusual_and_valid_files_are_kept(tmp_path: Path, decoder: str) -> None:
    require_decoder(decoder)
    names = [write_film(tmp_path, name).name for name in UNUSUAL]
    rows = "".join(f"{name} 0\n" for name in names)
    code, found = run_scan(tmp_path, rows, tmp_path / "out", "--decoder", decoder)
    assert code == 0 and (tmp_path / "out" / "clean.csv").read_text() == rows
    for name, row in zip(names, found.values(), strict=True):
        assert row["wrong"] == row["complaint"] == "" and row["damaged_frames"] == 0, name
        assert row["notes"] == ["interlaced"] * ("interlaced" in name) + ["pixels"] * (name == "wide_pixels.mp4")
        assert row["interlaced_frames"] == (24 if "later" in name else 48) * ("interlaced" in name), name
        assert row["pixel_aspect"] == ("64:45" if name == "wide_pixels.mp4" else "1:1")


def test_hdr_films_are_noted(tmp_path: Path) -> None:
    """As phones record them: what the three decoders read has no tone mapping."""
    for name, curve in (("pq", "smpte2084"), ("hlg", "arib-std-b67"), ("usual", "bt709")):
        tags = f"transfer={curve}:colorprim=bt2020:colormatrix=bt2020nc"
        write_video(tmp_path / f"{name}.mp4", options={"x264-params": tags}, num_frames=5)
    rows = "pq.mp4 0\nhlg.mp4 0\nusual.mp4 0\n"
    code, found = run_scan(tmp_path, rows, tmp_path / "out")
    assert code == 0 and (tmp_path / "out" / "clean.csv").read_text() == rows
    assert [(row["hdr"], row["notes"]) for row in found.values()] == [("PQ", ["hdr"]), ("HLG", ["hdr"]), ("", [])]


def damaged(path: Path, first_byte: int) -> Path:
    """Turn a few bytes round, from `first_byte` on, as a bad disk does."""
    content = bytearray(path.read_bytes())
    for place in range(first_byte, len(content) * 4 // 5, 1501):
        content[place] ^= 0xFF
    path.write_bytes(content)
    return path


FINE = {"qmin": "2", "qmax": "2"}  # pictures large enough that damage is in them, and not in their headers


@pytest.mark.parametrize("codec", ["libx264", "mpeg4", "mpeg2video"])
def test_concealed_damage_is_counted(tmp_path: Path, codec: str) -> None:
    options = {} if codec == "libx264" else FINE
    path = damaged(write_video(tmp_path / "a.mp4", height=96, width=128, codec=codec, options=options), 2000)
    found = inspect_file(path, DECORD)
    assert isinstance(found, Inspection) and found.frames == 48
    assert 3 <= found.damaged_frames < 48 and found.complaint.startswith(found.codec)
    row = Row(Video("a.mp4", path, 0))
    _judge_file(row, found, 1)
    assert row.notes == ["damaged"]
    assert summary([row])["frames with concealed damage"] == found.damaged_frames


def test_lost_frames_that_no_header_counts(tmp_path: Path) -> None:
    """A Matroska file of which a cluster cannot be found plays as a shorter film; FFmpeg says so in its log only."""
    path = write_video(tmp_path / "a.mkv", num_frames=200, container_options={"cluster_time_limit": "1000"})
    content = path.read_bytes()
    cluster = b"\x1f\x43\xb6\x75"
    place = content.index(cluster, content.index(cluster) + 1)
    path.write_bytes(content[:place] + b"\0\0" + content[place + 2 :])
    found = inspect_file(path, DECORD)
    assert isinstance(found, Inspection) and found.frames < 200
    assert found.damaged_frames == 0 and found.complaint.startswith("matroska")


def test_a_complaint_is_of_its_own_file(tmp_path: Path) -> None:
    bad = damaged(write_video(tmp_path / "a.mp4", height=96, width=128), 2000)
    good = write_video(tmp_path / "b.mp4")
    complaints = [inspect_file(path, DECORD).complaint for path in (bad, good, bad, good)]
    assert complaints[0] == complaints[2] != "" and complaints[1] == complaints[3] == ""


def believe_seekable(monkeypatch: pytest.MonkeyPatch, path: Path, num_frames: int) -> None:
    """Take away the refusal with which our decord hands files over: what is left is what others train on."""
    real = _seekable.probe(path, ())
    lie = replace(real, in_order_because="", one_size=True, pts=tuple(range(num_frames)))
    monkeypatch.setattr(_seekable, "probe", lambda path, codecs: lie)


def test_a_decoder_that_counts_wrongly_is_caught(clips_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = clips_dir / "TrumanShow_wave_f_nm_np1_fr_med_26.avi"
    believe_seekable(monkeypatch, path, 49)
    found = inspect_file(path, DECORD)
    assert isinstance(found, Inspection) and found.decoder == "decord" and found.wrong == "49 frames, in order 48"


def test_a_decoder_that_seeks_wrongly_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_video(tmp_path / "b_frames.avi", bframes=3, num_frames=80)
    before = inspect_file(path, DECORD)
    assert isinstance(before, Inspection) and before.decoder == "pyav" and not before.wrong
    believe_seekable(monkeypatch, path, 80)
    found = inspect_file(path, DECORD)
    assert isinstance(found, Inspection) and found.decoder == "decord"
    assert found.wrong.endswith("is another picture than in order")


def test_difference_names_the_frame() -> None:
    black = np.zeros((2, 2, 3), np.uint8)
    assert _difference({3: black + 2}, {3: black}) == ""
    assert _difference({3: black, 9: black + 3}, {3: black, 9: black}).startswith("frame 9 is another picture")
    assert _difference({3: black[:1]}, {3: black}).startswith("frame 3 is (1, 2, 3)")


def test_a_file_that_kills_or_blocks_its_process_is_lost_alone() -> None:
    items = ["a", "crash", "b", "block", "c", "raise", "crash", "d"]
    results = dict(map_in_processes(misbehave, items, 2, 3.0))
    lost = {index: result.reason for index, result in results.items() if isinstance(result, Lost)}
    assert {index: result for index, result in results.items() if index not in lost} == {
        0: "a!",
        2: "b!",
        4: "c!",
        7: "d!",
    }
    assert "SIGSEGV" in lost[1] and "SIGSEGV" in lost[6] and "longer than 3 s" in lost[3] and "exit code 1" in lost[5]


def test_a_stopped_process_costs_no_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(server, "LOOK_EVERY_SEC", 0.1)
    monkeypatch.setattr(server, "PATIENCE_SEC", 0.2)
    items = ["a", f"stop once {tmp_path}/marker", "b"]
    assert dict(map_in_processes(misbehave, items, 1, 1.0)) == {n: f"{item}!" for n, item in enumerate(items)}


def test_workers_are_other_processes_and_end_with_the_loop() -> None:
    pids = {pid for _, pid in map_in_processes(partial(process_of), ["x"] * 20, 2, 60.0)}
    assert pids and os.getpid() not in pids
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            assert isinstance(pid, int)
            os.kill(pid, 0)


CRASHING = """
import os, signal
from videoadapt.video.decoders.pyav import PyAV
from videoadapt.registry import DECODERS

@DECODERS.register
class Crashing(PyAV):
    def __init__(self, path, /, *, threads: int = 1):
        if path.name == "other.mp4":
            os.kill(os.getpid(), signal.SIGSEGV)
        super().__init__(path, threads=threads)
"""


def test_ten_files_of_each_fault_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [Row(Video(f"{number}.mp4", tmp_path, 0, number)) for number in range(1, 14)]
    for row in rows:
        row.blame("unreadable", f"reason {row.video.line}")
    rows[0].blame("label", "label 7")
    show_findings(rows)
    shown = capsys.readouterr().out
    assert "     13  unreadable: cannot be decoded\n         1.mp4 (line 1): reason 1\n         2.mp4" in shown
    assert "10.mp4 (line 10): reason 10\n         and 3 more\n" in shown and "11.mp4" not in shown
    assert "      1  label: label outside the classes\n         1.mp4 (line 1): label 7\n" in shown


@pytest.mark.slow
def test_a_scan_survives_a_decoder_that_crashes(folder: Path, tmp_path: Path) -> None:
    copy_tree(tmp_path)
    (tmp_path / "videoadapt" / "video" / "decoders" / "crashing.py").write_text(CRASHING)
    (tmp_path / "list.csv").write_text("good one [a].mp4 0\nother.mp4 0\nshort.mp4 0\n")
    command = [sys.executable, "tools/prepare_data.py", "scan", "--list", "list.csv", "--root", str(folder)]
    done = subprocess.run(
        [*command, "--decoder", "crashing", "--out", "out", "--jobs", "1"],
        cwd=tmp_path,
        env=environment() | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 3, done.stderr
    assert "other.mp4 (line 2): the process that worked on it was killed by SIGSEGV" in done.stdout
    assert (tmp_path / "out" / "clean.csv").read_text() == "good one [a].mp4 0\nshort.mp4 0\n"


@pytest.mark.parametrize("name", [" a.mp4", "a.mp4 ", "a\nb.mp4", "a\u2028b.mp4", "a\udcff.mp4"])
def test_a_name_that_no_row_can_hold_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataListError, match="rename it"):
        write_list(tmp_path / "l.csv", [Video(name, tmp_path / name, 0)])


def test_a_written_list_reads_back(tmp_path: Path) -> None:
    videos = [Video(name, tmp_path / name, label) for label, name in enumerate(["a b 3.mp4", "ä/[1].avi"])]
    write_list(tmp_path / "l.csv", videos)
    read = VideoList().load(str(tmp_path / "l.csv"), tmp_path)
    assert [video._replace(line=0) for video in read] == videos


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--jobs", "0"], "--jobs 0: allowed: 1 or more"),
        (["--limit-sec", "nan"], "--limit-sec nan: allowed: above 0, to 86400"),
        (["--limit-sec", "-1"], "--limit-sec -1: allowed: above 0, to 86400"),
        (["--decoder", "decor"], "did you mean 'decord'"),
        (["--classes", "nowhere.txt"], "nowhere.txt: cannot be read: No such file"),
        (["--list", "nowhere.csv"], "nowhere.csv: cannot be read: No such file"),
    ],
)
def test_mistakes_are_one_line(options: list[str], complaint: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert prepare.main(["scan", "--list", "nowhere.csv", *options]) == 2
    error = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(error) == 1 and complaint in error[0]
