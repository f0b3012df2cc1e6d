"""A list given to a command of a run whose lists have columns that the config names: read as these, or by its own rows."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.media import write_video
from tests.toy_runs import toy_config, write_config
from videoadapt.cli import demo, features, inspect, train, unknown
from videoadapt.config.loading import check_config
from videoadapt.config.schema import DataConfig
from videoadapt.errors import ConfigError, DataListError
from videoadapt.export.quantised import videos_of_test
from videoadapt.inference.sources import videos_listed
from videoadapt.runs.given_lists import load_given

COLUMNS = ["path", "start_sec", "end_sec", "label"]
OWN, PLAIN, HEADED = "a.mp4,0,1,0\nb.mp4,1,2,1\n", "a.mp4 0\nb.mp4 1\n", "path,label\na.mp4,0\nb.mp4,1\n"
NAMES = {OWN: ["a.mp4#t=0,1", "b.mp4#t=1,2"], PLAIN: ["a.mp4", "b.mp4"], HEADED: ["a.mp4", "b.mp4"]}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("given")
    for name in "ab":
        write_video(folder / f"{name}.mp4", num_frames=50)
    (folder / "train.csv").write_text(OWN)
    lists = {"dataset": {"name": "video_list"}, "train": f"{folder}/train.csv", "classes": 2, "columns": COLUMNS}
    changes = {"train": {"epochs": 1, "batch_size": 2}, "test": {"enable": False, "clips": 1, "crops": 1}}
    config = toy_config(folder / "run", folder, data=lists, **changes)
    assert train.main(["--cfg", str(write_config(folder / "c.yaml", config))]) == 0
    return folder / "run"


@pytest.mark.parametrize("rows", NAMES, ids=["the run's columns", "plain", "columns of its own"])
def test_commands_of_a_run_read_its_columns(
    rows: str, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "l.csv").write_text(rows)
    given, names = ["--list", str(tmp_path / "l.csv"), "--root", str(run.parent)], NAMES[rows]
    capsys.readouterr()
    assert demo.main([*given, "--run", str(run), "--json"]) == 0
    said = [json.loads(line)["video"] for line in capsys.readouterr().out.splitlines()]
    assert said == [f"{run.parent}/{name}" for name in names]
    assert features.main([str(tmp_path / "f.npz"), *given, "--run", str(run)]) == 0
    assert list(np.load(tmp_path / "f.npz")["video_id"]) == names
    assert features.main([str(tmp_path / "films"), *given, "--run", str(run), "--every-sec", "0.5"]) == 0
    stems = [name.replace(".mp4", "") for name in names]
    assert list(json.loads((tmp_path / "films/features.json").read_text())["films"]) == stems
    assert unknown.main([str(run), "--known", given[1], "--unknown", given[1], "--no-training"]) == 0
    record = json.loads((run / "unknown.json").read_text())
    assert record["known"] == record["unknown"] == said
    assert inspect.main([str(run), *given, "--out", str(tmp_path)]) == 0


def data(folder: Path, columns: list[str]) -> DataConfig:
    for name in "ab":
        (folder / f"{name}.mp4").write_bytes(name.encode())
    return check_config({"output": "x", "data": {"columns": columns, "root": str(folder)}}).data


@pytest.mark.parametrize("rows", NAMES, ids=["the run's columns", "plain", "columns of its own"])
def test_an_export_reads_the_run_s_columns(rows: str, tmp_path: Path) -> None:
    (tmp_path / "l.csv").write_text(rows)
    config = check_config({"output": "x"}).model_copy(update={"data": data(tmp_path, COLUMNS)})
    assert [video.id for video in videos_of_test(config, 2, tmp_path / "l.csv", tmp_path)] == NAMES[rows]


def test_numbers_of_frames_stay_with_their_videos(tmp_path: Path) -> None:
    """Also where a video begins at its first frame, and is called by its name alone elsewhere."""
    (tmp_path / "l.csv").write_text("a.mp4 30 0\nb.mp4 20 1\n")
    of_frames = data(tmp_path, ["path", "num_frames", "label"])
    names = [tmp_path / "a.mp4#frame=0,30", tmp_path / "b.mp4#frame=0,20"]
    assert videos_listed(tmp_path / "l.csv", tmp_path, of_frames) == names
    (tmp_path / "l.csv").write_text("path,offset,num_frames,label\na.mp4,5,,0\nb.mp4,,20,1\na.mp4,,,0\n")
    names = [tmp_path / name for name in ("a.mp4#frame=5,inf", "b.mp4#frame=0,20", "a.mp4")]
    assert videos_listed(tmp_path / "l.csv", tmp_path, of_frames) == names


def test_rows_that_fit_nothing_are_told_in_a_line(tmp_path: Path) -> None:
    path, of = tmp_path / "l.csv", data(tmp_path, COLUMNS)
    path.write_text("a.mp4,0,1\nb.mp4,1,2\n")
    own = (
        r"line 1: 'a\.mp4,0,1': 3 values; expected 4, of columns path,start_sec,end_sec,label; correct the rows, or --"
    )
    with pytest.raises(DataListError, match=f"no row is of the run's columns .*, first {own}root$"):
        videos_listed(path, tmp_path, of)
    with pytest.raises(DataListError, match=r"not `path label`.* own lists have the columns path,start_sec,end_sec,la"):
        load_given(str(path), tmp_path, of)
    path.write_text(OWN + "a.mp4,2,1,0\n")
    for read in (lambda: videos_listed(path, tmp_path, of), lambda: load_given(str(path), tmp_path, of)):
        with pytest.raises(DataListError, match=r"1 row cannot be used, first line 3: .*: end_sec = 1: allowed: above"):
            read()
    path.write_text("a.mp4\nnowhere.mp4\n")
    assert videos_listed(path, tmp_path, of) == [tmp_path / "a.mp4", tmp_path / "nowhere.mp4"]
    with pytest.raises(ConfigError, match=r"data\.columns = \['label'\]: each once at most"):
        videos_listed(path, tmp_path, data(tmp_path, ["label"]))
