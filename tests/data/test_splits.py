"""Lists are checked before anything is decoded, all problems at once; the hold-out is deterministic and by group."""

import os
from collections import Counter
from pathlib import Path

import pytest

from videoadapt.config.schema import Config
from videoadapt.data.chosen_rows import held_out, spread
from videoadapt.data.datasets.video_list import VideoList
from videoadapt.data.splits import Splits
from videoadapt.data.structures import Video
from videoadapt.data.videos import VideoRows
from videoadapt.errors import DataListError
from videoadapt.runs.lists import load_splits


def config(folder: Path, **data: object) -> Config:
    defaults = {"root": folder, "train": str(folder / "train.csv"), "test": str(folder / "test.csv"), "classes": 2}
    return Config.model_validate({"output": folder / "out", "data": {**defaults, **data}})


def write_list(folder: Path, name: str, rows: list[str], make_files: bool = True) -> None:
    (folder / name).write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")
    for row in rows if make_files else ():
        path = folder / row.rpartition(" ")[0]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_names_with_spaces_brackets_and_letters_of_any_script(tmp_path: Path) -> None:
    name = "Straße [1] (ü)/日本 clip.mp4"
    write_list(tmp_path, "list.csv", [f"{name} 3"])
    assert list(VideoList().load(str(tmp_path / "list.csv"), tmp_path)) == [Video(name, tmp_path / name, 3, 1)]


