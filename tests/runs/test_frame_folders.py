"""Folders of frames from a list to results.json: the numbers of the files that they were extracted from."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.media import write_video
from tests.toy_runs import assert_same_run, results, run, toy_config, write_config
from videoadapt.cli.prepare import main as prepare
from videoadapt.config.loading import load_config
from videoadapt.data.splits import Splits
from videoadapt.errors import ConfigError, DataListError
from videoadapt.inference.predictor import Predictor
from videoadapt.runs.lists import load_splits
from videoadapt.video.decoders import open_video

TEMPLATE = "img_{:05d}.png"
FRAMES = {"name": "frame_folder", "template": TEMPLATE, "fps_hz": 25.0}
COUNTED = ["path", "num_frames", "label"]


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four films of 30 frames, and beside each the folder of its frames."""
    root = tmp_path_factory.mktemp("films")
    for number in range(4):
        path = write_video(root / f"film {number}.mp4", num_frames=30, bframes=2)
        folder = root / path.stem
        folder.mkdir()
        with open_video(path) as film:
            for index, frame_HWC in enumerate(film, 1):
                Image.fromarray(frame_HWC).save(folder / TEMPLATE.format(index))
    return root


def config_of(folder: Path, films: Path, rows: str, **data: Any) -> dict[str, Any]:
    folder.mkdir(exist_ok=True)
    (folder / "list.txt").write_text(rows)
    lists = {
        "dataset": {"name": "video_list"},
        "train": f"{folder}/list.txt",
        "test": f"{folder}/list.txt",
        "classes": 2,
    }
    sampling = {"name": "dense", "stride_frames": 2, "fps_hz": 12.5}
    changes = lists | {"sampling": sampling, "short_side_px": 40} | data
    return toy_config(folder / "run", films, data=changes, train={"epochs": 1, "batch_size": 4})


@pytest.mark.slow
def test_a_run_on_folders_is_the_run_on_their_films(films: Path, tmp_path: Path) -> None:
    """Augmented training clips, test views, frames by time: to the bit; and the scores of `predict` afterwards."""
    of_files = config_of(tmp_path / "files", films, "".join(f"film {n}.mp4 {n % 2}\n" for n in range(4)))
    spaces = "".join(f"film {n} 30 {n % 2}\n" for n in range(4))
    of_folders = config_of(tmp_path / "folders", films, spaces, decoder=FRAMES, columns=COUNTED)
    for name, config in (("files", of_files), ("folders", of_folders)):
        run(write_config(tmp_path / f"{name}.yaml", config))
    assert_same_run(tmp_path / "files" / "run", tmp_path / "folders" / "run")
    with np.load(tmp_path / "folders" / "run" / "predictions.npz") as file:
        assert file["video_id"].tolist() == [f"film {n}" for n in range(4)]
    assert results(tmp_path / "folders" / "run")["num_damaged_videos"] == 0
    one, other = (Predictor.from_run(tmp_path / name / "run") for name in ("files", "folders"))
    assert one.predict(films / "film 0.mp4") == other.predict(films / "film 0") == other.predict([films / "film 0"])[0]


def splits(films: Path, folder: Path, rows: str, *overrides: str) -> Splits:
    (folder / "list.txt").write_text(rows)
    given = [f"data.root={films}", f"data.test={folder}/list.txt", "data.classes=2", "train.enable=false", *overrides]
    return load_splits(load_config("hmdb51_adapt", given))


def test_more_frames_than_a_folder_has_are_found_early(films: Path, tmp_path: Path) -> None:
    decoder, columns = f"data.decoder={json.dumps(FRAMES)}", "data.columns=[path, num_frames, label]"
    found = splits(films, tmp_path, "film 0 30 0\nfilm 1 29 1\n", decoder, columns).test
    assert list(found.ids()) == ["film 0", "film 1"] and found.parts_N2 is not None
    with pytest.raises(
        DataListError, match=r"1 row has other frames .* line 2: .*/film 1: num_frames = 31: there are 30"
    ):
        splits(films, tmp_path, "film 0 30 0\nfilm 1 31 1\n", decoder, columns)
    columns = "data.columns=[path, offset, num_frames, label]"
    found = splits(films, tmp_path, "film 0 0 10 0\nfilm 0 10 20 0\n", decoder, columns).test
    assert list(found.ids()) == ["film 0", "film 0#frame=10,30"]
    with pytest.raises(DataListError, match=r"num_frames = 21, after the offset of 10: there are 30 frames"):
        splits(films, tmp_path, "film 0 10 21 0\n", decoder, columns)


