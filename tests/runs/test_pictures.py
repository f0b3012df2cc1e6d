"""The files a user looks at: numbers are checked by hand, pictures by what their pixels must show."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.image import imread

from videoadapt.runs.confusion import confusion_matrix, plot_confusion, write_per_class
from videoadapt.runs.curves import plot_curves


def read_png(path: Path) -> np.ndarray:
    assert path.read_bytes().startswith(b"\x89PNG")
    return np.asarray(imread(path))[..., :3]


def share_of_dark_blue(picture_HWC: np.ndarray) -> float:
    """Share of pixels in the colour of a full cell (the colour bar adds a little)."""
    return float((np.abs(picture_HWC - np.array([8, 48, 107]) / 255).max(axis=-1) < 0.02).mean())


def records(steps: int, val_every: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for step in range(1, steps + 1):
        found.append({"kind": "train", "step": step, "epoch": step / 10, "loss": 2 / step, "top1": 50.0, "lr": 0.1})
        if val_every and step % val_every == 0:
            found.append({"kind": "val", "step": step, "top1": 60.0 + step / 100, "top5": 90.0})
    return found


def test_confusion_rows_are_true_classes_without_unreadable() -> None:
    labels_N, predicted_N = np.array([0, 0, 0, 1, 2]), np.array([0, 1, 1, -1, 0])
    assert confusion_matrix(labels_N, predicted_N, 3).tolist() == [[1, 2, 0], [0, 0, 0], [1, 0, 0]]


def test_confusion_picture_is_normalised_by_row(tmp_path: Path) -> None:
    labels_N = np.repeat([0, 1], [1, 99])  # a row of one video must look as full as a row of 99
    plot_confusion(labels_N, labels_N, ["rare", "common"], tmp_path / "right.png")
    plot_confusion(labels_N, np.where(np.arange(100) % 2, labels_N, -1), ["rare", "common"], tmp_path / "half.png")
    full, half = (share_of_dark_blue(read_png(tmp_path / name)) for name in ("right.png", "half.png"))
    assert 0.2 < full < 0.5
    assert half < 0.02  # unreadable videos count in the row's total


@pytest.mark.parametrize("num_classes", [2, 51, 400])
def test_confusion_picture_fits_any_number_of_classes(num_classes: int, tmp_path: Path) -> None:
    labels_N = np.arange(num_classes)
    names = [f"Pretending to put something {'very ' * 10}behind something {k}" for k in range(num_classes)]
    plot_confusion(labels_N, labels_N[::-1].copy(), names, tmp_path / "confusion.png")
    height, width, _ = read_png(tmp_path / "confusion.png").shape
    assert 500 < height < 3300 and 500 < width < 3300
    assert [p.name for p in tmp_path.iterdir()] == ["confusion.png"]


def test_confusion_picture_survives_a_test_without_videos(tmp_path: Path) -> None:
    nothing = np.zeros(0, dtype=np.int64)
    plot_confusion(nothing, nothing, ["a", "b"], tmp_path / "confusion.png")
    assert share_of_dark_blue(read_png(tmp_path / "confusion.png")) < 0.02


def test_per_class_numbers_by_hand(tmp_path: Path) -> None:
    names = ["run", "jump, high", "sit", "stand", "wave", "clap", "never"]
    labels_N = np.array([0, 0, 0, 0, 1, 1, 1, 2, 3])
    predicted_N = np.array([0, 1, 1, 2, 1, 1, -1, 2, 5])
    ranks_N = np.array([0, 1, 4, 5, 0, 0, 7, 0, 6])
    write_per_class(labels_N, predicted_N, ranks_N, names, tmp_path / "per_class.csv")
    with (tmp_path / "per_class.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    assert rows == [
        ["class", "videos", "top1", "top5", "most_confused_with", "confused"],
        ["run", "4", "25.00", "75.00", "jump, high", "50.00"],
        ["jump, high", "3", "66.67", "66.67", "", ""],
        ["sit", "1", "100.00", "100.00", "", ""],
        ["stand", "1", "0.00", "0.00", "clap", "100.00"],
        ["wave", "0", "", "", "", ""],
        ["clap", "0", "", "", "", ""],
        ["never", "0", "", "", "", ""],
    ]


def test_an_unreadable_video_is_wrong_with_three_classes(tmp_path: Path) -> None:
    write_per_class(np.array([0, 1]), np.array([-1, 1]), np.array([3, 0]), ["a", "b", "c"], tmp_path / "per_class.csv")
    rows = (tmp_path / "per_class.csv").read_text(encoding="utf-8").splitlines()
    assert rows[1:] == ["a,1,0.00,0.00,,", "b,1,100.00,100.00,,", "c,0,,,,"]


@pytest.mark.parametrize("metrics", [[], records(3, 0), records(300, 50)], ids=["empty", "no val", "long"])
def test_curves_are_drawn_for_any_run(metrics: list[dict[str, Any]], tmp_path: Path) -> None:
    plot_curves(metrics, tmp_path / "run" / "curves.png")
    picture_HWC = read_png(tmp_path / "run" / "curves.png")
    orange = (np.abs(picture_HWC - np.array([0xD9, 0x64, 0x1E]) / 255).max(axis=-1) < 0.05).sum()
    assert (orange > 50) == any(record["kind"] == "val" for record in metrics)


def test_the_loss_of_validation_is_drawn_where_there_is_one(tmp_path: Path) -> None:
    metrics = records(300, 50)
    with_loss = [{**record, "loss": 0.5} if record["kind"] == "val" else record for record in metrics]
    orange = []
    for name, drawn in {"without": metrics, "with": with_loss}.items():
        plot_curves(drawn, tmp_path / f"{name}.png")
        left_HWC = read_png(tmp_path / f"{name}.png")[:, :600]
        orange.append((np.abs(left_HWC - np.array([0xD9, 0x64, 0x1E]) / 255).max(axis=-1) < 0.05).sum())
    assert orange[0] == 0 and orange[1] > 50


def test_a_record_without_its_numbers_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(KeyError, match="loss"):
        plot_curves([{"kind": "train", "step": 1, "top1": 1.0, "lr": 0.1}], tmp_path / "curves.png")
    assert not (tmp_path / "curves.png").exists()


def test_skipped_updates_and_runs_without_labels_are_drawn(tmp_path: Path) -> None:
    labelled = [{"kind": "train", "step": n, "loss": 1.0, "top1": 50.0, "lr": 0.1} for n in (1, 3)]
    skipped = {"kind": "train", "step": 2, "lr": 0.1, "skipped": 1.0}
    plot_curves([labelled[0], skipped, labelled[1]], tmp_path / "labelled.png")
    plot_curves([{k: v for k, v in record.items() if k != "top1"} for record in labelled], tmp_path / "masked.png")

    def frames(name: str) -> int:  # the vertical lines on the left of each part
        dark_W = (read_png(tmp_path / f"{name}.png") < 0.5).all(axis=-1).mean(axis=0) > 0.5
        return int(np.diff(dark_W.astype(int), prepend=0).clip(0).sum())

    assert (frames("labelled"), frames("masked")) == (3, 2)