def test_rows_that_are_not_path_label(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("a.mp4 0\nb.mp4,1\nc.mp4 -1\n")
    with pytest.raises(DataListError, match=r"2 rows are not `path label`.*line 2: 'b.mp4,1'"):
        VideoList().load(str(tmp_path / "list.csv"), tmp_path)
    (tmp_path / "list.csv").write_text("\n")
    with pytest.raises(DataListError, match="holds no videos"):
        VideoList().load(str(tmp_path / "list.csv"), tmp_path)


def test_every_problem_is_listed_at_once(tmp_path: Path) -> None:
    write_list(tmp_path, "train.csv", ["a.mp4 0", "b.mp4 5"], make_files=False)
    with pytest.raises(DataListError) as caught:
        load_splits(config(tmp_path, obtain="the shop round the corner"))
    text = str(caught.value)
    assert "data.train: 1 label is outside 0..1" in text and "first 5 of 'b.mp4'" in text
    assert "2 of the 2 videos of data.train are not there" in text
    assert f"data.test = {tmp_path}/test.csv: cannot be read" in text
    assert "where to get it: the shop round the corner" in text


def test_problems_of_later_test_lists_are_among_them(tmp_path: Path) -> None:
    """A list whose classes are others is judged by those, and so a row twice says nothing of its labels."""
    write_list(tmp_path, "train.csv", ["a.mp4 5"], make_files=False)
    write_list(tmp_path, "test.csv", ["t.mp4 0"])
    write_list(tmp_path, "theirs.csv", ["u.mp4 2", "u.mp4 2", "v.mp4 0"])
    for name, lines in {"ours.txt": "run\nsit\n", "theirs.txt": "leap\nrest\njog\n", "pairs.csv": "jog,run\n"}.items():
        (tmp_path / name).write_text(lines)
    theirs = {"list": "theirs.csv", "classes": "theirs.txt", "shared": "pairs.csv"}
    tests = {
        "own": str(tmp_path / "test.csv"),
        "theirs": {key: str(tmp_path / name) for key, name in theirs.items()},
        "absent": str(tmp_path / "absent.csv"),
    }
    with pytest.raises(DataListError) as caught:
        load_splits(config(tmp_path, test=tests, classes=str(tmp_path / "ours.txt")))
    begins = ["data.train: 1 label is outside", f"data.root = {tmp_path}: 1 of the 1 video of data.train is not"]
    begins += [f"data.test.theirs = {tmp_path}/theirs.csv: 1 video appears twice, first 'u.mp4' (lines 1 and 2)"]
    begins += [f"data.test.absent = {tmp_path}/absent.csv: cannot be read"]
    for line, begin in zip(str(caught.value).splitlines(), begins, strict=True):
        assert line.startswith(begin)


def test_a_few_missing_train_files_are_left_to_max_unreadable(tmp_path: Path) -> None:
    write_list(tmp_path, "train.csv", [f"{i}.mp4 {i % 2}" for i in range(10)])
    write_list(tmp_path, "test.csv", ["t.mp4 0"])
    (tmp_path / "3.mp4").unlink()
    assert len(load_splits(config(tmp_path, max_unreadable=0.1)).train) == 10
    with pytest.raises(DataListError, match=r"1 of the 10 videos of data.train is not there, first .*3\.mp4"):
        load_splits(config(tmp_path))
    (tmp_path / "t.mp4").unlink()
    with pytest.raises(DataListError, match=r"1 of the 1 video of data\.test is not there"):
        load_splits(config(tmp_path, max_unreadable=0.1))


def test_doubled_test_videos_are_refused(tmp_path: Path) -> None:
    write_list(tmp_path, "train.csv", ["a.mp4 0", "a.mp4 0"])
    write_list(tmp_path, "test.csv", ["t.mp4 0", "t.mp4 1"])
    with pytest.raises(DataListError, match=r"data.test = .*1 video appears twice, first 't\.mp4'"):
        load_splits(config(tmp_path))


@pytest.mark.parametrize("how", ["./t.mp4", "a/../t.mp4", "a//../t.mp4", "soft.mp4", "hard.mp4", "a/up/t.mp4"])
@pytest.mark.parametrize("split", ["test", "val"])
def test_one_test_file_under_two_names_is_refused(how: str, split: str, tmp_path: Path) -> None:
    write_list(tmp_path, "train.csv", ["train.mp4 0"])
    write_list(tmp_path, "test.csv", ["test.mp4 0"])
    write_list(tmp_path, f"{split}.csv", ["other.mp4 0", "t.mp4 0"])
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    (tmp_path / "soft.mp4").symlink_to("t.mp4")
    (tmp_path / "hard.mp4").hardlink_to(tmp_path / "t.mp4")
    write_list(tmp_path, f"{split}.csv", ["other.mp4 0", "t.mp4 0", f"{how} 0"], make_files=False)
    line = (
        f"data.{split}: 1 row names a file that another row names as well, and it would count twice; first '{how}' "
        "(line 3, label 0) is the same file as 't.mp4' (line 2, label 0); take one out"
    )
    with pytest.raises(DataListError) as caught:
        load_splits(config(tmp_path, val=str(tmp_path / "val.csv") if split == "val" else None))
    assert str(caught.value) == line


def test_one_training_file_twice_is_said_aloud(tmp_path: Path, log_lines: list[str]) -> None:
    write_list(tmp_path, "test.csv", ["t.mp4 0"])
    write_list(tmp_path, "train.csv", ["a.mp4 0", "b.mp4 0", "./b.mp4 0", "a.mp4 0"])
    assert len(load_splits(config(tmp_path)).train) == 4
    (line,) = log_lines
    assert "data.train: 2 rows name a file that another row names as well, so that it is seen more often" in line
    assert "'./b.mp4' (line 3, label 0) is the same file as 'b.mp4' (line 2, label 0)" in line


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_one_file_with_two_labels_is_refused(tmp_path: Path, split: str) -> None:
    for name in ("train", "val", "test"):
        write_list(tmp_path, f"{name}.csv", [f"{name}.mp4 0"])
    write_list(tmp_path, f"{split}.csv", ["a.mp4 0", "b.mp4 0", "./b.mp4 0", "./a.mp4 1"])
    with pytest.raises(DataListError) as caught:
        load_splits(config(tmp_path, val=str(tmp_path / "val.csv")))
    assert str(caught.value) == (
        f"data.{split}: 2 rows name a file that another row names as well, 1 of them with another label: './a.mp4' (line 4, "
        "label 1) is the same file as 'a.mp4' (line 1, label 0); take the wrong one out, or set data.labels multi where both "
        "are right"
    )


def test_a_name_in_two_rows_with_two_labels_is_refused(tmp_path: Path) -> None:
    write_list(tmp_path, "train.csv", ["a.mp4 0", "b.mp4 0", "a.mp4 1"])
    write_list(tmp_path, "test.csv", ["t.mp4 0", "t.mp4 1"])
    with pytest.raises(DataListError) as caught:
        load_splits(config(tmp_path))
    contradicting, doubled = str(caught.value).splitlines()
    assert doubled.endswith("1 video appears twice, first 't.mp4' (lines 1 and 2, labels 0 and 1); take one out")
    assert "'a.mp4' (line 3, label 1) is the same file as 'a.mp4' (line 1, label 0)" in contradicting


def test_masked_pretraining_does_not_look_at_labels(tmp_path: Path, log_lines: list[str]) -> None:
    write_list(tmp_path, "train.csv", ["a.mp4 0", "./a.mp4 1"])
    settings = config(tmp_path)
    test = settings.test.model_copy(update={"enable": False})
    load_splits(settings.model_copy(update={"task": "pretrain", "test": test}))
    assert "seen more often than others" in log_lines[0]


def test_files_that_are_not_there_are_not_the_same(tmp_path: Path, log_lines: list[str]) -> None:
    write_list(tmp_path, "train.csv", ["a.mp4 0"])
    write_list(tmp_path, "test.csv", ["t.mp4 0", "u.mp4 1"], make_files=False)
    with pytest.raises(DataListError) as caught:
        load_splits(config(tmp_path))
    assert "not there" in str(caught.value) and "same file" not in str(caught.value) and not log_lines


def test_class_file_and_its_faults(tmp_path: Path) -> None:
    write_list(tmp_path, "train.csv", ["a.mp4 0"])
    write_list(tmp_path, "test.csv", ["t.mp4 1"])
    (tmp_path / "classes.txt").write_text("wave\ncart wheel\n")
    assert load_splits(config(tmp_path, classes=str(tmp_path / "classes.txt"))).class_names == ["wave", "cart wheel"]
    (tmp_path / "classes.txt").write_text("wave\nwave\n")
    with pytest.raises(DataListError, match="appears twice"):
        load_splits(config(tmp_path, classes=str(tmp_path / "classes.txt")))
    with pytest.raises(DataListError, match=r"data\.classes: is not set"):
        load_splits(config(tmp_path, classes=None))


def test_overlap_of_validation_and_test_is_said_aloud(tmp_path: Path, log_lines: list[str]) -> None:
    write_list(tmp_path, "train.csv", ["a.mp4 0", "b.mp4 1"])
    write_list(tmp_path, "test.csv", ["t.mp4 1", "a.mp4 0"])
    splits = load_splits(config(tmp_path, val=str(tmp_path / "test.csv")))
    assert splits.num_val_in_test == 2
    assert any("data.val and data.test share 2 videos" in line for line in log_lines)
    assert any("data.train and data.test share 1 video" in line for line in log_lines)


def test_a_test_alone_says_of_no_overlap_that_it_did_not_see(tmp_path: Path) -> None:
    write_list(tmp_path, "test.csv", ["t.mp4 1", "a.mp4 0"])
    asked = config(tmp_path, val=str(tmp_path / "gone.csv"))
    alone = asked.train.model_copy(update={"enable": False})
    assert load_splits(asked.model_copy(update={"train": alone})).num_val_in_test is None
    no_list = asked.data.model_copy(update={"val": None})
    assert load_splits(asked.model_copy(update={"train": alone, "data": no_list})).num_val_in_test == 0


def test_one_file_under_two_names_is_seen_in_both_lists(tmp_path: Path, log_lines: list[str]) -> None:
    write_list(tmp_path, "train.csv", ["a.mp4 0", "b.mp4 1", "c.mp4 1"])
    (tmp_path / "hard.mp4").hardlink_to(tmp_path / "a.mp4")
    (tmp_path / "soft.mp4").symlink_to("b.mp4")
    write_list(tmp_path, "test.csv", ["hard.mp4 0", "./soft.mp4 1", "t.mp4 1"], make_files=False)
    (tmp_path / "t.mp4").touch()
    load_splits(config(tmp_path))
    assert any("data.train and data.test share 2 videos" in line for line in log_lines)


def listing(groups: int, clips: int, classes: int) -> VideoRows:
    names = [
        (f"class{c}/v_g{g:02d}_c{k:02d}.avi", c) for c in range(classes) for g in range(groups) for k in range(clips)
    ]
    return VideoRows(Path(), ((name, label, line) for line, (name, label) in enumerate(names, start=1)))


def divide(videos: VideoRows, share: float, group: str | None, seed: int) -> tuple[list[Video], list[Video]]:
    held_N = held_out(videos, share, group, seed)
    return list(videos.select(~held_N)), list(videos.select(held_N))


def test_hold_out_keeps_groups_and_takes_a_share_of_each_class() -> None:
    videos = listing(groups=20, clips=5, classes=6)
    train, val = divide(videos, 0.1, r"(class\d+/v_g\d+)", seed=0)
    assert sorted(train + val) == sorted(videos) and not {v.id for v in train} & {v.id for v in val}
    assert Counter(v.label for v in val) == dict.fromkeys(range(6), 10)
    assert not {v.id.split("_c")[0] for v in train} & {v.id.split("_c")[0] for v in val}
    assert (train, val) == divide(videos, 0.1, r"(class\d+/v_g\d+)", seed=0)
    assert val != divide(videos, 0.1, r"(class\d+/v_g\d+)", seed=1)[1]
    assert [v for v in videos if v in set(train)] == train  # the order of the list is kept


def test_hold_out_of_tiny_classes_leaves_something_to_train_on() -> None:
    videos = VideoRows(Path(), [("0", 0, 1), ("1", 1, 2), ("2", 2, 3), ("x", 0, 4)])
    train, val = divide(videos, 0.5, None, seed=0)
    assert len(val) == 1 and {v.label for v in train} == {0, 1, 2}


def test_a_group_pattern_that_does_not_match_is_an_error() -> None:
    with pytest.raises(DataListError, match=r"data.val.group = .* finds nothing in"):
        held_out(listing(2, 2, 2), 0.1, r"(movie\d+)", seed=0)


def test_groups_over_classes_say_how_to_part_them() -> None:
    videos = listing(groups=3, clips=4, classes=2)
    with pytest.raises(
        DataListError, match=r"of 3 groups the smallest, 'g00', has 8 of 24 videos; .*'\(\.\*_g\[0-9\]\+\)_c'"
    ):
        held_out(videos, 0.1, r"(g\d+)_c", seed=0)
    with pytest.raises(DataListError, match=r"of 6 groups .* find smaller groups$"):
        held_out(videos, 0.1, r"(.*_g\d+)_c", seed=0)
    assert held_out(videos, 0.34, r"(.*_g\d+)_c", seed=0).sum() == 8


def test_the_files_have_a_fingerprint(tmp_path: Path) -> None:
    videos = [Video(f"{n}.mp4", tmp_path / f"{n}.mp4", 0) for n in range(200)]
    for video in videos:
        video.path.write_bytes(video.id.encode())
    whole = Splits.files_fingerprint(videos)
    assert whole == Splits.files_fingerprint(videos) and len(whole) == 64
    found = {whole}
    for name, content in (("101.mp4", b"other size"), ("0.mp4", b"0.avi"), ("186.mp4", b"186.avi"), ("7.mp4", None)):
        before = (tmp_path / name).read_bytes()
        if content is None:
            (tmp_path / name).unlink()
        else:
            (tmp_path / name).write_bytes(content)
        found.add(Splits.files_fingerprint(videos))
        (tmp_path / name).write_bytes(before)
    assert len(found) == 5 and Splits.files_fingerprint(videos) == whole


def test_no_fingerprint_waits_or_reads_without_end(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    with (tmp_path / "huge.mp4").open("wb") as file:
        file.truncate(2**40)
    videos = [Video(name, tmp_path / name, 0) for name in ("pipe.mp4", "huge.mp4", "null\0byte.mp4")]
    found = {Splits.files_fingerprint(videos)}
    for place in (2**40 - 1, 0, (2**40 - 2**20) * 7 // 63):  # pieces of 2**20, 64 of them
        with (tmp_path / "huge.mp4").open("r+b") as file:
            file.seek(place)
            file.write(b"x")
        found.add(Splits.files_fingerprint(videos))
    assert len(found) == 4


def test_the_first_of_each_class_and_none_that_is_held_out(tmp_path: Path) -> None:
    rows = [f"{i}.mp4 {int(i % 3 == 0)}" for i in range(30)]
    write_list(tmp_path, "train.csv", rows)
    write_list(tmp_path, "test.csv", ["t.mp4 0"])
    few = load_splits(config(tmp_path, first_per_class=4)).train
    assert [video.id for video in few] == [f"{i}.mp4" for i in (0, 1, 2, 3, 4, 5, 6, 9)]
    assert len(load_splits(config(tmp_path, first_per_class=15)).train) == 10 + 15
    whole, part = (load_splits(config(tmp_path, val={"holdout": 0.2}, **few)) for few in ({}, {"first_per_class": 3}))
    assert list(part.val) == list(whole.val) and len(part.train) == 6
    assert {video.id for video in part.train} < {video.id for video in whole.train}


def test_some_of_each_class_by_the_run_s_seed_or_one_of_its_own(tmp_path: Path) -> None:
    rows = [f"{i}.mp4 {int(i % 3 == 0)}" for i in range(30)]
    write_list(tmp_path, "train.csv", rows)
    write_list(tmp_path, "test.csv", ["t.mp4 0"])

    def drawn(of_run: int = 0, **draw: int) -> set[str]:
        chosen = config(tmp_path, few_per_class=draw).model_copy(update={"seed": of_run})
        few = load_splits(chosen).train
        for label, available in ((0, 20), (1, 10)):
            assert int((few.labels_N == label).sum()) == min(draw["count"], available)
        return {video.id for video in few}

    assert drawn(count=4) < drawn(count=15)
    assert len({frozenset(drawn(seed, count=4)) for seed in range(5)}) == 5
    assert drawn(3, count=4) == drawn(count=4, seed=3) == drawn(7, count=4, seed=3)
    write_list(tmp_path, "train.csv", rows[::-1])
    reversed_ids = drawn(3, count=4)
    write_list(tmp_path, "train.csv", rows)
    assert reversed_ids == drawn(3, count=4)


@pytest.mark.parametrize(
    ("listed", "number", "rows"), [(10, 4, [0, 2, 5, 7]), (100, 64, None), (3, 9, [0, 1, 2]), (0, 5, [])]
)
def test_so_many_spread_over_a_list(listed: int, number: int, rows: list[int] | None) -> None:
    videos = VideoRows(Path(), [(str(row), 0, row) for row in range(listed)])
    found = [int(video.id) for video in spread(videos, number)]
    assert len(found) == min(listed, number) and found == sorted(set(found)) and rows in (None, found)


def test_films_are_no_pictures(tmp_path: Path) -> None:
    """A training on films with the decoder of pictures began, and ended when too many of them could not be read."""
    write_list(tmp_path, "train.csv", ["a.jpg 0", "b.MP4 1", "c.png 1"])
    write_list(tmp_path, "test.csv", ["d.jpg 0", "e.webp 1"])
    with pytest.raises(DataListError) as refused:
        load_splits(config(tmp_path, decoder={"name": "image"}))
    assert "'image': reads pictures, and 1 of the 3 files of data.train is a film, first b.MP4" in str(refused.value)
    assert "data.test" not in str(refused.value) and "; set it to decord, or list pictures (" in str(refused.value)
    with pytest.raises(
        DataListError, match=r"set it to decord, and data\.num_frames to more than 1 to see motion, or list"
    ):
        load_splits(config(tmp_path, decoder={"name": "image"}, num_frames=1))
    load_splits(config(tmp_path, decoder={"name": "decord"}))