def test_folders_where_files_belong_and_the_other_way_round(films: Path, tmp_path: Path) -> None:
    with pytest.raises(
        DataListError, match=r"film 0 \(line 1\): is a folder; name a file, or set data\.decoder\.name frame_fol"
    ):
        splits(films, tmp_path, "film 0 0\n")
    with pytest.raises(
        DataListError, match=r"a number of frames stands before the label: data\.columns \[path,num_frames,la"
    ):
        splits(films, tmp_path, "film 0 30 0\n", "data.decoder={name: frame_folder}")
    with pytest.raises(
        DataListError, match=r"data\.columns \[path,num_frames,label\], or \[path,offset,num_frames,label\]"
    ):
        splits(films, tmp_path, "a 0 30 0\n", "data.decoder={name: frame_folder}")
    with pytest.raises(DataListError, match=r"film 0\.mp4 \(line 1\): is a file; name a folder"):
        splits(films, tmp_path, "film 0.mp4 0\n", "data.decoder={name: frame_folder}")
    with pytest.raises(ConfigError, match=r"data\.decoder\.template = 'img': expected the name of a frame"):
        splits(films, tmp_path, "film 0 0\n", "data.decoder={name: frame_folder, template: img}")


def test_folders_are_compared_as_files_are(films: Path, tmp_path: Path) -> None:
    """A folder under two names is one; what lies in them is part of the fingerprint of a test."""
    shutil.copytree(films / "film 0", tmp_path / "a")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    decoder = "data.decoder={name: frame_folder}"
    with pytest.raises(DataListError, match=r"'b' \(line 2, label 1\) is the same file as 'a'"):
        splits(tmp_path, tmp_path, "a 0\nb 1\n", decoder)
    found = splits(tmp_path, tmp_path, "a 0\n", decoder).test
    before = Splits.files_fingerprint(found)
    assert Splits.files_fingerprint(found) == before
    (tmp_path / "a" / TEMPLATE.format(30)).unlink()
    assert Splits.files_fingerprint(found) != before


def test_a_scan_of_folders(films: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    shutil.copytree(films, root)
    (root / "film 1" / TEMPLATE.format(7)).unlink()
    content = (root / "film 2" / TEMPLATE.format(30)).read_bytes()
    (root / "film 2" / TEMPLATE.format(30)).write_bytes(content[:-40])
    shutil.copytree(root / "film 0", root / "copy")
    rows = "".join(f"{name} {count} 0\n" for name, count in
                   [("film 0", 30), ("film 1", 30), ("film 2", 30), ("film 3", 31), ("copy", 30), ("film 3", 5)])  # fmt: skip
    (tmp_path / "list.txt").write_text(rows)
    arguments = ["--list", f"{tmp_path}/list.txt", "--root", str(root), "--out", str(tmp_path), "--jobs", "1"]
    more = ["--columns", "path,num_frames,label", "--decoder", "{name: frame_folder, fps_hz: 25}", "--min-frames", "6"]
    assert prepare(["scan", *arguments, *more]) == 3
    report = json.loads((tmp_path / "report.json").read_text())["rows"]
    assert [row["faults"] for row in report] == [[], ["unreadable"], ["unreadable"], ["part"], ["copy"], ["short"]]
    assert "img_00007.png is missing" in report[1]["reason"] and "img_00030.png" in report[2]["reason"]
    assert report[0]["frames"] == 30 and report[0]["fps_hz"] == 25 and report[0]["wrong"] == ""
    assert (tmp_path / "clean.csv").read_text() == "path,offset,num_frames,label\nfilm 0,0,30,0\n"
