"""One training tested on several lists: each by its own classes and groups, with what its probabilities are worth."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.pages import Page
from tests.toy_runs import results, toy_config, write_config
from videoadapt.cli import test, train
from videoadapt.config.loading import check_config, load_config
from videoadapt.config.schema import Config
from videoadapt.data.datasets.synthetic import Synthetic
from videoadapt.data.shared_classes import read_pairs, share
from videoadapt.data.videos import VideoRows
from videoadapt.errors import DataListError
from videoadapt.evaluation import tested
from videoadapt.evaluation.confidence import fit_temperature, log_probabilities
from videoadapt.evaluation.judged import may_have_trained_on_val
from videoadapt.evaluation.predictions import Predictions
from videoadapt.evaluation.report.page import write_report
from videoadapt.evaluation.worth import fitted_temperature
from videoadapt.runs.lists import load_splits


@pytest.fixture(scope="module")
def shifted(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A config whose second test list holds the test clips under other labels: two are one of ours, one is none."""
    folder = tmp_path_factory.mktemp("shift")
    for split in ("train", "test"):
        Synthetic(vocabulary="quickstart", train_per_class=6, val_per_class=0, test_per_class=2).load(split, clips)
    names = (clips / "classes.txt").read_text().splitlines()
    theirs = ["of no use", *(f"{name} (theirs)" for name in names[:3])]
    (folder / "theirs.txt").write_text("".join(f"{name}\n" for name in theirs))
    (folder / "pairs.csv").write_text(f"{theirs[1]},{names[0]}\n{theirs[2]},{names[0]}\n\n{theirs[3]},{names[2]}\n")
    rows = [row.rsplit(" ", 1) for row in (clips / "test.csv").read_text().splitlines()]
    new_label = {"0": 1, "1": 2, "2": 3, "3": 0}
    (folder / "theirs.csv").write_text("".join(f"{path} {new_label[of]}\n" for path, of in rows if of in new_label))
    other = {"list": str(folder / "theirs.csv"), "group": r"_(\d+)\.mp4"}
    data = {
        **toy_config(folder, clips)["data"],
        "dataset": {"name": "video_list"}, "train": str(clips / "train.csv"),
        # on what it learnt, so that there is a temperature
        "val": str(clips / "train.csv"), "classes": str(clips / "classes.txt"),
        "test": {
            "own": str(clips / "test.csv"),
            "theirs": {**other, "classes": str(folder / "theirs.txt"), "shared": str(folder / "pairs.csv")},
        },
    }  # fmt: skip
    config = toy_config(folder / "run", clips, train={"epochs": 6}, test={"clips": 2, "crops": 1, "calibrate": True})
    path = write_config(folder / "c.yaml", {**config, "data": data})
    assert train.main(["--cfg", str(path)]) == 0
    return path


@pytest.mark.slow
def test_each_list_is_judged_by_itself(shifted: Path) -> None:
    run = shifted.parent / "run"
    found = results(run)
    of = found["lists"]["theirs"]
    assert (found["num_videos"], of["num_videos"], of["num_left_out"]) == (16, 6, 2)
    assert of["classes_left_out"] == ["of no use"] and of["num_shared_classes"] == 2
    other, own = tested.Tested(run, "theirs"), tested.Tested(run)
    assert sorted(other.labels.tolist()) == [0, 0, 0, 0, 2, 2] and set(other.ids) < set(own.ids)
    rows = [own.ids.tolist().index(name) for name in other.ids]
    np.testing.assert_array_equal(other.scores_NK, own.scores_NK[rows])  # the same films, so the same logits
    assert of["top1"] == round(100 * np.mean(other.predicted_N == other.labels), 4)
    among = np.array([0, 2])[other.scores_NK[:, [0, 2]].argmax(axis=1)]
    assert of["top1_among_shared"] == round(100 * np.mean(among == other.labels), 4)
    assert {name: group["num_videos"] for name, group in of["groups"].items()} == {"0001": 3, "0002": 3}
    assert np.mean([group["top1"] for group in of["groups"].values()]) == pytest.approx(of["top1"], abs=1e-3)


@pytest.mark.slow
def test_a_second_list_changes_nothing_of_the_first(shifted: Path, clips: Path) -> None:
    run = shifted.parent / "run"
    before = results(run)
    try:
        assert test.main(["--cfg", str(shifted), f"data.test={clips / 'test.csv'}", "test.calibrate=false"]) == 0
        alone = results(run)
    finally:
        (run / "results.json").write_text(json.dumps(before))
    assert before.keys() - alone.keys() == {"list", "lists", "calibration"}
    assert before["confidence"].pop("after") is not None and alone["confidence"].pop("after") is None
    assert alone == {key: value for key, value in before.items() if key in alone}


@pytest.mark.slow
def test_temperature_is_of_the_validation_list(shifted: Path) -> None:
    found = results(shifted.parent / "run")
    fitted, own = found["calibration"], found["confidence"]
    assert fitted["num_videos"] == 48 and fitted["num_views"] == 2 and fitted["temperature"] != 1
    assert (
        fitted["after"]["nll"] < fitted["before"]["nll"] and fitted["after"]["accuracy"] == fitted["before"]["accuracy"]
    )
    assert own["after"]["accuracy"] == own["before"]["accuracy"] == found["top1"] / 100
    assert own["after"]["nll"] != own["before"]["nll"]


