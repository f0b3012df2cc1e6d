"""Images from their files to a prediction: class folders and lists, the command line and Python, and real digits."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.media import write_video
from tests.toy_runs import results, toy_config, write_config
from videoadapt.cli import demo, train
from videoadapt.cli.prepare import main as prepare
from videoadapt.config.loading import load_config
from videoadapt.data.datasets.class_folders import ClassFolders
from videoadapt.data.datasets.digits import Digits
from videoadapt.errors import ConfigError, DataListError, DecodeError
from videoadapt.inference.predictor import Predictor

ONE_FRAME = {"num_frames": 1, "sampling": {"name": "dense", "stride_frames": 1}, "crop_px": 32}
AS_IMAGES = {"decoder": {"name": "image"}, "resize": "bicubic", "resize_px": 37, **ONE_FRAME}


def coloured(path: Path, level: int, seed: int) -> Path:
    """A picture that is mostly red, or mostly blue."""
    rng = np.random.default_rng(seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = rng.integers(0, 120, (40, 48, 3), dtype=np.uint8)
    pixels[..., level] += 120
    Image.fromarray(pixels).save(path, quality=95)
    return path


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("pictures") / "images"
    for number in range(40):
        ending = ("jpg", "png", "webp", "bmp")[number % 4]
        coloured(root / ("red", "blue")[number % 2] / f"{number}.{ending}", 2 * (number % 2), number)
    return root


def config_of(output: Path, root: Path, **data: Any) -> dict[str, Any]:
    dataset = {
        "dataset": {"name": "class_folders", "files": "images", "val": 0.0},
        "augment": {"crop": "random_clipped"},
    }
    return toy_config(
        output, root, data=AS_IMAGES | dataset | data,
        model={
            "backbone": {
                "name": "vit", "size": "tiny", "width": 32, "depth": 2, "num_heads": 2, "patch_px": 16, "tubelet_frames": 1,
            }
        },
        train={"epochs": 8, "batch_size": 8}, test={"clips": 1, "crops": 1},
    )  # fmt: skip


@pytest.fixture(scope="module")
def finished(folders: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("run") / "run"
    assert train.main(["--cfg", str(write_config(output.with_suffix(".yaml"), config_of(output, folders)))]) == 0
    return output


def test_class_folders_of_images_are_learned(finished: Path) -> None:
    found = results(finished)
    assert found["num_videos"] == 8 and found["top1"] == 100.0 and found["num_damaged_videos"] == 0
    assert (finished / "classes.txt").read_text() == "blue\nred\n"


def test_the_demo_on_a_picture(finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = [coloured(tmp_path / "picture.jpg", 0, 99), write_video(tmp_path / "film.mp4")]
    assert demo.main([*map(str, paths), "--run", str(finished), "--json", "--device", "cpu"]) == 3
    shown = capsys.readouterr()
    picture, film = map(json.loads, shown.out.splitlines())
    assert picture["predictions"][0]["name"] == "red" and picture["damaged_frames"] == 0
    assert demo.main([str(tmp_path), "--run", str(finished), "--json", "--device", "cpu"]) == 0  # the folder's pictures
    assert capsys.readouterr().out.count("picture.jpg") == 1
    assert film["error"].endswith(
        "film.mp4: is no picture in JPEG, PNG, WEBP, BMP; copy it again, or convert it to PNG"
    )


def test_python_takes_a_file_a_picture_in_memory_or_several(finished: Path, tmp_path: Path) -> None:
    path = coloured(tmp_path / "a.png", 2, 99)
    pixels_HWC = np.asarray(Image.open(path))
    predictor = Predictor.from_run(finished, "cpu")
    best = predictor.predict(path)
    assert best[0].name == "blue"
    assert predictor.predict(pixels_HWC) == predictor.predict(pixels_HWC[None]) == best
    assert predictor.predict([path, pixels_HWC]) == [best, best]
    with pytest.raises(ConfigError, match=r"frames of shape \(40, 48\); .*, or one picture, \(H, W, 3\)"):
        predictor.predict(pixels_HWC[..., 0])
    with pytest.raises(ConfigError, match="video: 2 frames; this model looks at one picture, and several are a list"):
        predictor.predict(np.stack([pixels_HWC] * 2))
    with pytest.raises(DecodeError, match="No such file"):
        predictor.predict([path, tmp_path / "none.jpg"])


def test_where_the_model_looked_in_a_picture(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = coloured(tmp_path / "a.png", 2, 99)
    predictor = Predictor.from_run(finished, "cpu")
    of_file, of_pixels = predictor.explain(path), predictor.explain(np.asarray(Image.open(path)))
    assert np.array_equal(of_file.maps_NJTHW, of_pixels.maps_NJTHW)
    assert of_file.seconds_NT is None and not of_file.frames_NT.any()
    monkeypatch.chdir(tmp_path)
    assert demo.main([str(path), "--run", str(finished), "--explain", "--device", "cpu"]) == 0
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.png", "a_explained.png"]
    assert capsys.readouterr().err.endswith("a_explained.png: written\n")


def test_lists_of_images_are_lists(finished: Path, folders: Path, tmp_path: Path) -> None:
    """The same files, named by lists that `prepare folder` writes: to the bit the run on class folders."""
    assert prepare(["folder", str(folders), "--out", str(tmp_path), "--val", "0", "--files", "images"]) == 0
    lists = {split: str(tmp_path / f"{split}.csv") for split in ("train", "test")}
    as_list = config_of(
        tmp_path / "list", folders, dataset={"name": "video_list"}, classes=str(tmp_path / "classes.txt"), **lists
    )
    assert train.main(["--cfg", str(write_config(tmp_path / "run.yaml", as_list))]) == 0
    scores = [np.load(folder / "predictions.npz")["view_logits"] for folder in (tmp_path / "list", finished)]
    assert np.array_equal(*scores)


def test_folders_of_the_other_kind_are_told_apart(folders: Path, tmp_path: Path) -> None:
    with pytest.raises(
        DataListError, match=r"blue: holds images; take --cfg own_images, or set data\.dataset\.files images in a"
    ):
        ClassFolders(lists=str(tmp_path / "lists")).load("train", folders)
    for name in ("a/1.mp4", "b/1.mp4"):
        (tmp_path / "films" / name).parent.mkdir(parents=True)
        (tmp_path / "films" / name).write_bytes(b"1")
    with pytest.raises(DataListError, match=r"a: holds videos; take --cfg own_videos, or set data\.dataset\.f"):
        ClassFolders(files="images").load("train", tmp_path / "films")


def test_each_own_config_names_the_other(folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And those that are named exist."""
    (films := tmp_path / "films").mkdir()
    for name in "ab":
        (films / name).mkdir()
        (films / name / "1.mp4").write_bytes(b"1")
    for config, root, other in (("own_videos", folders, "own_images"), ("own_images", films, "own_videos")):
        places = [f"data.root={root}", f"data.dataset.lists={tmp_path / 'lists'}", f"output={tmp_path / config}"]
        assert train.main(["--cfg", config, *places]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert f"take --cfg {other}, or" in line
        load_config(other)


@pytest.mark.slow
def test_the_digits_are_scikit_learns(tmp_path: Path) -> None:
    from sklearn.datasets import load_digits

    truth = load_digits()
    sizes = {"train": 1000, "val": 197, "test": 600}
    seen = []
    for split, size in sizes.items():
        dataset = Digits()
        rows = dataset.load(split, tmp_path)
        assert len(rows) == size and dataset.class_names == [*"0123456789"]
        for video in rows:
            index = int(video.path.stem)
            assert video.label == truth.target[index] and video.path.parent.name == str(video.label)
            seen.append(index)
            if index % 50 == 0:
                pixels_HW = np.asarray(Image.open(video.path)).astype(float)
                assert np.array_equal(np.rint(pixels_HW / 255 * 16), truth.images[index])
    assert sorted(seen) == list(range(1797))
    with pytest.raises(DataListError, match="valid: the digits have no such split; did you mean 'val'"):
        Digits().load("valid", tmp_path)
