"""Features of films at a stride: those of the windows, at the times that their description says."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.media import write_video
from tests.toy_runs import toy_config, write_config
from videoadapt.cli import features, train
from videoadapt.inference.predictor import Predictor


@pytest.fixture(scope="module")
def run(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("film_features")
    config = toy_config(folder / "run", clips, train={"epochs": 1}, test={"enable": False, "clips": 1, "crops": 1})
    assert train.main(["--cfg", str(write_config(folder / "c.yaml", config))]) == 0
    return folder / "run"


def test_each_is_of_its_window(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    film = write_video(tmp_path / "film.mp4", num_frames=50, fps_hz=12)
    (tmp_path / "x.mp4").write_bytes(b"nothing")
    (tmp_path / "list.txt").write_text("film.mp4 0\nx.mp4 1\n")
    call = ["--run", str(run), "--list", str(tmp_path / "list.txt"), "--root", str(tmp_path), "--every-sec", "0.5"]
    assert features.main([str(tmp_path / "out"), *call]) == 3
    assert "x.mp4" in capsys.readouterr().err
    found_TC = np.load(tmp_path / "out/film.npy")
    said = json.loads((tmp_path / "out/features.json").read_text())
    assert said["feat_dim"] == 32 and list(said["films"]) == ["film"]
    one = said["films"]["film"]
    assert (one["fps"], one["num_frames"], one["num_features"]) == (12, 50, 8)
    assert (one["feat_stride"], one["feat_num_frames"]) == (6, 8)  # 0.5 s; 4 frames at stride 2
    assert found_TC.shape == (8, 32) and found_TC.dtype == np.float32
    predictor = Predictor.from_run(run, "cpu")
    for t, feature_C in enumerate(found_TC):
        start_sec = t * one["feat_stride"] / one["fps"]
        end_sec = start_sec + one["feat_num_frames"] / one["fps"]
        alone_C = predictor.features(film, start_sec=start_sec, end_sec=end_sec)
        np.testing.assert_allclose(feature_C, alone_C.numpy(), rtol=0, atol=1e-5)
    assert np.ptp(found_TC, axis=0).max() > 1e-3


def test_two_films_of_one_name_are_refused(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "list.txt").write_text("a/x.mp4\nb/x.mp4\n")
    call = ["--run", str(run), "--list", str(tmp_path / "list.txt"), "--every-sec", "0.5"]
    assert features.main([str(tmp_path / "out"), *call]) == 2
    assert "two films are called x" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        features.main(["out.npz", "--run", str(run), "--list", "l", "--window-sec", "1"])
    assert "goes with --every-sec" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--clips", "0"], "--clips = 0: allowed: 1 to 1000"),
        (["--clips", "1001"], "--clips = 1001: allowed: 1 to 1000"),
        (["--crops", "101"], "--crops = 101: allowed: 1 to 100"),
        (["--every-sec", "1", "--crops", "101"], "--crops = 101: allowed: 1 to 100"),
        (["--every-sec", "nan"], "every_sec = nan: allowed: 0.001 or more"),
        (["--every-sec", "1", "--window-sec", "0"], "window_sec = 0.0: allowed: 0.001 or more"),
    ],
)
def test_views_that_no_test_has_are_refused_first(
    options: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert features.main([str(tmp_path / "out.npz"), "--run", "no run", "--list", "no list", *options]) == 2
    assert capsys.readouterr().err == f"error: {said}\n"


def test_the_list_is_not_written_over(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("features.json", "x.npy"):
        listed = tmp_path / name
        listed.write_text("x.mp4\n")
        call = [str(tmp_path), "--run", str(run), "--list", str(listed), "--every-sec", "0.5"]
        assert features.main(call) == 2
        assert f"OUT {listed}: is read by this command" in capsys.readouterr().err
        assert listed.read_text() == "x.mp4\n"
        listed.unlink()
