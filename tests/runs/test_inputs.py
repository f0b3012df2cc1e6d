"""What is said about lists, videos and weights that are not where a config looks for them."""

from pathlib import Path

import pytest

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


def test_a_wrong_list_is_not_explained_as_a_missing_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.csv").write_text("a.mp4,0\n")
    (tmp_path / "names.txt").write_text("a\na\n")
    said = problems("data.train=mine.csv", "data.classes=names.txt")
    assert said["data.train"].endswith("write a space)") and said["data.classes"].endswith("take one out")