@pytest.mark.slow
def test_a_temperature_of_what_was_trained_on_is_warned_of(
    shifted: Path, clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(shifted.parent / "run", tmp_path / "run")
    asked = ["--cfg", str(shifted), f"output={tmp_path / 'run'}", f"data.test={clips / 'test.csv'}", "test.clips=1"]
    for val, is_warned in ((clips / "train.csv", True), ("{holdout: 0.2}", True), (clips / "test.csv", False)):
        assert test.main([*asked, f"data.val={val}"]) == 0
        assert ("may have been trained on videos of data.val" in capsys.readouterr().err) == is_warned


@pytest.mark.parametrize(("share", "other"), [(0.2, False), (0.4, True)])
def test_another_holdout_may_hold_what_was_trained_on(share: float, other: bool, tmp_path: Path) -> None:
    for number in range(20):
        (tmp_path / f"{number}.mp4").write_bytes(b"x" * number)
    (tmp_path / "list.txt").write_text("".join(f"{number}.mp4 {number % 2}\n" for number in range(20)))

    def config_of(share: float) -> Config:
        data = {"root": str(tmp_path), "train": f"{tmp_path}/list.txt", "classes": 2, "val": {"holdout": share}}
        return check_config({"output": "x", "data": data, "test": {"enable": False}})

    trained, now = load_splits(config_of(0.2)), load_splits(config_of(share))
    assert may_have_trained_on_val(config_of(share), now, trained.fingerprint(trained.train)) == other


@pytest.mark.slow
def test_a_report_has_a_row_for_each_list(shifted: Path) -> None:
    run = shifted.parent / "run"
    page, found = Page(write_report(run, load_config(shifted))), results(run)
    for name, of in {"own": found, "theirs": found["lists"]["theirs"]}.items():
        assert f"{name} {of['num_videos']} {of['top1']:.2f} %" in page.text
    assert f"T = {found['calibration']['temperature']:.3f}" in page.text
    assert "Left out, for their class has no partner: 2 (of no use)." in page.text


def made(logits_NVK: Any, labels: list[int], unreadable: dict[int, str] | None = None) -> Predictions:
    videos = VideoRows(Path(), [(f"{row}.mp4", label, row + 1) for row, label in enumerate(labels)])
    return Predictions(videos, np.array(logits_NVK, dtype=np.float32), unreadable or {}, "probs")


def test_unreadable_videos_have_no_temperature(log_lines: list[str]) -> None:
    rng = np.random.default_rng(0)
    logits_NVK, labels = rng.normal(scale=4, size=(40, 3, 3)), rng.integers(3, size=40).tolist()
    found = fitted_temperature(made(logits_NVK, labels, {3: "no film"}))
    kept = np.delete(np.arange(40), 3)
    log_probs_NK = log_probabilities(logits_NVK[kept].astype(np.float32), "probs")
    wanted = fit_temperature(log_probs_NK, np.array(labels)[kept])
    assert found["num_videos"] == 39 and found["temperature"] == pytest.approx(wanted) and wanted is not None
    assert log_lines[0].startswith(f"INFO test.calibrate: temperature {wanted:.3f}, fitted on 39 videos of data.val")
    assert fitted_temperature(made([[[5.0, 0.0]], [[0.0, 5.0]]], [0, 1]))["temperature"] is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a,x\nb\n", "line 2: 'b' is not two class names with a comma between"),
        ("a,x\na,y\n", "line 2: a has a second class"),
        ("\n", "is empty"),
        ("c,x\n", "c is no class of the list"),
        ("a,z\n", "z is no class of the model"),
    ],
)
def test_wrong_pairs_are_named(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "pairs.csv"
    path.write_text(text)
    with pytest.raises(DataListError, match=said):
        share(VideoRows(tmp_path, [("v.mp4", 0, 1)]), ["a", "b"], ["x", "y"], path)


def test_the_published_pairs_are_of_both_sets() -> None:
    lists = Path(__file__).resolve().parents[2] / "data_lists"
    ours, theirs = ((lists / of / "classes.txt").read_text().splitlines() for of in ("hmdb51", "ucf101"))
    pairs = read_pairs(lists / "ucf101" / "to_hmdb51.csv")
    assert len(pairs) == 15 and len(set(pairs.values())) == 12
    assert set(pairs) < set(theirs) and set(pairs.values()) < set(ours)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("override", "said"),
    [
        (
            "data.test={own: {list: x.csv, root: /}, other: y.csv}",
            "data.test.own.root = /: the first list is the run's own",
        ),
        ("data.test={own: x.csv, other: {list: y.csv, shared: p.csv}}", "data.test.other: classes .* go together"),
        ("data.test={own: x.csv, 'a/b': y.csv}", "data.test"),
        ("data.val=null", "test.calibrate = true: needs data.val"),
    ],
)
def test_settings_that_cannot_be(shifted: Path, capsys: pytest.CaptureFixture[str], override: str, said: str) -> None:
    assert test.main(["--cfg", str(shifted), override]) == 2
    assert re.search(said, capsys.readouterr().err)


def test_a_file_of_rows_beside_splits_by_name(clips: Path, tmp_path: Path) -> None:
    """The rendered data set has `train` and `test`; a later list may be any file."""
    Synthetic(vocabulary="quickstart", train_per_class=6, val_per_class=0, test_per_class=2).load("test", clips)
    rows = (clips / "test.csv").read_text().splitlines()[:3]
    (tmp_path / "mine.csv").write_text("\n".join(rows))
    config = toy_config(tmp_path / "run", clips, train={"enable": False})
    config["data"]["test"] = {"own": "test", "yours": {"list": str(tmp_path / "mine.csv"), "root": str(clips)}}
    splits = load_splits(load_config(write_config(tmp_path / "c.yaml", config)))
    assert [f"{video.name} {video.label}" for video in splits.others["yours"].videos] == rows and len(splits.test) == 16
