"""The demo and the feature tool, on the folder of a real run."""

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.cells import cell_len
from safetensors import safe_open

import videoadapt as va
from tests.media import damaged, write_video
from tests.toy_runs import environment
from videoadapt.cli import demo, features
from videoadapt.cli._answers import print_bars
from videoadapt.cli._models import QUICKSTART_ADAPTER
from videoadapt.inference.many import Answered
from videoadapt.inference.predictor import Prediction
from videoadapt.runs import build
from videoadapt.video.decoders import open_video


@pytest.fixture(scope="module")
def finished(clips: Path, finished_run: Path) -> tuple[Path, Path]:
    """(run folder, folder of clips) of a short run."""
    return finished_run, clips


def test_top_five_with_probabilities(finished: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    run, clips = finished
    saved = np.load(run / "predictions.npz")
    video = clips / str(saved["video_id"][5])
    capsys.readouterr()
    assert demo.main([str(video), "--run", str(run), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    expected = np.exp(saved["scores"][5]) / np.exp(saved["scores"][5]).sum()
    assert [p["label"] for p in answer["predictions"]] == list(np.argsort(-expected)[:5])
    np.testing.assert_allclose([p["probability"] for p in answer["predictions"]], -np.sort(-expected)[:5], atol=1e-5)
    assert demo.main([str(video), "--run", str(run)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 6 and answer["predictions"][0]["name"] in lines[1] and " %" in lines[1]


def test_the_newest_run_is_the_default(
    finished: tuple[Path, Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run, clips = finished
    video = next(clips.glob("test/*/*.mp4"))
    monkeypatch.chdir(run.parent.parent)
    assert demo.main([str(video)]) == 0
    assert "outputs/run" in capsys.readouterr().out
    monkeypatch.chdir(tmp_path)
    assert demo.main([str(video), "--device", "cpu"]) == 0
    shown = capsys.readouterr()
    assert "(adapter package:quickstart_adapter.safetensors)" in shown.out
    assert "knows rendered motions only: " in shown.err and ", counter_clockwise, " in shown.err


def test_a_run_that_trains_may_delete_its_checkpoint(
    finished: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """While the model is built, for newer ones: the file was no longer there when it was loaded."""
    run, _ = finished
    folder = shutil.copytree(run, tmp_path / "run")
    make, expected = build.build_seeded_model, build.open_run(run, torch.device("cpu"))[2].state_dict()

    def slow(*args: Any, **options: Any) -> Any:
        shutil.rmtree(folder / "checkpoints")
        return make(*args, **options)

    monkeypatch.setattr(build, "build_seeded_model", slow)
    found = build.open_run(folder, torch.device("cpu"))[2].state_dict()
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


def test_files_that_are_no_videos(
    finished: tuple[Path, Path], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    run, _ = finished
    (tmp_path / "x.mp4").write_bytes(b"nothing")
    assert demo.main([str(tmp_path / "x.mp4"), "--run", str(run)]) == 2
    assert f"error: {tmp_path / 'x.mp4'}" in capsys.readouterr().err
    assert demo.main([str(tmp_path / "x.mp4"), "--run", str(tmp_path)]) == 2
    assert "not a run folder" in capsys.readouterr().err
    for file, option in (("adapter.safetensors", "--adapter"), ("model.onnx", "--onnx")):
        assert demo.main([str(tmp_path / "x.mp4"), "--run", str(run / file)]) == 2
        assert f"(no config.yaml in it); a file is given with {option}, where" in capsys.readouterr().err


def test_bars_begin_in_one_column_whatever_the_script(capsys: pytest.CaptureFixture[str]) -> None:
    names = ["\u8df3\u8dc3", "run", "$x$"]
    print_bars(Answered("x.mp4", [[Prediction(0, name, 0.5) for name in names]]), [{"run": "r"}])
    lines = capsys.readouterr().out.splitlines()[1:]
    assert len({cell_len(line.partition("#")[0]) for line in lines}) == 1 and names[0] in lines[0]


def test_json_has_a_record_of_every_file(
    finished: tuple[Path, Path], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    run, clips = finished
    good, bad = next(clips.glob("test/*/*.mp4")), tmp_path / "x.mp4"
    bad.write_bytes(b"nothing")
    capsys.readouterr()
    assert demo.main([str(bad), str(good), "--run", str(run), "--json"]) == 3
    out, err = capsys.readouterr()
    first, second = map(json.loads, out.splitlines())
    assert (first["video"], second["video"]) == (str(bad), str(good)) and "predictions" not in first
    assert f"error: {first['error']}" in err and str(bad) in first["error"] and "error" not in second


def test_what_is_read_is_not_written_over(
    finished: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--csv` emptied the film, or the list, that it was given by mistake."""
    run, clips = finished
    film, listed = tmp_path / "a.mp4", tmp_path / "list.csv"
    shutil.copy(next((clips / "test/clockwise").glob("*.mp4")), film)
    listed.write_text("a.mp4\n")
    other_name = tmp_path / "link.csv"
    other_name.symlink_to(film)
    before = film.read_bytes(), listed.read_bytes()
    capsys.readouterr()
    for arguments, said in (
        ([str(film), "--csv", str(film)], f"--csv {film}"),
        ([f"{film}#t=0,1", "--csv", str(film)], f"--csv {film}"),
        ([str(film), "--csv", str(other_name)], f"--csv {other_name}"),
        ([str(film), "--out", str(film)], f"--out {film}"),
        (["--list", str(listed), "--root", str(tmp_path), "--csv", str(listed)], f"--csv {listed}"),
    ):
        assert demo.main([*arguments, "--run", str(run)]) == 2
        out, err = capsys.readouterr()
        assert f"{said}: is read by this command, and would be lost; name another" in err and not out
    assert before == (film.read_bytes(), listed.read_bytes())


def test_an_animation_is_called_gif(capsys: pytest.CaptureFixture[str]) -> None:
    """`--gif a.mp4` wrote one under the name of a film, also over that of `--out a.mp4`."""
    with pytest.raises(SystemExit):
        demo.main(["film.mp4", "--gif", "a.mp4"])
    assert "--gif a.mp4: the name needs to end in .gif" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["film.mp4", "--root", "clips"], "--root: goes with --list"),
        (["film.mp4", "--window-sec", "2"], "--window-sec: goes with --live, --serve, --out, --gif or --explain"),
        (["--list", "list.csv", "--window-sec", "2"], "--window-sec: goes with --live"),
    ],
)
def test_what_would_be_ignored_is_refused(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        demo.main(arguments)
    assert said in capsys.readouterr().err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
def test_rows_on_a_full_disk_name_their_file(
    finished: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, clips = finished
    film, table = next((clips / "test/clockwise").glob("*.mp4")), tmp_path / "table.csv"
    table.symlink_to("/dev/full")
    assert demo.main([str(film), "--run", str(run), "--csv", str(table)]) == 2
    assert f"error: {table}: No space left on device; free some space" in capsys.readouterr().err


def test_folder_pattern_and_list_in_one_table(
    finished: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, clips = finished
    # twice among these, and answered once
    names = sorted(path.relative_to(clips).as_posix() for path in clips.glob("test/clockwise/*.mp4"))
    bad, out = tmp_path / "x.mp4", tmp_path / "out.csv"
    bad.write_bytes(b"nothing")
    (tmp_path / "list.txt").write_text("".join(f"{name} 3\n" for name in names))
    listed = ["--list", str(tmp_path / "list.txt"), "--root", str(clips)]
    videos = [str(clips / "test/clockwise"), str(clips / "test/count*/*.mp4"), str(bad)]
    capsys.readouterr()
    arguments = [*videos, *listed, "--run", str(run), "--top", "3"]
    assert demo.main([*arguments, "--csv", str(out)]) == 3
    shown = capsys.readouterr()
    assert not shown.out and f"{out}: 5 videos, 1 of them cannot be read" in shown.err and str(bad) in shown.err
    rows = list(csv.DictReader(out.open(encoding="utf-8")))
    assert [row["video"] for row in rows[:2]] == [str(clips / n) for n in names]
    assert rows[4]["video"] == str(bad) and rows[4]["error"].startswith(f"{bad}: ") and not rows[4]["class_1"]
    assert demo.main([*arguments, "--json"]) == 3
    for row, record in zip(rows, map(json.loads, capsys.readouterr().out.splitlines()), strict=True):
        best = record.get("predictions", [])
        assert [row[f"class_{k}"] for k in (1, 2, 3) if row["class_1"]] == [p["name"] for p in best]
        assert all(
            float(row[f"probability_{k}"]) == pytest.approx(p["probability"], abs=1e-6) for k, p in enumerate(best, 1)
        )
    assert demo.main([str(tmp_path / "*.avi"), "--run", str(run), "--csv", str(out)]) == 2
    assert f"error: {tmp_path}/*.avi: no file fits this pattern" in capsys.readouterr().err
    assert len(out.read_text().splitlines()) == 6  # nothing was lost


def test_the_film_with_its_classes_drawn_on_it(
    finished: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, _ = finished
    film, out, gif = write_video(tmp_path / "film.mp4", num_frames=50), tmp_path / "out.mp4", tmp_path / "out.gif"
    capsys.readouterr()
    assert demo.main([str(film), "--run", str(run), "--out", str(out), "--gif", str(gif)]) == 0
    assert f"{out}: written, from 50 frames\n{gif}: written" in capsys.readouterr().err
    with open_video(out) as after, open_video(film) as before:
        assert len(after) == 50 and (after.height, after.width) == (240, 320)  # five times as large
        larger = before[20].repeat(5, 0).repeat(5, 1).astype(int)
        differing = np.abs(after[20] - larger).mean(axis=2)
        assert differing[:170].mean() < 8 and differing[190:, :200].mean() > 40
    assert gif.stat().st_size > 1000
    for wrong in (["--out", str(tmp_path / "x.webm")], ["--out", str(film)]):
        assert demo.main([str(film), "--run", str(run), *wrong]) == 2
        assert wrong[1] in capsys.readouterr().err
    with pytest.raises(SystemExit):
        demo.main([str(film), str(film), "--run", str(run), "--out", str(out)])


def test_the_film_with_what_was_looked_at(
    finished: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, _ = finished
    monkeypatch.chdir(tmp_path)
    film = write_video(tmp_path / "film.mp4", num_frames=20)
    assert demo.main(["film.mp4", "--run", str(run), "--explain", "--label", "left"]) == 0
    assert "film_explained.png: written\nfilm_explained.mp4: written, from 20 frames" in capsys.readouterr().err
    with open_video("film_explained.mp4") as after, open_video(film) as before:
        differing = np.abs(after[10] - before[10].repeat(5, 0).repeat(5, 1).astype(int)).mean(axis=2)
        assert len(after) == 20 and differing[:180].max() > 60
    assert demo.main(["film.mp4", "--run", str(run), "--explain", "--label", "lift"]) == 2
    assert "label = 'lift': no such class; did you mean 'left'? allowed: " in capsys.readouterr().err
    with pytest.raises(SystemExit):
        demo.main(["film.mp4", "--run", str(run), "--label", "left"])


@pytest.mark.parametrize("film", ["a#1.mp4", "a#2.mp4", "a#1.mp4#t=1,2"])
def test_what_was_looked_at_has_the_films_whole_name(film: str) -> None:
    """Up to the first # it was another film's."""
    expected = film.replace(".mp4", "") + "_explained.mp4"
    assert demo.parse_arguments([f"clips/{film}", "--explain"]).out == Path(expected)


HEAVY = [
    "IPython",
    "jinja2",
    "matplotlib",
    "pandas",
    "pytorchvideo",
    "scipy",
    "sympy",
    "tensorboard",
    "timm",
    "torchvision",
]
HEAVY += ["torch._dynamo", "torch._inductor", "transformers", "triton"]


@pytest.mark.slow
def test_the_first_answer_waits_for_torch_and_little_else(tmp_path: Path) -> None:
    """Seconds of a busy machine say nothing; what takes them does: modules, and other processes."""
    film = write_video(tmp_path / "film.mp4")
    program = f"""
import sys
from multiprocessing import forkserver
from videoadapt.cli.demo import main
code = main([{str(film)!r}, "--adapter", {QUICKSTART_ADAPTER!r}, "--device", "cpu"])
print([name for name in {HEAVY} if name in sys.modules], forkserver._forkserver._forkserver_pid, code)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment(), capture_output=True, text=True
    )
    assert done.stdout.splitlines()[-1] == "[] None 0", done.stderr


def test_json_says_how_many_frames_are_damaged(
    finished: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, _ = finished
    assert "name: decord" in (run / "config.yaml").read_text()  # hands mpeg4 over to PyAV, and cannot tell of H.264
    files = [damaged(tmp_path / "a.avi", "mpeg4"), write_video(tmp_path / "b.avi", codec="mpeg4"), tmp_path / "c.mp4"]
    write_video(files[2])
    adapter = str(run / "adapter.safetensors")
    alone, several = ["--adapter", adapter], ["--adapter", adapter, "--adapter", adapter]
    for source, answers in (["--run", str(run)], 1), (alone, 1), (several, 2):
        capsys.readouterr()
        assert demo.main([*map(str, files), *source, "--json"]) == 0
        first, second, third = list(map(json.loads, capsys.readouterr().out.splitlines()))[::answers]
        assert first["damaged_frames"] > 0 == second["damaged_frames"] and third["damaged_frames"] is None


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--top", "0"], "--top 0: allowed: 1 or more"),
        (["--top", "-1"], "--top -1: allowed: 1 or more"),
        (["--window-sec", "0", "--out", "y.mp4"], "--window-sec 0: allowed: above 0"),
        (["--window-sec", "nan", "--out", "y.mp4"], "--window-sec nan: allowed: above 0"),
    ],
)
def test_numbers_that_cannot_be_are_one_line(
    options: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        demo.main(["x.mp4", *options])
    said = capsys.readouterr().err.splitlines()[-1]
    assert end.value.code == 2 and said.endswith(f"error: {expected}")


def test_a_real_clip(finished: tuple[Path, Path], clips_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, _ = finished
    name = "hmdb51_Turnk_r_Pippi_Michel_cartwheel_f_cm_np2_le_med_6.avi"  # its metadata is not UTF-8
    assert demo.main([str(clips_dir / name), "--run", str(run)]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 6


@pytest.mark.parametrize("suffix", ["npz", "safetensors"])
def test_features(finished: tuple[Path, Path], suffix: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, clips = finished
    out = tmp_path / f"features.{suffix}"
    arguments = [str(out), "--run", str(run), "--list", "test", "--root", str(clips), "--clips", "2"]
    assert features.main(arguments) == 0
    if suffix == "npz":
        arrays = np.load(out)
        ids = list(arrays["video_id"])
    else:
        with safe_open(out, "np") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            ids = json.loads(file.metadata()["video_id"])
    assert arrays["features"].shape == (16, 32) and len(set(ids)) == 16
    assert list(arrays["label"]) == list(np.repeat(np.arange(8), 2))
    assert np.isfinite(arrays["features"]).all() and arrays["features"].std(axis=0).min() > 0
    assert features.main([*arguments[:1], "--cfg", str(run / "config.yaml"), *arguments[3:]]) == 0
    assert features.main([str(tmp_path / "x.csv"), *arguments[1:]]) == 2
    assert "allowed: .npz, .safetensors" in capsys.readouterr().err


def test_features_are_of_the_views_of_the_run_s_test(finished: tuple[Path, Path], tmp_path: Path) -> None:
    run, clips = finished
    listed = ["--run", str(run), "--list", "test", "--root", str(clips)]
    assert features.main([str(tmp_path / "f.npz"), *listed]) == 0
    found, model = np.load(tmp_path / "f.npz"), va.load(run)
    asked = [clips / name for name in found["video_id"]]
    np.testing.assert_allclose(found["features"], torch.stack(model.features(asked)), atol=1e-5)
    (tmp_path / "films.txt").write_text(str(asked[0]))
    listed = ["--run", str(run), "--list", str(tmp_path / "films.txt"), "--every-sec", "0.5"]
    assert features.main([str(tmp_path / "films"), *listed]) == 0
    at_a_stride = np.load(tmp_path / "films" / f"{asked[0].stem}.npy")
    np.testing.assert_allclose(at_a_stride, model.film_features(asked[0], every_sec=0.5).values, atol=1e-5)


def test_a_part_of_a_film(finished: tuple[Path, Path], capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    run, _ = finished
    film = write_video(tmp_path / "film.mp4", num_frames=50)
    assert demo.main([f"{film}#t=0.4,1.2", str(film), f"{film}#t=9", "--run", str(run), "--json"]) == 3
    shown = capsys.readouterr()
    part, whole, beyond = map(json.loads, shown.out.splitlines())
    assert part["video"] == f"{film}#t=0.4,1.2" and part["predictions"] != whole["predictions"]
    assert beyond["error"] == f"{film}: start_sec = 9: the film ends at 2.000 s" in shown.err
