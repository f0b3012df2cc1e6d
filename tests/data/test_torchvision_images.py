"""Published sets of images: files in their own formats, read by torchvision's classes, never downloaded."""

import hashlib
import io
import json
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torchvision.datasets
from PIL import Image
from scipy.io import savemat

from tests.toy_runs import results, toy_config, write_config
from videoadapt.cli import train
from videoadapt.config.loading import load_config
from videoadapt.data.datasets.torchvision import TorchvisionImages
from videoadapt.errors import ConfigError, DataListError
from videoadapt.runs.inputs import find_problems
from videoadapt.runs.lists import load_splits

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (12, 32, 32, 3), dtype=np.uint8)


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


def write_cifar100(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As cifar-100-python.tar.gz has them: rows of 1024 red, green and blue values, in pickles of another protocol."""
    folder = root / "cifar-100-python"
    folder.mkdir(parents=True)
    rows = PIXELS.transpose(0, 3, 1, 2).reshape(12, -1)
    for name, part in (("train", slice(0, 8)), ("test", slice(8, 12))):
        labels = [index % 100 for index in range(part.start, part.stop)]
        content = {"data": rows[part], "fine_labels": labels, "coarse_labels": [0] * len(labels), "filenames": []}
        (folder / name).write_bytes(pickle.dumps(content, protocol=2))
    (folder / "meta").write_bytes(pickle.dumps({"fine_label_names": [f"class {n}" for n in range(100)]}, protocol=2))
    monkeypatch.setattr(torchvision.datasets.CIFAR100, "train_list", [["train", md5(folder / "train")]])
    monkeypatch.setattr(torchvision.datasets.CIFAR100, "test_list", [["test", md5(folder / "test")]])
    meta = {"filename": "meta", "key": "fine_label_names", "md5": md5(folder / "meta")}
    monkeypatch.setattr(torchvision.datasets.CIFAR100, "meta", meta)


def write_cifar10(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As cifar-10-python.tar.gz has them: pickles of Python 2, whose texts are bytes, in five batches and one to test."""
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    rows = PIXELS.transpose(0, 3, 1, 2).reshape(12, -1)
    parts = {f"data_batch_{n}": slice(2 * n - 2, 2 * n) for n in range(1, 6)} | {"test_batch": slice(10, 12)}
    for name, part in parts.items():
        labels = [index * 7 % 10 for index in range(part.start, part.stop)]
        files = [f"image_{index}.png".encode() for index in range(part.start, part.stop)]
        content = {b"batch_label": name.encode(), b"labels": labels, b"data": rows[part], b"filenames": files}
        (folder / name).write_bytes(_as_python_2(content))
    names = b"airplane automobile bird cat deer dog frog horse ship truck".split()
    meta = {b"num_cases_per_batch": 10000, b"label_names": names, b"num_vis": 3072}
    (folder / "batches.meta").write_bytes(_as_python_2(meta))
    sums = [[name, md5(folder / name)] for name in parts]
    monkeypatch.setattr(torchvision.datasets.CIFAR10, "train_list", sums[:5])
    monkeypatch.setattr(torchvision.datasets.CIFAR10, "test_list", sums[5:])
    about = {"filename": "batches.meta", "key": "label_names", "md5": md5(folder / "batches.meta")}
    monkeypatch.setattr(torchvision.datasets.CIFAR10, "meta", about)


def _as_python_2(content: Any) -> bytes:
    """A pickle whose bytes are Python 2's `str`, which a reader has to name an encoding for (latin1)."""
    file = io.BytesIO()
    pickler = pickle._Pickler(file, protocol=2)
    pickler.dispatch = pickle._Pickler.dispatch | {bytes: _save_str}
    pickler.dump(content)
    return file.getvalue()


def _save_str(pickler: Any, text: bytes) -> None:
    short = len(text) < 256
    pickler.write(
        (pickle.SHORT_BINSTRING + bytes([len(text)]) if short else pickle.BINSTRING + struct.pack("<i", len(text)))
        + text
    )
    pickler.memoize(text)


def write_svhn(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Images along the last axis, and 10 for the digit 0."""
    root.mkdir(parents=True, exist_ok=True)
    sums = {}
    for name, part in (("train", slice(0, 8)), ("test", slice(8, 12))):
        labels = np.array([index % 10 or 10 for index in range(part.start, part.stop)], np.uint8)[:, None]
        savemat(root / f"{name}_32x32.mat", {"X": PIXELS[part].transpose(1, 2, 3, 0), "y": labels})
        sums[name] = ["", f"{name}_32x32.mat", md5(root / f"{name}_32x32.mat")]
    monkeypatch.setattr(torchvision.datasets.SVHN, "split_list", sums)


def write_food101(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    meta = root / "food-101" / "meta"
    meta.mkdir(parents=True)
    splits = {"train": {"waffles": ["waffles/7", "waffles/3"], "apple_pie": ["apple_pie/1"]},
              "test": {"waffles": ["waffles/9"], "apple_pie": ["apple_pie/4"]}}  # fmt: skip
    for split, classes in splits.items():
        (meta / f"{split}.json").write_text(json.dumps(classes))
        for index, name in enumerate(name for names in classes.values() for name in names):
            path = root / "food-101" / "images" / f"{name}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(PIXELS[index]).save(path)


def write_flowers102(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = root / "flowers-102"
    (folder / "jpg").mkdir(parents=True)
    savemat(folder / "imagelabels.mat", {"labels": np.array([77, 1, 102, 5, 9, 9], np.uint8)})
    savemat(folder / "setid.mat", {"trnid": [[3, 6]], "valid": [[1, 2]], "tstid": [[5, 4]]})
    for index in range(1, 7):
        Image.fromarray(PIXELS[index]).save(folder / "jpg" / f"image_{index:05d}.jpg")
    files = {kind: (name, md5(folder / name)) for kind, name in (("label", "imagelabels.mat"), ("setid", "setid.mat"))}
    monkeypatch.setattr(torchvision.datasets.Flowers102, "_file_dict", files)


WRITE = {
    "cifar10": write_cifar10,
    "cifar100": write_cifar100,
    "svhn": write_svhn,
    "food101": write_food101,
    "flowers102": write_flowers102,
}


@pytest.mark.parametrize(("name", "cls", "arguments"), [
    ("cifar10", "CIFAR10", [("train", {"train": True}), ("test", {"train": False})]),
    ("cifar100", "CIFAR100", [("train", {"train": True}), ("test", {"train": False})]),
    ("svhn", "SVHN", [("train", {"split": "train"}), ("test", {"split": "test"})]),
    ("food101", "Food101", [("train", {"split": "train"}), ("test", {"split": "test"})]),
    ("flowers102", "Flowers102", [(split, {"split": split}) for split in ("train", "val", "test")]),
])  # fmt: skip
def test_images_labels_and_order_are_torchvisions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, cls: str, arguments: list[tuple[str, dict[str, Any]]]
) -> None:
    """Twice, for what is written at the first look is read at the second."""
    WRITE[name](tmp_path, monkeypatch)
    for split, given in [*arguments, *arguments]:
        theirs = getattr(torchvision.datasets, cls)(tmp_path, **given)
        dataset = TorchvisionImages(images=name)
        rows = dataset.load(split, tmp_path)
        assert dataset.class_names == list(getattr(theirs, "classes", [*"0123456789"]))
        assert len(rows) == len(theirs)
        for video, (picture, label) in zip(rows, theirs, strict=True):
            assert video.label == label and np.array_equal(np.asarray(Image.open(video.path)), np.asarray(picture))
    assert not list(tmp_path.glob("pictures/*partial*"))


def test_a_run_on_a_published_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From SVHN's files to results, by the way that a user takes; and where to get what is not there."""
    write_svhn(tmp_path / "svhn", monkeypatch)
    data = {
        "dataset": {"name": "torchvision", "images": "svhn"}, "decoder": {"name": "image"}, "num_frames": 2,
        "sampling": {"name": "dense", "stride_frames": 1}, "resize": "bicubic", "obtain": "its home page",
    }  # fmt: skip
    config = toy_config(
        tmp_path / "run",
        tmp_path / "svhn",
        data=data,
        train={"epochs": 1, "batch_size": 4},
        test={"clips": 1, "crops": 1},
    )
    assert train.main(["--cfg", str(write_config(tmp_path / "c.yaml", config))]) == 0
    assert results(tmp_path / "run")["num_videos"] == 4
    with pytest.raises(
        DataListError, match=r"data\.test = test: of svhn in .*not there; place it there\n +where to get it: its h"
    ):
        load_splits(load_config(tmp_path / "c.yaml", [f"data.root={tmp_path}", "train.enable=false"]))


@pytest.mark.parametrize("name", ["svhn", "digits"])
def test_what_needs_no_image_is_said_before_one_is_written(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what was written is read, though nothing is wrong with it then."""
    write_svhn(tmp_path / "images", monkeypatch)
    dataset = {"name": "digits"} if name == "digits" else {"name": "torchvision", "images": name}
    data = {
        "dataset": dataset, "decoder": {"name": "image"}, "num_frames": 2,
        "sampling": {"name": "dense", "stride_frames": 1}, "resize": "bicubic",
    }  # fmt: skip
    train = {"epochs": 1, "batch_size": 4}
    root = tmp_path / "images"
    toy = toy_config(tmp_path / "run", root, data=data, train=train, test={"clips": 1, "crops": 1})
    for wrong, said in (
        ("train.batch_size=4000", "videos"),
        ("model.weights=nowhere.pth", "there is no such file"),
        ("model.backbone.num_heads=5", "num_heads = 5"),
        ("data.test=tset", "did you mean 'test'"),
        ("data.test={a: test, b: {list: tset}}", "did you mean 'test'"),
    ):
        found = find_problems(load_config(write_config(tmp_path / "c.yaml", toy), [wrong]))[1]
        assert len(found) == 1 and said in found[0], found
        assert not list(root.rglob("*.png")), wrong
    for _ in range(2):
        splits, found = find_problems(load_config(tmp_path / "c.yaml"))
        assert splits is not None and not found
        assert all(image.path.is_file() for image in [*splits.train, *splits.test])
        assert len(splits.test) == (600 if name == "digits" else 4)


@pytest.mark.parametrize("name", WRITE)
def test_what_is_not_there_is_named(tmp_path: Path, name: str) -> None:
    needed = {"cifar10": "cifar-10-batches-py/data_batch_5", "cifar100": "cifar-100-python/train", "svhn": "train_32x32.mat",
              "food101": "food-101/meta/train.json", "flowers102": "flowers-102/setid.mat"}  # fmt: skip
    with pytest.raises(DataListError) as error:
        TorchvisionImages(images=name).load("train", tmp_path)
    said = str(error.value)
    assert said.startswith(f"train: of {name} in data.root {tmp_path}: ") and needed[name] in said
    assert "not there; place it there" in said and "\n" not in said and "http" not in said


def test_files_that_are_not_the_published_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_svhn(tmp_path, monkeypatch)
    with open(tmp_path / "train_32x32.mat", "ab") as file:
        file.write(b"more")
    with pytest.raises(
        DataListError, match=r"train_32x32\.mat not as published \(torchvision: Dataset not found or cor"
    ):
        TorchvisionImages(images="svhn").load("train", tmp_path)
    assert len(TorchvisionImages(images="svhn").load("test", tmp_path)) == 4
    with pytest.raises(DataListError, match="val: svhn has no such split; allowed: extra, test, train"):
        TorchvisionImages(images="svhn").load("val", tmp_path)
    with pytest.raises(ConfigError, match="images = 'mnist'"):
        TorchvisionImages(images="mnist")  # type: ignore[arg-type]
