"""`prepare_data.py folder`: class folders to lists, always the same ones."""

import random
from collections import Counter
from pathlib import Path

import pytest

from tests.media import write_video
from videoadapt.cli import prepare
from videoadapt.data.datasets.video_list import VideoList
from videoadapt.data.division import divide
from videoadapt.data.structures import Video

NAMES = [
    f"{name}/v_{name}_g{group:02}_c{clip}.mp4"
    for name in ("run", "jump high")
    for group in range(10)
    for clip in (1, 2, 3)
]


def make_folder(root: Path, names: list[str], content: bytes = b"") -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


def read(lists: Path, split: str) -> list[tuple[str, int]]:
    return [(video.id, video.label) for video in VideoList().load(str(lists / f"{split}.csv"), Path())]


def test_shares_labels_and_all_videos(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = make_folder(
        tmp_path / "videos", [*NAMES, "run/deep/er.AVI", "run/notes.txt", "run/.hidden.mp4", ".git/a.mp4"]
    )
    assert prepare.main(["folder", str(root), "--out", str(tmp_path / "lists")]) == 0
    assert (tmp_path / "lists" / "classes.txt").read_text() == "jump high\nrun\n"
    lists = {split: read(tmp_path / "lists", split) for split in ("train", "val", "test")}
    assert sorted(row for rows in lists.values() for row in rows) == sorted(
        [(name, int(name.startswith("run"))) for name in [*NAMES, "run/deep/er.AVI"]]
    )
    counts = {split: Counter(label for _, label in rows) for split, rows in lists.items()}
    assert counts == {"train": {0: 21, 1: 22}, "val": {0: 3, 1: 3}, "test": {0: 6, 1: 6}}
    shown = capsys.readouterr().out
    assert "2 classes; 43 train, 6 val, 12 test" in shown
    assert "1 file is left out, no videos by suffix, first 'run/notes.txt'" in shown


def test_the_seed_matters_and_the_file_systems_order_does_not(tmp_path: Path) -> None:
    contents = []
    for number, seed in enumerate(("0", "0", "1")):
        names = random.Random(number).sample(NAMES, len(NAMES))
        root = make_folder(tmp_path / str(number), names)
        lists = tmp_path / f"lists{number}"
        assert prepare.main(["folder", str(root), "--out", str(lists), "--seed", seed]) == 0
        contents.append({path.name: path.read_bytes() for path in lists.iterdir()})
    assert contents[0] == contents[1] != contents[2]
    videos = [Video(name, Path(name), int(name.startswith("run"))) for name in NAMES]
    one, other = (divide(order, 0.1, 0.2, None, 0) for order in (videos, videos[::-1]))
    assert {split: set(rows) for split, rows in one.items()} == {split: set(rows) for split, rows in other.items()}


def test_groups_stay_together(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "videos", NAMES)
    lists = tmp_path / "lists"
    assert prepare.main(["folder", str(root), "--out", str(lists), "--group", "(v_.*_g[0-9]+)_c"]) == 0
    groups = {split: {name.rpartition("_c")[0] for name, _ in read(lists, split)} for split in ("train", "val", "test")}
    assert {split: len(found) for split, found in groups.items()} == {"train": 14, "val": 2, "test": 4}
    assert len(set.union(*groups.values())) == 20


def test_without_shares_there_is_only_a_training_list(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "videos", NAMES)
    lists = tmp_path / "lists"
    for shares in (["--val", "0.1"], ["--val", "0"]):
        assert prepare.main(["folder", str(root), "--out", str(lists), "--test", "0", *shares]) == 0
    assert sorted(path.name for path in lists.iterdir()) == ["classes.txt", "train.csv"]
    assert len(read(lists, "train")) == len(NAMES)


def test_a_class_that_a_list_misses_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = make_folder(tmp_path / "videos", [*NAMES, "swim/only.mp4"])
    assert prepare.main(["folder", str(root), "--out", str(tmp_path / "lists")]) == 0
    assert (
        "test holds no video of 1 of 3 classes, first 'swim'; more videos of them, a larger --test or a --group that finds "
        "smaller groups would bring some\n"
    ) in capsys.readouterr().out


SPLIT_NAMES = [("train", "val", "test"), ("Training", "validation", "TEST"), ("trainset", "val_set", "Testing")]


@pytest.mark.parametrize("folders", SPLIT_NAMES)
def test_folders_of_splits_are_the_lists(
    folders: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """They were three classes, named test, train and val."""
    names = {folder: [f"{folder}/{name}/{i}.mp4" for name in ("left", "right") for i in range(3)] for folder in folders}
    root = make_folder(
        tmp_path / "videos", [*names[folders[0]], *names[folders[1]], *names[folders[2]], f"{folders[0]}/notes.txt"]
    )
    assert prepare.main(["folder", str(root), "--out", str(tmp_path / "lists")]) == 0
    assert (tmp_path / "lists" / "classes.txt").read_text() == "left\nright\n"
    for folder, split in zip(folders, ("train", "val", "test"), strict=True):
        assert read(tmp_path / "lists", split) == [(name, int("right" in name)) for name in names[folder]]
    shown = capsys.readouterr().out
    assert f"{root / folders[1]}: taken for the val list" in shown and "2 classes; 6 train, 6 val, 6 test" in shown
    assert f"first '{folders[0]}/notes.txt'" in shown


def test_a_split_without_a_folder_may_be_taken_from_training(tmp_path: Path) -> None:
    names = [f"{split}/{name}/{i}.mp4" for split in ("train", "test") for name in ("a", "b") for i in range(10)]
    root = make_folder(tmp_path / "videos", names)
    for options, counts in (([], [20, 0, 20]), (["--val", "0.2"], [16, 4, 20])):
        lists = tmp_path / f"lists{len(options)}"
        assert prepare.main(["folder", str(root), "--out", str(lists), *options]) == 0
        assert [
            len(read(lists, s)) if (lists / f"{s}.csv").is_file() else 0 for s in ("train", "val", "test")
        ] == counts


def test_classes_called_as_a_split_are_classes(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "videos", [f"{name}/{i}.mp4" for name in ("bus", "train", "tram") for i in range(4)])
    assert prepare.main(["folder", str(root), "--out", str(tmp_path / "lists")]) == 0
    assert (tmp_path / "lists" / "classes.txt").read_text() == "bus\ntrain\ntram\n"


def test_a_file_and_its_copy_are_never_on_two_sides(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = make_folder(tmp_path / "videos", NAMES)
    for number, name in enumerate(NAMES):  # each film in two copies, all of one size
        (root / name).write_bytes(b"%04d" % (number // 2))
    lists = tmp_path / "lists"
    assert prepare.main(["folder", str(root), "--out", str(lists), "--val", "0.2", "--test", "0.3"]) == 0
    contents = [(root / name).read_bytes() for split in ("train", "val", "test") for name, _ in read(lists, split)]
    assert len(contents) == len(set(contents)) == len(NAMES) // 2
    shown = capsys.readouterr().out
    assert (
        f"left out, the same bytes as {NAMES[0]}: {NAMES[1]}\n" in shown and shown.count("left out") == len(NAMES) // 2
    )


def test_a_test_folder_keeps_what_training_has_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = make_folder(
        tmp_path / "videos", [f"{s}/{c}/{i}.mp4" for s in ("train", "test") for c in "ab" for i in (1, 2)]
    )
    for number, path in enumerate(sorted(root.rglob("*.mp4"))):
        path.write_bytes(b"%d" % number)
    (root / "train/a/1.mp4").write_bytes((root / "test/a/1.mp4").read_bytes())
    (root / "train/a/2.mp4").write_bytes((root / "test/b/1.mp4").read_bytes())  # in another class
    lists = tmp_path / "lists"
    assert prepare.main(["folder", str(root), "--out", str(lists)]) == 3
    assert read(lists, "test") == [("test/a/1.mp4", 0), ("test/a/2.mp4", 0), ("test/b/2.mp4", 1)]
    assert read(lists, "train") == [("train/b/1.mp4", 1), ("train/b/2.mp4", 1)]
    out, err = capsys.readouterr()
    assert "left out, the same bytes as test/a/1.mp4: train/a/1.mp4" in out
    assert "train holds no video of 1 of 2 classes, first 'a'; more videos of them would bring some\n" in out
    assert "left out, the same bytes in another class, as train/a/2.mp4: test/b/1.mp4" in err


def test_the_lists_fit_the_scan(tmp_path: Path) -> None:
    for name in ("a/1.mp4", "a/2.mp4", "b/1.mp4", "b/2.mp4"):
        (tmp_path / "videos" / name).parent.mkdir(parents=True, exist_ok=True)
        write_video(tmp_path / "videos" / name, num_frames=4 + ord(name[0]) % 2 * 2 + int(name[2]))
    lists = tmp_path / "lists"
    shares = ["--val", "0", "--test", "0.5"]
    assert prepare.main(["folder", str(tmp_path / "videos"), "--out", str(lists), *shares]) == 0
    options = [
        "--root",
        str(tmp_path / "videos"),
        "--classes",
        str(lists / "classes.txt"),
        "--out",
        str(tmp_path / "o"),
    ]
    assert prepare.main(["scan", "--list", str(lists / "test.csv"), *options]) == 0


@pytest.mark.parametrize(
    ("names", "options", "complaint"),
    [
        (["a/1.mp4"], [], "holds 1 folder; expected one for each class"),
        (["a/1.mp4", "b/1.txt"], [], "b: holds no video"),
        (NAMES, ["--val", "0.4"], "together at most 0.5"),
        (NAMES, ["--val", "nan"], "together at most 0.5"),
        (NAMES, ["--group", "("], "--group = '(': is no regular expression"),
        (NAMES, ["--group", "x+"], "--group = 'x+': finds nothing in '"),
        (NAMES, ["--group", "v_"], "--test 0.2: no group is small enough: of 1 group the smallest, 'v_', has "),
        (
            ["a/1.mp4", "b/1.mp4"],
            [],
            "--test 0.2: no class has two videos, so that none can be held out of 2 videos; list more",
        ),
        (["a/1 \n2.mp4", *NAMES], [], "rename it"),
        (["train/a/1.mp4", "test/a/1.mp4"], [], "its test, train hold 1 folder"),
        (
            ["train/a/1.mp4", "test/b/1.mp4", "more/b/1.mp4"],
            [],
            "test, train are folders of splits, and more beside them",
        ),
        (["train/a/1.mp4", "Training/b/1.mp4"], [], "of Training, train two are one split"),
        (["train/1.mp4", "test/1.mp4"], [], "test: holds no folders; expected one for each class in test, train"),
        (["train/a/1.mp4", "test/b/1.mp4"], ["--test", "0.1"], "--test 0.1: there is a folder for this list"),
    ],
)
def test_mistakes_are_one_line(
    names: list[str], options: list[str], complaint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = make_folder(tmp_path / "videos", names)
    assert prepare.main(["folder", str(root), "--out", str(tmp_path / "lists"), *options]) == 2
    assert complaint in capsys.readouterr().err
    assert not (tmp_path / "lists").exists()
