"""What is said about lists, videos and weights that are not where a config looks for them."""

from pathlib import Path
from typing import Any

import pytest

from tests.toy_runs import toy_config, write_config
from videoadapt.config.loading import load_config
from videoadapt.runs.inputs import find_problems


def problems(*overrides: str) -> dict[str, str]:
    """Key -> what is said about it, on one line."""
    found = find_problems(load_config("hmdb51_adapt", overrides), here=False)[1]
    lines = "\n".join(found).replace("\n    ", " | ").splitlines()
    return {line.partition(" = ")[0]: line for line in lines}


def test_a_list_of_ones_own_is_not_explained_by_the_data_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A shipped config says where HMDB51 is to be had; a list of the user's own is only looked for in the wrong place."""
    monkeypatch.chdir(tmp_path)
    said = problems("data.train=lists/mine.csv", f"data.test={tmp_path}/there.csv", "data.classes=names.txt")
    here = f"this path starts in {tmp_path}, where the command was started: write the whole path, or start there"
    for key in ("data.train", "data.classes"):
        assert here in said[key] and "where to get it" not in said[key]
    assert "there.csv: cannot be read: No such file" in said["data.test"] and "where" not in said["data.test"]
    assert f"no such file in {tmp_path}, where the command was started | where to get it" in said["model.weights"]


def test_a_list_that_its_owner_makes_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    said = problems("data.train=data_lists/kinetics400/none.csv")["data.train"]
    assert (
        f"neither in {tmp_path}, where the command was started nor beside the package | where to get it: HMDB51" in said
    )


def test_the_folder_of_the_videos_is_named_with_its_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    said = problems()["data.root"]
    assert f"data.root starts in {tmp_path}, where the command was started | where to get it" in said


def test_a_short_name_is_explained_beside_all_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It downloads nothing, so there is nothing to hold back until the videos are there."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    said = problems("model.weights=videomae-base")
    assert "are not there" in said["data.root"]
    assert "stands for hf:MCG-NJU/videomae-base (CC BY-NC 4.0), which is not on this" in said["model.weights"]


def test_a_wrong_list_is_not_explained_as_a_missing_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.csv").write_text("a.mp4,0\n")
    (tmp_path / "names.txt").write_text("a\na\n")
    said = problems("data.train=mine.csv", "data.classes=names.txt")
    assert said["data.train"].endswith("write a space)") and said["data.classes"].endswith("take one out")


@pytest.mark.parametrize(
    ("section", "changes", "said"),
    [
        ("train", {"batch_size": 9, "accumulate": 2}, "train.batch_size = 9: not divisible"),
        ("train", {"batch_size": 64}, "data.train has only 48 videos"),
        ("model", {"weights": "nowhere.pth"}, "there is no such file"),
        ("model", {"backbone": {"name": "vit", "size": "tiny", "num_heads": 5}}, "num_heads = 5"),
        ("data", {"test": "tset"}, "did you mean 'test'"),
        (
            "data",
            {"test": {"a": "test", "b": {"list": "nowhere.csv"}}},
            "nowhere.csv: the synthetic data set has no such split",
        ),
        ("data", {"decoder": {"name": "image"}}, "of data.train are films"),
        ("data", {"val": {"holdout": 0.1, "group": "nothing"}}, "data.val.group = 'nothing'"),
    ],
)
def test_what_needs_no_clip_is_said_before_one_is_rendered(
    section: str, changes: dict[str, Any], said: str, tmp_path: Path
) -> None:
    root = tmp_path / "clips"
    config = load_config(write_config(tmp_path / "toy.yaml", toy_config(tmp_path / "out", root, **{section: changes})))
    found = find_problems(config)[1]
    assert said in "\n".join(found) and len(found) == 1, found
    assert not root.exists()


def test_without_a_problem_clips_are_rendered_and_found(tmp_path: Path) -> None:
    config = load_config(write_config(tmp_path / "toy.yaml", toy_config(tmp_path / "out", tmp_path / "clips")))
    splits, found = find_problems(config)
    assert splits is not None and not found
    assert all(video.path.is_file() for video in [*splits.train, *splits.test]) and len(splits.train) == 48


def test_a_wrong_folder_of_class_folders_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the same mistake for each list, and the classes are not known because of it."""
    monkeypatch.chdir(tmp_path)
    config = load_config("own_videos_small", ["data.root=my videos"])
    assert find_problems(config, here=False)[1] == [
        "data.root = my videos: is no folder; expected one with a folder of videos for each class; set data.root, which "
        f"starts in {tmp_path}, where the command was started"
    ]
    (tmp_path / "my videos/run").mkdir(parents=True)
    (said,) = find_problems(config, here=False)[1]
    assert said == "data.root = my videos: holds 1 folder; expected one for each class, at least two"


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("model.weights=nowhere.pth", "there is no such file"),
        ("data.dataset.test=0", "is divided without such a list; set data.dataset.test"),
        ("data.dataset.group=[", "is no regular expression"),
        ("data.test={a: test, b: {list: nowhere.csv}}", "nowhere.csv: cannot be read"),
    ],
)
def test_a_folder_is_divided_when_nothing_is_wrong(wrong: str, said: str, tmp_path: Path) -> None:
    """Or the division of a command that was refused would be that of the next one, which asks for another."""
    root = tmp_path / "films"
    for name in ("run", "sit"):
        (root / name).mkdir(parents=True)
        for number in range(20):
            (root / name / f"{number}.mp4").write_text(f"{name} {number}")
    asked = [f"data.root={root}", f"output={tmp_path / 'out'}", "train.batch_size=4"]
    found = find_problems(load_config("own_videos_small", [*asked, wrong]), here=False)[1]
    assert len(found) == 1 and said in found[0], found
    assert not (tmp_path / "films_lists").exists()
    for _ in range(2):
        splits, found = find_problems(load_config("own_videos_small", asked), here=False)
        assert splits is not None and not found and splits.class_names == ["run", "sit"]
        assert len(splits.train) + len(splits.test) == 40 and (tmp_path / "films_lists/test.csv").exists()
